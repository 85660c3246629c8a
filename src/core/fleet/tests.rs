//! Two gates of one name that tell each other what they publish, in memory.

mod closes;
mod members;
mod notices;

use std::time::Duration;

use postern_proto::{FleetKey, GateName, SharedKey};
use proptest::prelude::*;

use super::*;
use crate::core::fixture;
use crate::core::order::Order;
use crate::model::grant::GrantId;
use crate::model::request::CloseRequest;

const NOW: Timestamp = Timestamp::OLDEST;
const HOME: &str = "192.0.2.7/32";

fn keys(gate: &str, bytes: &[u8]) -> FleetKeys {
    let gate = GateName::new(gate).unwrap();
    let key = |byte: &u8| FleetKey::derive(&gate, &SharedKey::from_bytes([*byte; 32]));
    FleetKeys::new(bytes.iter().map(key)).unwrap()
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// A gate of the name `gate` with this key, whose users alice and bob may open tcp/22 for an hour.
fn gate(run: u8, keys: FleetKeys) -> Fleet {
    returned(run, keys, Vec::new())
}

fn returned(run: u8, keys: FleetKeys, closed: Vec<ClosedGrant>) -> Fleet {
    let users = [("alice", &["tcp/22"][..]), ("bob", &["tcp/22"])];
    let settings = fixture::settings(&users);
    let mut fleet = Fleet::new(keys, [run; 16], &settings);
    fleet.recall(closed, Timestamp::default());
    fleet.connected(NOW, &format!("gate{run}"));
    assert_eq!(fleet.next_ask(NOW), Some(Ask::Watch));
    fleet.told(NOW, &Told::Current).unwrap();
    fleet
}

fn pair() -> (Fleet, Fleet) {
    (gate(1, keys("gate", &[1])), gate(2, keys("gate", &[1])))
}

fn open(user: &str, seconds: u64) -> OpenRequest {
    fixture::request(user, HOME, &["tcp/22"], seconds)
}

/// Admits a knock: what the others are told.
fn admitted(fleet: &mut Fleet, now: Timestamp, request: &OpenRequest) -> Told {
    let source = "203.0.113.9".parse().unwrap();
    let (announced, publish) = fleet.announce(now, request, source).unwrap();
    assert!(publish.is_sound(), "{publish:?}");
    let id = fleet.published(announced);
    let grant = fixture::grant(1, &request.user, HOME, &["tcp/22"]);
    let until = now.plus(request.duration);
    fleet.opened(id, &Grant { until, ..grant }, false);
    told(publish)
}

fn told(publish: Publish) -> Told {
    Told::Published {
        sealed: publish.sealed,
    }
}

/// What it publishes beside grants now, without heartbeats.
fn said(fleet: &mut Fleet, now: Timestamp) -> Vec<Told> {
    let asks = std::iter::from_fn(|| fleet.next_ask(now));
    let closes = asks.filter_map(|ask| match ask {
        Ask::Publish(publish) if publish.kind == PublishKind::Close => Some(told(publish)),
        _ => None,
    });
    closes.collect()
}

/// The orders that follow, as if the monitor carried each out under this number.
fn orders(fleet: &mut Fleet, now: Timestamp, local: u64) -> Vec<OpenRequest> {
    let mut requests = Vec::new();
    while let Some(taken) = fleet.next_taken(now) {
        let id = taken.id();
        let Order::Share { request, .. } = taken.order(7) else {
            panic!("another order");
        };
        let until = now.plus(request.duration);
        let grant = fixture::grant(local, &request.user, HOME, &["tcp/22"]);
        fleet.arrived();
        fleet.opened(id, &Grant { until, ..grant }, true);
        requests.push(request);
    }
    requests
}

fn refusal(fleet: &mut Fleet, now: Timestamp, told: &Told) -> Option<&'static str> {
    let refused = fleet.told(now, told).err();
    let refused = refused.map(|refused| refused.refusal.name());
    assert!(refused.is_none() || orders(fleet, now, 9).is_empty());
    refused
}

#[test]
fn grant_of_one_gate_opens_at_another() {
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("alice", 30));
    two.told(later(10), &grant).unwrap();
    let ordered = orders(&mut two, later(10), 4);
    assert_eq!(ordered, [open("alice", 20)], "for the rest of its time");
    two.told(later(11), &grant).unwrap();
    assert_eq!(orders(&mut two, later(11), 4), [], "told again");
    let listed = &two.grants(later(11))[0];
    assert_eq!(
        (listed.member.as_str(), listed.here),
        ("gate1", Some(GrantId(4)))
    );
    // A renewal.
    let renewed = admitted(&mut one, later(20), &open("alice", 30));
    two.told(later(20), &renewed).unwrap();
    assert_eq!(orders(&mut two, later(20), 4), [open("alice", 30)]);
    assert!(two.grants(later(51)).is_empty());
}

#[test]
fn close_covers_a_grant_whose_claim_was_unknown() {
    let (mut one, mut two) = pair();
    let source = "203.0.113.9".parse().unwrap();
    // The coordinator carries the claim out after its deadline.
    let (_, late) = one.announce(NOW, &open("alice", 300), source).unwrap();
    let late = told(late);
    one.told(NOW, &late).unwrap();
    two.told(NOW, &late).unwrap();
    assert_eq!(orders(&mut one, NOW, 4), [], "it has refused the knock");
    assert_eq!(orders(&mut two, NOW, 4).len(), 1);
    one.end(NOW, &Selection::All);
    for told in said(&mut one, NOW) {
        two.told(NOW, &told).unwrap();
    }
    assert!(two.take_ended().is_some());
}

#[test]
fn nothing_opens_that_was_not_sealed_for_it() {
    let (mut one, mut two) = pair();
    let request = open("alice", 30);
    let grant = admitted(&mut one, NOW, &request);
    let own = admitted(&mut two, NOW, &open("bob", 30));
    assert_eq!(two.told(NOW, &own), Ok(()));
    assert_eq!(orders(&mut two, NOW, 9), [], "its own");
    let Told::Published { sealed } = &grant else {
        unreachable!();
    };
    let forged = [
        sealed[..sealed.len() - 4].to_owned(),
        sealed[4..].to_owned(),
        sealed.replace('A', "B"),
        format!("{sealed}AAAA"),
        "=".to_owned(),
        String::new(),
        "A".repeat(5000),
    ];
    let others = [keys("gate", &[2]), keys("other", &[1])].map(|keys| {
        let mut stranger = gate(3, keys);
        admitted(&mut stranger, NOW, &request)
    });
    let forged = forged.map(|sealed| Told::Published { sealed });
    for told in forged.iter().chain(&others) {
        assert_eq!(refusal(&mut two, NOW, told), Some("seal"), "{told:?}");
    }
    assert_eq!(refusal(&mut two, later(30), &grant), Some("ended"));
    assert_eq!(two.status(NOW).counters.refused["seal"], 9);
}

#[test]
fn own_policy_decides_about_the_grants_of_others() {
    let (mut one, _) = pair();
    let users = [("bob", &["udp/53"][..]), ("alice", &["tcp/22"])];
    let mut settings = fixture::settings(&users);
    settings.policies[1].from = vec!["198.51.100.0/24".parse().unwrap()];
    let mut two = Fleet::new(keys("gate", &[1]), [2; 16], &settings);
    for (request, reason) in [
        (open("carol", 30), Rule::User),
        (open("bob", 30), Rule::Service),
        (open("alice", 30), Rule::From),
    ] {
        let reason = reason.name();
        let grant = admitted(&mut one, NOW, &request);
        assert_eq!(refusal(&mut two, NOW, &grant), Some(reason));
        let listed = two.grants(NOW);
        assert!(
            listed
                .iter()
                .any(|one| one.refused.as_deref() == Some(reason))
        );
    }
    // The longest time counts from when the grant was made, also after a restart.
    let grant = admitted(&mut one, NOW, &open("alice", 7200));
    let (_, mut other) = pair();
    other.told(later(600), &grant).unwrap();
    assert_eq!(orders(&mut other, later(600), 1), [open("alice", 3000)]);
    let (_, mut restarted) = pair();
    let found = refusal(&mut restarted, later(3601), &grant);
    assert_eq!(found, Some(Rule::Duration.name()));
}

#[test]
fn closed_grants_open_nothing_when_told_again() {
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("alice", 300));
    // Another gate had a copy of the knock and lost the claim. The coordinator's owner keeps what it had sealed.
    let kept = admitted(&mut gate(3, keys("gate", &[1])), NOW, &open("alice", 300));
    two.told(NOW, &grant).unwrap();
    orders(&mut two, NOW, 4);
    two.end(later(1), &Selection::Id(GrantId(4)));
    let stored = two.take_unsaved();
    assert_eq!(stored.len(), 1);
    let closes = said(&mut two, later(1));
    for told in &closes {
        one.told(later(1), told).unwrap();
    }
    assert_eq!(one.take_ended(), Some(Selection::Ids([GrantId(1)].into())));
    assert_eq!(one.take_ended(), None);
    assert_eq!(one.take_unsaved(), stored);
    let mut again = returned(2, keys("gate", &[1]), stored);
    for fleet in [&mut one, &mut two, &mut again] {
        let run = *fleet.sealing.run();
        for told in [&grant, &kept].into_iter().filter(|_| run != [1; 16]) {
            assert_eq!(refusal(fleet, later(2), told), Some("closed"));
        }
    }
    // A knock after the close opens again, even if the clock of its gate is behind.
    let fresh = admitted(&mut one, NOW, &open("alice", 300));
    again.told(later(3), &fresh).unwrap();
    assert_eq!(orders(&mut again, later(3), 5).len(), 1);
}

#[test]
fn refused_renewal_does_not_hide_an_open_grant() {
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("alice", 30));
    two.told(NOW, &grant).unwrap();
    orders(&mut two, NOW, 4);
    let renewed = admitted(&mut one, later(10), &open("alice", 30));
    two.told(later(10), &renewed).unwrap();
    let taken = two.next_taken(later(10)).unwrap();
    two.arrived();
    two.refused(taken.id(), Rule::Firewall);
    one.end(later(11), &Selection::All);
    for told in said(&mut one, later(11)) {
        two.told(later(11), &told).unwrap();
    }
    assert_eq!(two.take_ended(), Some(Selection::Ids([GrantId(4)].into())));
}

#[test]
fn nothing_is_ordered_before_all_was_told() {
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("alice", 300));
    one.end(later(1), &Selection::All);
    let closes = said(&mut one, later(1));
    two.connected(later(2), "gate2");
    for told in [&grant].into_iter().chain(&closes) {
        two.told(later(2), told).unwrap();
        assert!(two.next_taken(later(2)).is_none());
    }
    two.told(later(2), &Told::Current).unwrap();
    assert!(two.next_taken(later(2)).is_none());
}

#[test]
fn close_before_its_grant_opens_nothing() {
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("alice", 300));
    let close = CloseRequest {
        user: "alice".to_owned(),
        allow: HOME.parse().unwrap(),
        target: None,
        services: vec!["tcp/22".parse().unwrap()],
    };
    one.close(NOW, &close);
    for told in said(&mut one, NOW) {
        two.told(NOW, &told).unwrap();
    }
    assert_eq!(refusal(&mut two, NOW, &grant), Some("closed"));
    // Closed while the monitor opens it.
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("bob", 300));
    two.told(NOW, &grant).unwrap();
    let taken = two.next_taken(NOW).unwrap();
    one.end(NOW, &Selection::All);
    for told in said(&mut one, NOW) {
        two.told(NOW, &told).unwrap();
    }
    assert_eq!(two.take_ended(), None);
    let grant = fixture::grant(8, "bob", HOME, &["tcp/22"]);
    two.opened(taken.id(), &grant, true);
    assert_eq!(two.take_ended(), Some(Selection::Ids([GrantId(8)].into())));
}

#[test]
fn close_counts_for_a_grant_that_is_told_later() {
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("alice", 300));
    // It is open in the firewall, and this engine has not heard of it.
    two.connected(NOW, "gate2");
    two.end(later(1), &Selection::User("alice".to_owned()));
    assert_eq!(refusal(&mut two, later(2), &grant), Some("closed"));
    assert_eq!(two.take_unsaved().len(), 1);
    assert_eq!(said(&mut two, later(2)).len(), 1);
    two.told(later(2), &Told::Current).unwrap();
    let fresh = admitted(&mut one, later(3), &open("alice", 300));
    two.told(later(3), &fresh).unwrap();
    assert_eq!(orders(&mut two, later(3), 4).len(), 1);
}

#[test]
fn clock_briefly_ahead_revives_no_closed_grant() {
    let (mut one, mut two) = pair();
    let grant = admitted(&mut one, NOW, &open("alice", 3600));
    two.told(NOW, &grant).unwrap();
    orders(&mut two, NOW, 4);
    two.end(NOW, &Selection::All);
    let other = admitted(&mut one, NOW, &open("bob", 30));
    assert_eq!(refusal(&mut two, later(86_400), &other), Some("ended"));
    assert_eq!(refusal(&mut two, later(1), &grant), Some("ended"));
}

#[test]
fn closes_are_published_until_they_come_back() {
    let (mut one, _) = pair();
    admitted(&mut one, NOW, &open("alice", 300));
    one.end(NOW, &Selection::All);
    let first = said(&mut one, NOW);
    assert_eq!(said(&mut one, later(1)), []);
    // The grant, and that all were closed.
    assert!(!one.is_idle(later(1)) && one.take_unsaved().len() == 2);
    assert_eq!(said(&mut one, later(5)), first);
    one.lost("gone");
    assert_eq!(said(&mut one, later(20)), []);
    one.connected(later(20), "gate1");
    assert_eq!(said(&mut one, later(20)), first);
    one.told(later(20), &first[0]).unwrap();
    assert!(one.is_idle(later(20)));
    assert_eq!(said(&mut one, later(30)), []);
}

#[test]
fn old_close_that_is_told_again_is_not_stored() {
    let (mut one, mut two) = pair();
    admitted(&mut one, NOW, &open("alice", 300));
    one.end(later(1), &Selection::All);
    let closes = said(&mut one, later(1));
    two.told(later(1), &closes[0]).unwrap();
    assert!(!two.take_unsaved().is_empty());
    for seconds in 10_000..10_003 {
        two.told(later(seconds), &closes[0]).unwrap();
    }
    assert_eq!(two.take_unsaved(), []);
}

#[test]
fn keys_rotate_and_versions_differ() {
    let mut old = gate(1, keys("gate", &[1]));
    let mut both = gate(2, keys("gate", &[1, 2]));
    let mut new = gate(3, keys("gate", &[2, 1]));
    let grant = admitted(&mut new, NOW, &open("alice", 30));
    assert_eq!(refusal(&mut old, NOW, &grant), Some("seal"));
    assert_eq!(refusal(&mut both, NOW, &grant), None);
    let grant = admitted(&mut old, NOW, &open("alice", 30));
    assert_eq!(refusal(&mut new, NOW, &grant), None);

    let name = GateName::new("gate").unwrap();
    let key = FleetKey::derive(&name, &SharedKey::from_bytes([1; 32]));
    let text = |sealed: &Told| match sealed {
        Told::Published { sealed } => new.sealing.open(sealed).unwrap().said,
        _ => unreachable!(),
    };
    let mut said = serde_json::to_value(text(&grant)).unwrap();
    said["content"]["colour"] = "blue".into();
    said["later"] = serde_json::json!({"a": [1]});
    let sealed = |said: &serde_json::Value, number| {
        use base64::Engine;
        let text = serde_json::to_vec(said).unwrap();
        let sealed = key.seal(&[9; 16], number, &text);
        Told::Published {
            sealed: base64::engine::general_purpose::STANDARD.encode(sealed),
        }
    };
    let mut fresh = gate(4, keys("gate", &[1]));
    assert_eq!(fresh.told(NOW, &sealed(&said, 1)), Ok(()));
    assert_eq!(orders(&mut fresh, NOW, 1).len(), 1);
    said["content"] = serde_json::json!({"kind": "dance", "steps": 3});
    assert_eq!(fresh.told(NOW, &sealed(&said, 2)), Ok(()));
    said["content"] = serde_json::json!({"kind": "grant", "user": "alice"});
    assert_eq!(
        refusal(&mut fresh, NOW, &sealed(&said, 3)),
        Some("unreadable")
    );
}

#[test]
fn many_grants_and_closes_stay_bounded() {
    let (mut one, mut two) = pair();
    let mut last = None;
    for host in 0..16_500_u32 {
        let allow = std::net::Ipv4Addr::from(0x0a00_0000 + host);
        let request = fixture::request("alice", &format!("{allow}/32"), &["tcp/22"], 300);
        let source = allow.into();
        let Some((announced, publish)) = one.announce(NOW, &request, source) else {
            last = Some(host);
            break;
        };
        one.published(announced);
        two.told(NOW, &told(publish)).unwrap();
    }
    assert_eq!(last, Some(8_192), "others have as much room");
    let other = admitted(&mut one, NOW, &open("bob", 300));
    assert_eq!(two.told(NOW, &other), Ok(()));
    let ordered = std::iter::from_fn(|| two.next_taken(NOW)).count();
    assert_eq!(ordered, ORDERED_MAX, "knocks have their turn");
    one.end(NOW, &Selection::All);
    let mut closes = Vec::new();
    loop {
        let some = said(&mut one, NOW);
        if some.is_empty() {
            break;
        }
        some.iter().for_each(|told| one.told(NOW, told).unwrap());
        closes.extend(some);
    }
    assert_eq!(closes.len(), 8_193_usize.div_ceil(CLOSES));
    closes.iter().for_each(|told| two.told(NOW, told).unwrap());
    assert!(two.grants(NOW).is_empty() && two.next_taken(NOW).is_none());
}

proptest! {
    /// In any order, and any number of times: a grant is open at the second gate exactly if it is at the first.
    #[test]
    fn order_of_publications_does_not_matter(
        steps in prop::collection::vec((0..3_u8, 0..3_u8), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let (mut one, mut two) = pair();
        let (mut published, mut open_now) = (Vec::new(), [false; 3]);
        for (at, (what, host)) in steps.into_iter().enumerate() {
            let now = later(at as u64);
            let allow = format!("192.0.2.{host}/32");
            if what < 2 {
                let request = fixture::request("alice", &allow, &["tcp/22"], 600);
                let made = one.announce(now, &request, "192.0.2.9".parse().unwrap());
                let (announced, publish) = made.unwrap();
                one.published(announced);
                published.push(told(publish));
            } else {
                one.end(now, &Selection::Address(format!("192.0.2.{host}").parse().unwrap()));
                published.extend(said(&mut one, now));
            }
            open_now[usize::from(host)] = what < 2;
        }
        let now = later(60);
        if published.is_empty() {
            return Ok(());
        }
        let some = order.iter().map(|index| index.get(&published));
        for told in some.chain(&published) {
            let _ = two.told(now, told);
        }
        let listed: Vec<bool> = (0..3).map(|host| {
            let address: std::net::IpAddr = format!("192.0.2.{host}").parse().unwrap();
            two.grants(now).iter().any(|grant| grant.allow.addr() == address)
        }).collect();
        prop_assert_eq!(listed, open_now);
    }

    #[test]
    fn no_bytes_panic_or_open(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use base64::Engine;
        let (_, mut two) = pair();
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        for sealed in [text, encoded] {
            let told = Told::Published { sealed };
            prop_assert!(two.told(NOW, &told).is_err());
        }
    }
}
