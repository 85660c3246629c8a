//! Closes that come at a bad time: before their grant, behind the coordinator's back, or when the engine ends.

use super::*;
use crate::core::order;

/// The grant is told to the gate after it was closed there, and then the close to all.
fn is_closed_for_all(one: &mut Fleet, two: &mut Fleet, grant: &Told, now: Timestamp) {
    assert_eq!(refusal(two, now, grant), Some("closed"));
    two.told(now, &Told::Current).unwrap();
    assert_eq!(orders(two, now, 4), []);
    let closes = said(two, now);
    closes.iter().for_each(|told| one.told(now, told).unwrap());
    assert_eq!(one.take_ended(), Some(Selection::Ids([GrantId(1)].into())));
    // An engine that follows.
    let mut again = returned(9, keys("gate", &[1]), two.take_unsaved());
    assert_eq!(refusal(&mut again, now, grant), Some("closed"));
    let fresh = admitted(one, now, &open("alice", 300));
    again.told(now, &fresh).unwrap();
    assert_eq!(orders(&mut again, now, 5).len(), 1);
}

#[test]
fn close_by_id_counts_before_the_grant_is_told() {
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("alice", 300));
    two.lost("gone");
    two.connected(NOW, "gate2");
    // An engine before this one opened it, and nobody has told this one.
    let closed = Selection::Id(GrantId(7));
    two.end(later(1), &closed);
    two.ended(later(1), &[fixture::grant(7, "alice", HOME, &[])]);
    is_closed_for_all(&mut one, &mut two, &grant, later(2));
}

#[test]
fn close_by_id_leaves_other_grants_of_the_user() {
    let (mut one, mut two) = pair();
    let other = OpenRequest {
        services: vec!["tcp/80".parse().unwrap()],
        ..open("alice", 300)
    };
    for request in [open("alice", 300), other] {
        let grant = admitted(&mut one, NOW, &request);
        // The policy of the second gate does not allow the other one.
        let _ = two.told(NOW, &grant);
        orders(&mut two, NOW, 4);
    }
    two.end(later(1), &Selection::Id(GrantId(4)));
    two.ended(later(1), &[fixture::grant(4, "alice", HOME, &[])]);
    assert_eq!(two.take_unsaved().len(), 1);
    assert_eq!(two.grants(later(1)).len(), 1);
}

#[test]
fn users_close_counts_before_the_grant_is_told() {
    for services in [&["tcp/22"][..], &[]] {
        let (mut one, mut two) = pair();
        let grant = admitted(&mut one, NOW, &open("alice", 300));
        two.connected(NOW, "gate2");
        let services = services.iter().map(|one| one.parse().unwrap());
        let close = CloseRequest {
            user: "alice".to_owned(),
            allow: HOME.parse().unwrap(),
            target: None,
            services: services.collect(),
        };
        two.close(later(1), &close);
        is_closed_for_all(&mut one, &mut two, &grant, later(2));
    }
}

/// The watch works, but the owner of the coordinator holds the grant back until it was closed.
#[test]
fn grant_held_back_until_its_close_opens_nothing() {
    let address: std::net::IpAddr = "192.0.2.7".parse().unwrap();
    for which in [
        Selection::All,
        Selection::User("alice".to_owned()),
        Selection::Address(address),
    ] {
        let (mut one, mut two) = pair();
        let grant = admitted(&mut one, NOW, &open("alice", 300));
        let other = admitted(
            &mut one,
            NOW,
            &fixture::request("bob", "192.0.2.8/32", &["tcp/22"], 300),
        );
        two.end(later(1), &which);
        is_closed_for_all(&mut one, &mut two, &grant, later(2));
        let is_all = which == Selection::All;
        assert_eq!(two.told(later(2), &other).is_err(), is_all, "{which:?}");
    }
}

#[test]
fn address_closes_the_networks_around_it() {
    for (address, is_closed) in [("192.0.2.200", true), ("192.0.3.1", false)] {
        let (mut one, mut two) = pair();
        two.connected(NOW, "gate2");
        let request = fixture::request("alice", "192.0.2.0/24", &["tcp/22"], 300);
        let grant = admitted(&mut one, NOW, &request);
        two.end(later(1), &Selection::Address(address.parse().unwrap()));
        let found = refusal(&mut two, later(2), &grant);
        assert_eq!(found == Some("closed"), is_closed, "{found:?}");
    }
}

#[test]
fn closes_that_were_not_told_are_published_again() {
    let (mut one, mut two) = pair();
    let grants = [open("alice", 300), open("bob", 3600)];
    for request in &grants {
        let grant = admitted(&mut one, NOW, request);
        two.told(NOW, &grant).unwrap();
    }
    orders(&mut two, NOW, 4);
    // The coordinator is away, and the gate is reloaded.
    one.lost("gone");
    one.end(later(1), &Selection::User("alice".to_owned()));
    one.end(later(2), &Selection::User("bob".to_owned()));
    let stored = one.take_unsaved();
    let mut again = returned(3, keys("gate", &[1]), stored.clone());
    let closes = said(&mut again, later(3));
    assert_eq!(closes.len(), 2, "one for each time of a close");
    closes
        .iter()
        .for_each(|told| two.told(later(3), told).unwrap());
    assert!(two.take_ended().is_some() && two.grants(later(3)).is_empty());
    // What the coordinator tells from the start is not published again, and what has ended neither.
    for (told, now, left) in [(0, 3, 2), (1, 3, 1), (2, 3, 0), (0, 86_400, 0)] {
        again.connected(later(now), "gate1");
        closes[..told]
            .iter()
            .for_each(|told| again.told(later(now), told).unwrap());
        again.told(later(now), &Told::Current).unwrap();
        let kept = said(&mut again, later(now));
        assert_eq!(kept.len(), left, "{told}");
    }
}

#[test]
fn many_closes_are_published_again_step_by_step() {
    let closed = (0..4000).map(|nth: u128| ClosedGrant {
        id: SharedId((nth + 1).to_be_bytes()),
        at: later(nth as u64 / 100),
        until: later(3600),
    });
    let mut again = returned(3, keys("gate", &[1]), closed.collect());
    let (mut rounds, mut count) = (0, 0);
    loop {
        let some = said(&mut again, later(3));
        assert!(some.len() <= 16, "{}", some.len());
        if some.is_empty() {
            break;
        }
        (rounds, count) = (rounds + 1, count + some.len());
        some.iter()
            .for_each(|told| again.told(later(3), told).unwrap());
    }
    assert_eq!((rounds, count), (8, 120), "48, 48 and 4 of each time");
}

/// More of them than one message to the monitor holds.
#[test]
fn many_closed_grants_end_in_parts() {
    let (_, mut two) = pair();
    two.to_end = (0..10_000).map(|n| GrantId(u64::MAX - n)).collect();
    let mut ended = 0;
    while let Some(which) = two.take_ended() {
        let ticket = u64::MAX;
        let order = Order::End { ticket, which };
        assert!(order::encode(&order).is_ok());
        if let Order::End {
            which: Selection::Ids(ids),
            ..
        } = order
        {
            ended += ids.len();
        }
    }
    assert_eq!(ended, 10_000);
}

/// As many as an engine before this one may have opened.
#[test]
fn many_leftovers_are_closed() {
    let mut two = gate(2, keys("gate", &[1]));
    for nth in 0..10_000 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + nth);
        let request = fixture::request("alice", &format!("{address}/32"), &["tcp/22"], 300);
        let grant = SharedGrant::of(&request, address.into(), NOW);
        two.may_be_left(grant.clone());
        two.may_be_left(grant);
    }
    let mut closed = 0;
    while two.take_leftover().is_some() {
        two.arrived();
        closed += 1;
    }
    assert_eq!(closed, 10_000);
}
