//! Bodies that an authenticated user sealed and that break a rule of section 5: each rule once (step 6.5).

use postern::model::reason::Drop;
use postern::model::time::Timestamp;
use postern_proto::{Malformed, Step};

use crate::forge;
use crate::knocks::HOME;
use crate::reasons::assert_dropped;
use crate::world::{START, World};

/// A body that breaks this rule and no earlier one.
pub(crate) fn body_that_breaks(rule: Malformed) -> Option<Vec<u8>> {
    let body = forge::body(START);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = body.clone();
        changed.resize(changed.len().max(at + bytes.len()), 0);
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let services = |count: u8| {
        (0..count)
            .flat_map(|n| [1, 5, 6, 0, n + 1, 0, n + 1])
            .collect::<Vec<u8>>()
    };
    Some(match rule {
        Malformed::Version => with(0, &[2]),
        Malformed::Action => with(1, &[3]),
        Malformed::AllowPrefix => with(2, &[129]),
        Malformed::Reserved => with(3, &[1]),
        Malformed::HostBits => with(
            2,
            &[
                [120, 0].as_slice(),
                &body[4..16],
                &[0; 10],
                &[0xff, 0xff, 192, 0, 2, 7],
            ]
            .concat(),
        ),
        Malformed::ItemTruncated => with(55, &[3, 8, b'1', b'2', b'3', b'4', b'5', b'6', b'7']),
        Malformed::Padding => with(63, &[1]),
        Malformed::ServiceLength => with(55, &[1, 4, 6, 0, 23, 0]),
        Malformed::ServiceProtocol => with(55, &[1, 5, 7, 0, 23, 0, 23]),
        Malformed::ServicePorts => with(55, &[1, 5, 6, 0, 23, 0, 22]),
        Malformed::NameLength => with(55, &[2, 0]),
        Malformed::NameCharacters => with(55, &[2, 3, b'W', b'e', b'b']),
        Malformed::CodeLength => with(55, &[3, 5, b'1', b'2', b'3', b'4', b'5']),
        Malformed::CodeDigits => with(55, &[3, 6, b'1', b'2', b'3', b'4', b'5', b'x']),
        Malformed::UnknownItem => with(55, &[4, 1, 9]),
        Malformed::DuplicateItem => with(55, &[1, 5, 6, 0, 22, 0, 22]),
        Malformed::TooManyServices => with(48, &services(17)),
        Malformed::TooManyCodes => with(
            48,
            &[
                &services(1)[..],
                &[3, 6, 49, 49, 49, 49, 49, 49],
                &[3, 6, 50, 50, 50, 50, 50, 50],
            ]
            .concat(),
        ),
        Malformed::NoService => with(48, &[0; 7]),
    })
}

/// It is dropped, counted under its own rule, and leaves nothing behind.
pub(crate) fn scenario(rule: Malformed) {
    let mut world = World::of_alice();
    let now: Timestamp = world.now;
    let body = body_that_breaks(rule).expect("a body");
    let packet = forge::sealed(Step::of(now.as_millis()), 1, &body);
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, &packet),
        Drop::Malformed(rule),
    );
    let right = forge::sealed(Step::of(now.as_millis()), 2, &forge::body(now));
    assert!(world.arrives(HOME, &right).admitted);
}

#[test]
fn a_body_that_breaks_a_rule_is_dropped_and_counted_under_that_rule() {
    Malformed::ALL.into_iter().for_each(scenario);
}
