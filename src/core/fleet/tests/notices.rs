use super::*;

/// What the gate asks now because of rosters.
fn asks(fleet: &mut Fleet, now: Timestamp) -> Vec<Ask> {
    let asks = std::iter::from_fn(|| fleet.next_ask(now));
    let is_notice = |one: &Publish| one.kind == PublishKind::Notice;
    let of_rosters = asks.filter(|ask| match ask {
        Ask::Publish(one) => is_notice(one),
        ask => *ask == Ask::LookForRoster,
    });
    of_rosters.collect()
}

/// The notice of a gate that has loaded this version.
fn notice(run: u8, version: u64) -> Told {
    let mut fleet = gate(run, keys("gate", &[1]));
    fleet.roster_loaded(Some(version));
    let mut said = asks(&mut fleet, NOW);
    assert!(asks(&mut fleet, later(60)).is_empty(), "it is said once");
    match said.pop() {
        Some(Ask::Publish(publish)) if publish.kind == PublishKind::Notice => {
            assert!(said.is_empty() && publish.is_sound());
            told(publish)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn newer_rosters_elsewhere_cause_one_look() {
    let mut fleet = gate(2, keys("gate", &[1]));
    fleet.roster_loaded(Some(3));
    asks(&mut fleet, NOW);
    let mut hear = |version, seconds| {
        let now = later(seconds);
        fleet.told(now, &notice(1, version)).unwrap();
        asks(&mut fleet, now) == [Ask::LookForRoster]
    };
    for (version, seconds, looks) in [
        (2, 1, false),
        (3, 1, false),
        (4, 1, true),
        (u64::MAX, 2, false),
        // The one before is not forgotten.
        (1, 7, true),
        (1, 60, false),
        (5, 60, true),
    ] {
        assert_eq!(hear(version, seconds), looks, "{version} after {seconds} s");
    }
}

#[test]
fn full_link_loses_neither_notice_nor_look() {
    let mut fleet = gate(2, keys("gate", &[1]));
    fleet.roster_loaded(Some(3));
    fleet.told(NOW, &notice(1, 4)).unwrap();
    let said = asks(&mut fleet, NOW);
    assert_eq!(said.len(), 2, "{said:?}");
    for ask in said {
        fleet.not_asked(&ask);
        assert_eq!(asks(&mut fleet, NOW), [ask]);
    }
}

#[test]
fn notices_without_a_roster_change_nothing() {
    let mut fleet = gate(2, keys("gate", &[1]));
    for version in [None, Some(0)] {
        fleet.roster_loaded(version);
        assert!(asks(&mut fleet, later(9)).is_empty());
    }
    fleet.roster_loaded(None);
    fleet.told(NOW, &notice(1, 9)).unwrap();
    assert!(asks(&mut fleet, later(9)).is_empty());
    // Sealed with another key it is no notice.
    fleet.roster_loaded(Some(1));
    asks(&mut fleet, later(9));
    let mut stranger = gate(3, keys("gate", &[7]));
    stranger.roster_loaded(Some(9));
    let Some(Ask::Publish(publish)) = asks(&mut stranger, NOW).pop() else {
        panic!("nothing is published");
    };
    assert!(fleet.told(later(9), &told(publish)).is_err());
    assert!(asks(&mut fleet, later(20)).is_empty());
}
