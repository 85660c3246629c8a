//! Packets of fwknop, judged like knocks and by the same policy.

use std::num::NonZeroU16;

use postern::core::gate::Decision;
use postern::model::datagram::Datagram;
use postern::model::reason::{Drop, Reason, Rule};
use postern_fwknop::{
    Allow, Key, MacKind, Message, Mode, Port, Protocol, Reason as Fault, Request, Target,
};

use crate::knocks::{HOME, Knock};
use crate::world::{START, World, seconds};

/// Alice has an HMAC, carol has none. The service inner leads to a host behind the gate.
const USERS: &str = "[service.inner]
ports = ['tcp/2200']
forward = '10.0.0.5:22'
[service.local]
ports = ['tcp/2400']
redirect = 'tcp/22'
[service.restart]
ports = ['tcp/2300']
[[user]]
name = 'bob'
key = BOB
services = ['tcp/22']
[[user]]
name = 'alice'
fwknop = { passphrase = 'k', hmac_passphrase = 'm', username = 'al', commands = { 'restart web' = 'restart' } }
services = ['tcp/22', 'tcp/80', 'inner', 'local', 'restart']
networks = ['192.0.2.0/24']
max_duration = '10m'
[[user]]
name = 'carol'
fwknop = { passphrase = 'c', insecure_without_hmac = true }
services = ['tcp/22']
";

fn alice() -> Key {
    Key::new(b"k", MacKind::Sha256, b"m").unwrap()
}

fn number(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

fn ports(numbers: &[u16]) -> Vec<Port> {
    let port = |number_of: &u16| Port {
        protocol: Protocol::Tcp,
        number: number(*number_of),
    };
    numbers.iter().map(port).collect()
}

fn target(host: &str, port: u16) -> Target {
    Target {
        host: host.to_owned(),
        port: number(port),
    }
}

fn request(message: Message) -> Request {
    Request {
        user: "al".to_owned(),
        timestamp_s: START.as_millis() / 1000,
        allow: Allow::Source,
        message,
        timeout_s: None,
    }
}

fn ssh() -> Request {
    request(Message::Access(ports(&[22])))
}

/// The packet; `n` makes it another one.
fn sealed(key: &Key, request: &Request, n: u8) -> Vec<u8> {
    key.seal(request, &[n; 16]).unwrap().into_bytes()
}

fn refuses(world: &mut World, request: &Request, rule: Rule) {
    let packet = sealed(&alice(), request, 1);
    let outcome = world.arrives(HOME, &packet);
    assert_eq!(outcome.reason, Some(Reason::Refuse(rule)), "{request:?}");
    assert_eq!(outcome.said.len(), 1, "{outcome:?}");
    world.drops(HOME, packet, Drop::Duplicate);
}

#[test]
pub(crate) fn each_rule_of_fwknop_refuses() {
    let nat = |port, to| request(Message::Nat(ports(&[port]), to));
    let many: Vec<u16> = (1..=17).collect();
    let local = |host: &str, port| request(Message::LocalNat(ports(&[2400]), target(host, port)));
    let command = |text: &str| request(Message::Command(text.to_owned()));
    for (request, rule) in [
        (request(Message::Access(ports(&[22, 23]))), Rule::Service),
        (request(Message::Access(ports(&many))), Rule::Service),
        // the redirect's own port, without the redirect
        (request(Message::Access(ports(&[2400]))), Rule::Service),
        (nat(2200, target("10.0.0.5", 5432)), Rule::Nat),
        (nat(2200, target("10.0.0.6", 22)), Rule::Nat),
        (nat(22, target("10.0.0.5", 22)), Rule::Nat),
        (nat(2200, target("inner.example.org", 22)), Rule::Nat),
        (
            request(Message::LocalNat(ports(&[2200]), target("127.0.0.1", 22))),
            Rule::Nat,
        ),
        (local("127.0.0.1", 5432), Rule::Nat),
        (nat(2400, target("127.0.0.1", 22)), Rule::Nat),
        (command("restart web "), Rule::Command),
        (command("reboot"), Rule::Command),
        (
            Request {
                user: "root".to_owned(),
                ..ssh()
            },
            Rule::Username,
        ),
        (
            Request {
                allow: Allow::Address([203, 0, 113, 7].into()),
                ..ssh()
            },
            Rule::Networks,
        ),
    ] {
        refuses(&mut World::new(USERS), &request, rule);
    }
}

#[test]
fn each_type_opens_what_the_policy_allows() {
    let timed = |seconds, message| Request {
        timeout_s: Some(seconds),
        ..request(message)
    };
    let local = |host| request(Message::LocalNat(ports(&[2400]), target(host, 22)));
    let nat = Message::Nat(ports(&[2200]), target("10.0.0.5", 22));
    for (request, opens) in [
        (ssh(), "alice, 192.0.2.7/32 to tcp/22, 30 s"),
        (
            timed(60, Message::Access(ports(&[80, 22]))),
            "alice, 192.0.2.7/32 to tcp/22, tcp/80, 60 s",
        ),
        (
            timed(0, Message::Access(ports(&[22]))),
            "alice, 192.0.2.7/32 to tcp/22, 30 s",
        ),
        (
            timed(65_536, Message::Access(ports(&[22]))),
            "alice, 192.0.2.7/32 to tcp/22, 600 s",
        ),
        (
            Request {
                allow: Allow::Address([192, 0, 2, 9].into()),
                ..ssh()
            },
            "alice, 192.0.2.9/32 to tcp/22, 30 s",
        ),
        (
            request(nat.clone()),
            "alice, 192.0.2.7/32 to tcp/2200 forwarded to 10.0.0.5:22, 30 s",
        ),
        // as with FORCE_NAT
        (
            request(Message::Access(ports(&[2200]))),
            "alice, 192.0.2.7/32 to tcp/2200 forwarded to 10.0.0.5:22, 30 s",
        ),
        (
            local("127.0.0.1"),
            "alice, 192.0.2.7/32 to tcp/2400 redirected to tcp/22, 30 s",
        ),
        (
            local("localhost"),
            "alice, 192.0.2.7/32 to tcp/2400 redirected to tcp/22, 30 s",
        ),
        (
            timed(90, nat.clone()),
            "alice, 192.0.2.7/32 to tcp/2200 forwarded to 10.0.0.5:22, 90 s",
        ),
        (
            request(Message::Command("restart web".to_owned())),
            "alice, 192.0.2.7/32 to tcp/2300, 30 s",
        ),
    ] {
        let mut world = World::new(USERS);
        world.admits(HOME, sealed(&alice(), &request, 1));
        let left = world.remaining().as_secs();
        let grants: Vec<String> = world
            .executor
            .grants()
            .map(|grant| grant.to_string())
            .collect();
        let text = format!("{}, {left} s", grants.join("; "));
        assert!(text.ends_with(opens), "{text} for {request:?}");
    }
}

#[test]
fn packets_without_the_right_keys_are_dropped() {
    let mut world = World::new(USERS);
    let other = Key::new(b"k", MacKind::Sha256, b"n").unwrap();
    world.drops(HOME, sealed(&other, &ssh(), 1), Drop::Fwknop(Fault::Mac));
    let other = Key::new(b"l", MacKind::Sha256, b"m").unwrap();
    world.drops(HOME, sealed(&other, &ssh(), 1), Drop::Fwknop(Fault::Key));
    let packet = sealed(&alice(), &ssh(), 1);
    for at in [0, 20, packet.len() - 1] {
        let mut changed = packet.clone();
        changed[at] = if at == 0 {
            packet[0] ^ 1
        } else {
            b'A' + packet[at] % 2
        };
        let outcome = world.arrives(HOME, &changed);
        assert!(!outcome.admitted, "{at}");
    }
    world.admits(HOME, &packet);
}

#[test]
fn packets_of_fwknop_are_fresh_for_two_minutes() {
    let mut world = World::new(USERS);
    let at = |seconds: u64| Request {
        timestamp_s: seconds,
        ..ssh()
    };
    let now = START.as_millis() / 1000;
    for (made, n, reason) in [
        (now - 121, 1, Some(Drop::TooOld)),
        (now + 121, 2, Some(Drop::TooNew)),
        (now - 120, 3, None),
        (now + 120, 4, None),
    ] {
        let packet = sealed(&alice(), &at(made), n);
        match reason {
            Some(reason) => world.drops(HOME, packet, reason),
            None => world.admits(HOME, packet),
        }
    }
    // Knocks of ours keep their own window.
    let old = Knock::of("bob").sealed(START.minus(seconds(31)));
    world.drops(HOME, old, Drop::TooOld);
}

#[test]
fn a_used_packet_of_fwknop_is_never_admitted_again() {
    let mut world = World::new(USERS);
    let packet = sealed(&alice(), &ssh(), 1);
    world.admits(HOME, &packet);
    world.drops(HOME, &packet, Drop::Duplicate);
    // A knock of ours moves the horizon by the longest window only.
    world.pass(seconds(100));
    world.admits(HOME, Knock::of("bob").sealed(world.now));
    world.drops(HOME, &packet, Drop::Replay);
    world.restart_engine();
    world.drops(HOME, &packet, Drop::Replay);
    world.pass(seconds(21));
    world.drops(HOME, &packet, Drop::TooOld);
}

#[test]
fn copies_of_a_packet_need_no_key() {
    let mut world = World::new(USERS);
    let packet = sealed(&alice(), &ssh(), 1);
    let source = HOME.parse().unwrap();
    let datagram = Datagram::new(source, source, 62201, &packet);
    let copy = |world: &mut World| {
        let now = world.now;
        let decision = world.core.gate().handle_fwknop_copy(now, &datagram);
        decision.map(|decision| match decision {
            Decision::Drop(reason) => reason,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(copy(&mut world), None);
    world.admits(HOME, &packet);
    assert_eq!(copy(&mut world), Some(Drop::Duplicate));
    world.pass(seconds(2));
    assert_eq!(copy(&mut world), Some(Drop::Replay));
}

#[test]
fn a_wrong_mac_is_told_beside_a_user_without_one() {
    // some of these lengths can be packets of either
    let other = Key::new(b"k", MacKind::Sha256, b"n").unwrap();
    for length in 1..=48 {
        let packet = Request {
            user: "u".repeat(length),
            ..ssh()
        };
        let mut world = World::new(USERS);
        world.drops(HOME, sealed(&other, &packet, 1), Drop::Fwknop(Fault::Mac));
    }
}

#[test]
fn appended_padding_and_spare_bits_open_nothing() {
    let mut world = World::new(USERS);
    let carol = Key::without_mac(b"c", Mode::Cbc).unwrap();
    // Lengths of the user name give each number of spare bits.
    for (n, user) in (1..).zip(["a", "abcdefghijkl", "abcdefghijklmnopqrstuvw"]) {
        let packet = sealed(
            &carol,
            &Request {
                user: user.to_owned(),
                ..ssh()
            },
            n,
        );
        world.admits(HOME, &packet);
        for more in [&b"="[..], b"==", b"A"] {
            let outcome = world.arrives(HOME, &[&packet, more].concat());
            assert!(!outcome.admitted, "{more:?}");
        }
        for last in *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
            let mut changed = packet.clone();
            *changed.last_mut().unwrap() = last;
            assert!(!world.arrives(HOME, &changed).admitted, "{last}");
        }
    }
}

/// Two users with one key, and their turns.
const SHARED: &str = "[service.inner]
ports = ['tcp/2200']
forward = '10.0.0.5:22'
[[user]]
name = 'late'
fwknop = { passphrase = 'k', hmac_passphrase = 'm', order = 2, access = { 'tcp/2200' = 'inner' } }
services = ['tcp/22', 'tcp/80', 'inner']
duration = '20s'
[[user]]
name = 'early'
fwknop = { passphrase = 'k', hmac_passphrase = 'm', order = 1, max_asked = '5s', destination = ['198.51.100.0/24'] }
services = ['tcp/22']
from = ['192.0.2.0/24']
duration = '9s'
quota = '1/h'
[[user]]
name = 'other'
fwknop = { passphrase = 'o', hmac_passphrase = 'm', order = 3 }
services = ['tcp/443']
";

#[test]
fn users_with_one_key_are_asked_in_turn() {
    let other = Key::new(b"o", MacKind::Sha256, b"m").unwrap();
    let timed = Request {
        timeout_s: Some(60),
        ..ssh()
    };
    let elsewhere = "203.0.113.7";
    let opens = |port: u16| request(Message::Access(ports(&[port])));
    for (key, source, request, opened) in [
        (alice(), HOME, ssh(), "early, 192.0.2.7/32 to tcp/22, 9 s"),
        (alice(), HOME, timed, "early, 192.0.2.7/32 to tcp/22, 5 s"),
        (
            alice(),
            HOME,
            opens(80),
            "late, 192.0.2.7/32 to tcp/80, 20 s",
        ),
        (
            alice(),
            elsewhere,
            ssh(),
            "late, 203.0.113.7/32 to tcp/22, 20 s",
        ),
        (
            other,
            HOME,
            opens(443),
            "other, 192.0.2.7/32 to tcp/443, 30 s",
        ),
        (
            alice(),
            HOME,
            opens(2200),
            "late, 192.0.2.7/32 to tcp/2200 forwarded to 10.0.0.5:22, 20 s",
        ),
    ] {
        let mut world = World::new(SHARED);
        let packet = sealed(&key, &request, 1);
        world.admits(source, &packet);
        world.drops(source, &packet, Drop::Duplicate);
        let grants: Vec<String> = world
            .executor
            .grants()
            .map(|grant| grant.to_string())
            .collect();
        let text = format!("{}, {} s", grants.join("; "), world.remaining().as_secs());
        assert!(text.ends_with(opened), "{text} is not {opened}");
    }
    // The first who allows it decides: the quota of that user is not passed on.
    let mut world = World::new(SHARED);
    world.admits(HOME, sealed(&alice(), &ssh(), 1));
    let outcome = world.arrives(HOME, &sealed(&alice(), &ssh(), 2));
    assert_eq!(outcome.reason, Some(Reason::Refuse(Rule::Quota)));
    // Nobody allows it: the first one's rule is told.
    let outcome = world.arrives(HOME, &sealed(&alice(), &opens(81), 3));
    assert_eq!(outcome.reason, Some(Reason::Refuse(Rule::Service)));
    assert!(outcome.said[0].contains("early"), "{outcome:?}");
}

#[test]
pub(crate) fn packets_to_another_address_are_refused() {
    let users = "[[user]]\nname = 'ann'\nservices = ['tcp/22']\n\
                 fwknop = { passphrase = 'k', hmac_passphrase = 'm', destination = ['192.0.2.1/32'] }\n";
    let mut world = World::new(users);
    let outcome = world.arrives(HOME, &sealed(&alice(), &ssh(), 1));
    assert_eq!(outcome.reason, Some(Reason::Refuse(Rule::Destination)));
}
