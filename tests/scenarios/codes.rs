//! One-time codes (step 6.9, the code): who must send one, which one counts, how often, and what guessing comes to.

use postern::model::reason::{CodeFault, Reason, Rule};
use postern_proto::{Code, CodeKey, CodeStep};

use crate::knocks::{HOME, Knock};
use crate::reasons::assert_refused;
use crate::world::{World, seconds};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const HOME_V6: &str = "2001:db8::7";

/// Alice must send codes, bob need not.
fn world() -> World {
    let user = |name: &str, key: &str, more: &str| {
        format!(
            "[[user]]\nname = '{name}'\nkey = {key}\nservices = ['tcp/22']\nquota = '100/s'\n{more}\n"
        )
    };
    World::new(&(user("alice", "ALICE", &format!("totp = '{SECRET}'")) + &user("bob", "BOB", "")))
}

/// What alice's authenticator shows, so many steps ahead.
fn code(world: &World, ahead: i64) -> Code {
    let CodeStep(step) = CodeStep::of(world.now.as_millis());
    CodeKey::from_base32(SECRET, 6)
        .unwrap()
        .code(CodeStep(step.saturating_add_signed(ahead)))
}

fn wish(world: &World) -> Knock {
    Knock::of("alice").code(&code(world, 0))
}

const MISSING: Rule = Rule::Code(CodeFault::Missing);
const WRONG: Rule = Rule::Code(CodeFault::Wrong);
const USED: Rule = Rule::Code(CodeFault::Used);
const BLOCKED: Rule = Rule::Code(CodeFault::Blocked);

#[test]
pub(crate) fn a_knock_without_the_code_that_its_user_needs_is_refused() {
    let mut world = world();
    assert_refused(&mut world, |world| world.alice_knocks(), MISSING);
    let wish = wish(&world);
    assert!(world.knock(&wish, HOME).admitted);
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
}

#[test]
pub(crate) fn a_wrong_code_and_one_of_another_time_are_refused() {
    let mut world = world();
    for code in [
        Code::new("000000").unwrap(),
        code(&world, -2),
        code(&world, 2),
    ] {
        assert_refused(
            &mut world,
            |world| world.knock(&Knock::of("alice").code(&code), HOME),
            WRONG,
        );
    }
    for ahead in [-1, 0, 1] {
        let wish = Knock::of("alice").code(&code(&world, ahead));
        assert!(world.knock(&wish, HOME).admitted, "{ahead}");
    }
}

#[test]
pub(crate) fn a_code_opens_once_for_each_family_and_then_no_more() {
    let mut world = world();
    let wish = wish(&world);
    assert!(
        world.knock(&wish, HOME).admitted && world.knock(&wish, HOME_V6).admitted,
        "one postern knock"
    );
    assert_eq!(
        world.open(),
        [
            "alice 192.0.2.7/32 [tcp/22]",
            "alice 2001:db8::7/128 [tcp/22]"
        ]
    );
    for source in [HOME, HOME_V6, "198.51.100.9"] {
        assert_refused(&mut world, |world| world.knock(&wish, source), USED);
    }
    world.pass(seconds(30));
    let next = Knock::of("alice").code(&code(&world, 0));
    assert!(world.knock(&next, HOME).admitted);
    assert_refused(&mut world, |world| world.knock(&wish, HOME_V6), USED);
}

#[test]
pub(crate) fn whoever_guesses_is_held_up_and_a_right_code_with_him() {
    let mut world = world();
    for guess in 0..5 {
        let wish = Knock::of("alice").code(&Code::new(&format!("00000{guess}")).unwrap());
        assert_refused(
            &mut world,
            |world| world.knock(&wish, "198.51.100.9"),
            WRONG,
        );
    }
    let right = wish(&world);
    assert_refused(&mut world, |world| world.knock(&right, HOME), BLOCKED);
    assert!(
        world.knock(&Knock::of("bob"), HOME).admitted,
        "others are not held up"
    );
    world.pass(seconds(60));
    let right = wish(&world);
    assert!(world.knock(&right, HOME).admitted);
}

#[test]
fn a_knock_that_policy_refuses_uses_no_code_up() {
    let mut world = world();
    let wish = wish(&world);
    let too_much = Knock::of("alice")
        .services(&["tcp/23"])
        .code(&code(&world, 0));
    assert_refused(
        &mut world,
        |world| world.knock(&too_much, HOME),
        Rule::Service,
    );
    assert!(world.knock(&wish, HOME).admitted);
}

#[test]
fn a_code_that_nobody_asks_for_is_no_fault() {
    let mut world = world();
    assert!(
        world
            .knock(&Knock::of("bob").code(&Code::new("123456").unwrap()), HOME)
            .admitted
    );
}

#[test]
fn closing_needs_no_code_and_uses_none_up() {
    let mut world = world();
    let wish = wish(&world);
    world.knock(&wish, HOME);
    assert!(world.knock(&Knock::of("alice").close(), HOME).admitted);
    assert!(world.open().is_empty());
    assert!(
        world.knock(&wish.close(), HOME).admitted,
        "nor is a used one looked at"
    );
}

#[test]
fn a_code_may_have_eight_digits_where_the_config_says_so() {
    let user = format!(
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\ntotp = '{SECRET}'\ntotp_digits = 8\n"
    );
    let mut world = World::new(&user);
    let short = wish(&world);
    assert_refused(&mut world, |world| world.knock(&short, HOME), WRONG);
    let long = CodeKey::from_base32(SECRET, 8)
        .unwrap()
        .code(CodeStep::of(world.now.as_millis()));
    assert!(world.knock(&Knock::of("alice").code(&long), HOME).admitted);
}

/// What an engine knows of codes goes with it; the marks of knocks do not.
#[test]
fn after_a_restart_a_used_code_counts_once_more_but_a_recorded_knock_does_not() {
    let mut world = world();
    let wish = wish(&world);
    let recorded = wish.sealed(world.now);
    assert!(world.arrives(HOME, recorded.as_bytes()).admitted);
    world.restart_engine();
    world.pass(seconds(2));
    let outcome = world.arrives(HOME, recorded.as_bytes());
    assert_eq!(
        outcome.reason,
        Some(Reason::Drop(postern::model::reason::Drop::Replay))
    );
    assert!(world.knock(&wish, HOME).admitted);
    assert_refused(&mut world, |world| world.knock(&wish, HOME), USED);
}

#[test]
fn no_log_line_says_a_code() {
    let mut world = world();
    let code = code(&world, 0);
    let wish = wish(&world);
    let said: Vec<String> = (0..2).flat_map(|_| world.knock(&wish, HOME).said).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.iter().all(|line| !line.contains(code.as_str())),
        "{said:?}"
    );
}

#[test]
fn explain_says_of_each_fault_what_to_do_and_no_code() {
    let mut world = world();
    let right = wish(&world);
    world.knock(&right, HOME);
    let wrong = Knock::of("alice").code(&Code::new("000000").unwrap());
    for (wish, says) in [
        (
            Knock::of("alice"),
            "alice must send one with each knock that opens; set code = \"ask\" or a code_command in the client's profile",
        ),
        (
            right,
            "each counts once for IPv4 and once for IPv6; wait for the next one",
        ),
        (
            wrong.clone(),
            "it is that of no moment from 30s before this one to 30s after; mind the authenticator's clock",
        ),
        (
            wrong,
            "five wrong ones came, and one is forgiven each minute; wait",
        ),
    ] {
        for _ in 0..if says.starts_with("five") { 5 } else { 1 } {
            world.knock(&wish, HOME);
        }
        let line = world.account.as_ref().unwrap().line();
        assert!(
            line.starts_with("refuse code") && line.contains(says) && !line.contains("000000"),
            "{line}"
        );
    }
}
