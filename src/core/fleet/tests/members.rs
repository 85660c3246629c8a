//! Members of a name, and the heartbeats that show them.

use super::*;

#[test]
fn heartbeats_show_members_lag_and_a_dead_watch() {
    let (mut one, mut two) = pair();
    let beat = |fleet: &mut Fleet, now| match fleet.next_ask(now) {
        Some(Ask::Publish(publish)) if publish.kind == PublishKind::Heartbeat => told(publish),
        other => panic!("{other:?}"),
    };
    let (first, own) = (beat(&mut one, NOW), beat(&mut two, NOW));
    assert_eq!(one.next_ask(later(1)), None);
    assert_eq!(one.due(later(1)), Some(Duration::from_secs(1)));
    let second = beat(&mut one, later(2));
    two.told(later(3), &second).unwrap();
    for old in [&first, &second] {
        assert_eq!(
            refusal(&mut two, later(3), old),
            Some("stale"),
            "told again"
        );
    }
    two.told(later(4), &own).unwrap();
    let status = two.status(later(5));
    assert_eq!(status.lag_ms, Some(4000));
    let member = &status.members[0];
    assert_eq!(
        (member.member.as_str(), member.heard_ms, member.age_ms),
        ("gate1", 2000, 1000)
    );
    assert_eq!(
        refusal(&mut gate(3, keys("gate", &[1])), later(200), &second),
        Some("stale")
    );
    // The second gate heard its own at 4 s.
    let asks =
        |fleet: &mut Fleet, now| std::iter::from_fn(|| fleet.next_ask(now)).collect::<Vec<_>>();
    assert!(!asks(&mut two, later(9)).contains(&Ask::Watch));
    assert!(asks(&mut two, later(10)).contains(&Ask::Watch));
    assert!(!asks(&mut two, later(11)).contains(&Ask::Watch));
}

#[test]
fn clock_far_ahead_is_told() {
    let (mut one, mut two) = pair();
    let mut asks = std::iter::from_fn(|| one.next_ask(later(91)));
    let beat = asks.find_map(|ask| match ask {
        Ask::Publish(publish) => Some(told(publish)),
        _ => None,
    });
    assert_eq!(refusal(&mut two, NOW, &beat.unwrap()), Some("clock"));
}

#[test]
fn two_gates_of_one_member_are_told() {
    let (mut one, mut twin) = (gate(1, keys("gate", &[1])), gate(2, keys("gate", &[1])));
    twin.connected(NOW, "gate1");
    let mut refusals = Vec::new();
    for beat in 0..7 {
        let now = later(2 * beat);
        while let Some(ask) = twin.next_ask(now) {
            if let Ask::Publish(publish) = ask {
                refusals.push(refusal(&mut one, now, &told(publish)));
            }
        }
    }
    assert_eq!(refusals[..5], [None; 5], "the old engine after a reload");
    assert_eq!(refusals[5..], [Some("member"); 2]);
}

#[test]
fn members_with_long_names_are_refused() {
    let (mut one, mut two) = pair();
    one.member = "m".repeat(256);
    let Some(Ask::Publish(publish)) = one.next_ask(NOW) else {
        panic!("no heartbeat");
    };
    assert_eq!(refusal(&mut two, NOW, &told(publish)), Some("unreadable"));
    assert!(two.status(NOW).members.is_empty());
}
