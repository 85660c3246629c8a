//! The gate as a state machine under random moves: the properties are the fuzzer's, in `fuzz/entries/gate.rs`.
//!
//! Never an admission without the key, never two for one mark, tables bounded, a clock that never counts backwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use proptest::prelude::*;

use postern_fuzz_entries::gate::{self, Move};

/// Moves near enough to each other that knocks are often admitted, and replays often within the window.
fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => (0..3u8, -35..35i8, any::<u8>()).prop_map(|(user, ahead, what)| Move::Knock { user, ahead, what }),
        8 => (0..3u8, -5..5i8, 0..9u8).prop_map(|(user, ahead, what)| Move::Knock { user, ahead, what: what * 2 }),
        6 => any::<(u8, u8)>().prop_map(|(which, source)| Move::Replay { which, source }),
        4 => any::<(u8, u16)>().prop_map(|(which, at)| Move::Change { which, at }),
        2 => any::<(u16, u8)>().prop_map(|(length, byte)| Move::Junk { length, byte }),
        4 => (0..200u16).prop_map(|tenths| Move::Pass { tenths }),
        1 => (-100..100i16).prop_map(|seconds| Move::Set { seconds }),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_admitted_without_the_key_or_twice_and_the_clock_and_the_tables_keep_their_bounds(moves in moves()) {
        gate::play(moves);
    }
}

#[test]
fn a_machine_in_which_everyone_knocks_admits_everyone_once() {
    let knocks = (0..60).flat_map(|n: u8| {
        let knock = Move::Knock {
            user: n % 3,
            ahead: 0,
            what: 0,
        };
        [
            knock,
            Move::Replay {
                which: n,
                source: 2,
            },
            Move::Change { which: n, at: 999 },
            Move::Pass { tenths: 1 },
        ]
    });
    assert_eq!(
        gate::play(knocks),
        60,
        "the properties are not of a gate that admits nobody"
    );
}

#[test]
fn a_replay_after_any_clock_and_any_restart_is_still_a_replay() {
    let clocks = [
        Move::Pass { tenths: 20 },
        Move::Set { seconds: -3000 },
        Move::Set { seconds: 3000 },
        Move::Restart,
    ];
    for first in clocks {
        for second in clocks {
            let knock = Move::Knock {
                user: 0,
                ahead: 0,
                what: 0,
            };
            let replay = Move::Replay {
                which: 0,
                source: 2,
            };
            assert_eq!(
                gate::play([knock, first, replay, second, replay, Move::Restart, replay]),
                1,
                "{first:?} {second:?}"
            );
        }
    }
}
