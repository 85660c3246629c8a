//! The hint table: who is found, who is not, and how it is laid out.

use super::*;
use postern_proto::{GateName, KeyMaterial, SharedKey, UserKeys};

fn table(keys: &[HintKey], steps: RangeInclusive<u64>) -> HintTable {
    HintTable::build(
        &HintKeys {
            keys: keys.to_vec(),
            last_steps: Vec::new(),
        },
        steps,
    )
}

fn keys(count: u32) -> Vec<HintKey> {
    let gate = GateName::new("gate.example.org").unwrap();
    let key = |n: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes(bytes))).hint_key()
    };
    (0..count).map(key).collect()
}

#[test]
fn every_user_is_found_at_every_step_of_the_table_and_at_no_other() {
    let keys = keys(300);
    let table = table(&keys, 100..=103);
    for (user, key) in keys.iter().enumerate() {
        for step in 100..=103 {
            let found: Vec<_> = table.find(key.hint(Step(step))).unwrap().collect();
            assert_eq!(found, [(user, Step(step))]);
        }
        assert!(table.find(key.hint(Step(99))).is_none());
        assert!(table.find(key.hint(Step(104))).is_none());
    }
}

#[test]
fn a_hint_with_one_bit_changed_is_nobodys() {
    let keys = keys(50);
    let table = table(&keys, 100..=101);
    for key in &keys {
        for bit in 0..64 {
            let near = (number(key.hint(Step(100))) ^ (1 << bit)).to_be_bytes();
            assert!(table.find(Hint(near)).is_none(), "bit {bit}");
        }
    }
}

#[test]
fn the_prefilter_turns_nearly_every_stranger_away_with_one_look() {
    // As full as it gets before the next size.
    let mut prefilter = Prefilter::for_rows(0);
    let numbers = |seed: u64| {
        (0..).scan(seed, |state, _: u64| {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            Some((*state ^ (*state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9))
        })
    };
    let rows = WORDS_MIN * ROWS_A_WORD;
    numbers(1)
        .take(rows)
        .for_each(|hint| prefilter.insert(hint));
    assert!(
        numbers(1).take(rows).all(|hint| prefilter.may_hold(hint)),
        "a hint of the table always passes"
    );
    let passed = numbers(2)
        .take(100_000)
        .filter(|hint| prefilter.may_hold(*hint))
        .count();
    assert!(passed < 2_000, "{passed} of 100,000");
}

#[test]
fn two_users_under_one_hint_are_both_named() {
    let key = keys(1).remove(0);
    let table = table(&[key.clone(), key.clone()], 7..=7);
    let found: Vec<_> = table.find(key.hint(Step(7))).unwrap().collect();
    assert_eq!(found, [(0, Step(7)), (1, Step(7))]);
}

#[test]
fn an_old_key_is_found_up_to_the_step_of_its_last_knock_and_costs_later_tables_nothing() {
    let all = keys(2);
    let mut keys = HintKeys::default();
    keys.push(all[0].clone());
    // It ends in step 101, and a clock that is 30 s ahead is in step 102 by then.
    keys.push_old(
        all[1].clone(),
        Timestamp::from_millis(64_000 * 101 + 40_000),
        Duration::from_secs(30),
    );
    let table = HintTable::build(&keys, 100..=104);
    for step in 100..=104 {
        let found = |key: &HintKey| {
            table
                .find(key.hint(Step(step)))
                .map(|rows| rows.collect::<Vec<_>>())
        };
        assert_eq!(found(&all[0]), Some(vec![(0, Step(step))]), "step {step}");
        assert_eq!(
            found(&all[1]),
            (step <= 102).then(|| vec![(1, Step(step))]),
            "step {step}"
        );
    }
    assert_eq!(table.slots.iter().filter(|slot| **slot != 0).count(), 5 + 3);
    assert_eq!(keys.at(103).flatten().count(), 1, "no hint is made for it");
}

#[test]
fn an_empty_table_and_a_table_without_users_know_nobody() {
    let hint = keys(1).remove(0).hint(Step(7));
    assert!(HintTable::empty().find(hint).is_none());
    assert!(table(&[], 7..=8).find(hint).is_none());
    assert!(!HintTable::empty().covers(&(0..=0)));
}

#[test]
fn the_steps_of_the_window_and_the_next_one_are_wanted() {
    let at = |ms| Timestamp::from_millis(ms);
    assert_eq!(
        steps_touched(at(64_000 * 10 + 32_000), Duration::from_secs(30)),
        10..=11
    );
    assert_eq!(
        steps_touched(at(64_000 * 10 + 1_000), Duration::from_secs(30)),
        9..=11
    );
    assert_eq!(
        steps_touched(at(64_000 * 10 + 63_000), Duration::from_secs(30)),
        10..=12
    );
    assert_eq!(steps_touched(at(1_000), Duration::from_secs(30)), 0..=1);
}

#[test]
fn a_table_grows_with_its_rows_and_keeps_a_third_of_its_slots_empty() {
    for (users, slots) in [(1, 1024), (170, 1024), (171, 2048), (400, 4096)] {
        let table = table(&keys(users), 100..=103);
        let (rows, empty) = (
            table.rows(),
            table.slots.iter().filter(|slot| **slot == 0).count(),
        );
        assert_eq!(
            (table.slots.len(), rows + empty),
            (slots, slots),
            "{users} users"
        );
        assert!(3 * empty >= slots, "{users} users: {empty} of {slots}");
        let mask = usize::try_from(table.row_mask).unwrap();
        assert!(
            rows <= mask && mask < 2 * rows,
            "{rows} rows, mask {mask:x}: no bit that could be the hint's"
        );
    }
}

#[test]
fn a_prefilter_grows_with_its_rows_and_never_gets_denser() {
    let words = |rows| Prefilter::for_rows(rows).words.len();
    assert_eq!([0, 1, WORDS_MIN * ROWS_A_WORD].map(words), [WORDS_MIN; 3]);
    assert_eq!(
        [WORDS_MIN + 1, 2 * WORDS_MIN].map(|words_needed| words(words_needed * ROWS_A_WORD)),
        [2 * WORDS_MIN; 2]
    );
}

#[test]
fn a_table_that_is_shown_shows_no_hint() {
    assert_eq!(
        format!("{:?}", table(&keys(2), 7..=8)),
        "HintTable { 2 keys, steps 7..=8 }"
    );
}

/// What makes a look-up short. Without it everybody would still be found.
#[test]
fn a_row_stands_near_where_its_hint_places_it_with_the_hints_bits_above_its_number() {
    let table = table(&keys(400), 100..=103);
    let mut far = 0;
    for (at, slot) in table
        .slots
        .iter()
        .enumerate()
        .filter(|(_, slot)| **slot != 0)
    {
        let hint = table.hints[(slot & table.row_mask) as usize - 1];
        far += (at + table.slots.len() - hint as usize % table.slots.len()) % table.slots.len();
        assert_eq!(
            slot & !table.row_mask,
            (hint >> 32) as u32 & !table.row_mask
        );
    }
    assert!(
        far < table.rows(),
        "{far} slots too far for {} rows",
        table.rows()
    );
}

#[test]
fn bits_of_a_hint_that_fall_on_each_other_are_set_all_the_same() {
    for (one, two, three) in [(5, 5, 9), (5, 9, 5), (9, 5, 5)] {
        assert_eq!(bits(one << 58 | two << 52 | three << 46), 1 << 5 | 1 << 9);
    }
}

#[test]
fn a_table_covers_steps_only_if_it_has_the_first_and_the_last() {
    let table = table(&keys(1), 7..=9);
    for (steps, covered) in [
        (7..=9, true),
        (8..=8, true),
        (6..=8, false),
        (8..=10, false),
        (6..=10, false),
    ] {
        assert_eq!(table.covers(&steps), covered, "{steps:?}");
    }
}

#[test]
fn keys_are_counted() {
    let mut keys = HintKeys::with_capacity(1);
    assert!(keys.is_empty());
    assert_eq!(keys.len(), 0, "both say so");
    keys.push(self::keys(1).remove(0));
    assert!(!keys.is_empty() && keys.len() == 1);
}

#[test]
fn each_step_is_told_with_the_hints_that_count_in_it() {
    let all = keys(2);
    let mut keys = HintKeys::default();
    keys.push(all[0].clone());
    keys.push_old(
        all[1].clone(),
        Timestamp::from_millis(64_000 * 101 + 40_000),
        Duration::from_secs(30),
    );
    let told: Vec<(Step, Vec<[u8; 8]>)> = HintTable::build(&keys, 100..=104)
        .by_step()
        .map(|(step, hints)| (step, hints.collect()))
        .collect();
    let counting = |step: u64| {
        all.iter()
            .take(if step <= 102 { 2 } else { 1 })
            .map(move |key| key.hint(Step(step)).0)
    };
    assert_eq!(
        told,
        (100..=104)
            .map(|step| (Step(step), counting(step).collect()))
            .collect::<Vec<_>>()
    );
}
