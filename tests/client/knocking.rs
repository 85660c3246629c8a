//! The gate receives what the user asks for, over each family and with each kind of key.

use std::collections::BTreeSet;
use std::net::TcpListener;

use postern_proto::{
    Action, Allow, GateName, Item, KeyMaterial, PresharedKey, PrivateKey, Protocol, Service,
    ServiceName, UserKeys,
};

use crate::setup::{
    FakeGate, GATE, Home, World, exactly, key, open, open_base64, postern, run, says, shared, tcp,
};

const SSH: &str = "services = [\"tcp/22\"]\n";
const LOOPBACK: &str = "::ffff:127.0.0.1";

/// A gate with both families.
fn dual_stack(more: &str) -> (FakeGate, FakeGate, Home, UserKeys) {
    let (v4, v6) = (FakeGate::v4(), FakeGate::v6());
    let (home, keys) = Home::for_gates(&[&v4, &v6], &format!("{SSH}{more}"));
    (v4, v6, home, keys)
}

#[test]
fn ipv4_knock_follows_the_profile() {
    let world = World::new(&format!("{SSH}duration = \"10m\"\ntarget = \"10.0.0.5\""));
    let out = world.line("knock home").ok();
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let (at, request) = (world.gate.address(), world.request());
    let asked = "for tcp/22 on 10.0.0.5, letting in 127.0.0.1 for 10m";
    assert_eq!(out, format!("knocked {GATE} at {at} {asked}\n"));
    let expected = (Action::Open, exactly(LOOPBACK));
    assert_eq!((request.action, request.allow), expected);
    let found = (request.duration_s, request.items);
    assert_eq!(found, (600, vec![tcp(22, 22)]));
    assert_eq!(request.target, Some("::ffff:10.0.0.5".parse().unwrap()));
    assert!(request.timestamp_ms <= now && now - request.timestamp_ms < 60_000);
    world.gate.got_nothing();
}

#[test]
fn each_address_gets_one_knock() {
    let (v4, v6, second) = (FakeGate::v4(), FakeGate::v6(), FakeGate::v4());
    let (home, keys) = Home::for_gates(&[&v4, &v6, &second], SSH);
    let out = home.line("knock home").ok();
    let asked = "for tcp/22, letting in ::1 for as long as the gate grants";
    assert!(
        out.contains(&format!("knocked {GATE} at {} {asked}\n", v6.address())),
        "{out}"
    );
    assert_eq!(out.lines().count(), 3);
    second.request(&keys);
    assert_eq!(v4.request(&keys).allow, exactly(LOOPBACK));
    let request = v6.request(&keys);
    assert_eq!((request.allow, request.duration_s), (exactly("::1"), 0));
    home.run(&["knock", "home", "-6"]).ok();
    v6.request(&keys);
    v4.got_nothing();
    home.run(&["knock", "home", "-4"]).ok();
    v4.request(&keys);
    v6.got_nothing();
    second.request(&keys);
    // The gate admits a code once for each family.
    run(home
        .command(&["knock", "home"])
        .env("POSTERN_CODE", "123456"))
    .ok();
    assert!(
        [&v4, &v6]
            .iter()
            .all(|gate| gate.request(&keys).code().is_some())
    );
    second.got_nothing();
}

#[test]
fn unreachable_family_is_no_failure() {
    let gate = FakeGate::v4();
    // A link-local address without an interface has no route.
    let address = gate.address().to_string();
    let addresses = ["--address", "fe80::1", "--address", &address];
    let arguments = [
        &["knock", "--gate", GATE, "-s", "tcp/22", "--json"],
        &addresses[..],
    ]
    .concat();
    let json = run(postern(&arguments).env("POSTERN_KEY", key(3))).json();
    gate.request(&shared(&key(3)));
    let knocks = json["knocks"].as_array().unwrap();
    let sent = knocks.iter().filter(|knock| knock["sent"] == true);
    assert_eq!(sent.count(), 1, "{json}");
    assert!(json["knocks"].to_string().contains("[fe80::1]:62201"));
}

#[test]
fn options_override_the_profile() {
    let world = World::new(&format!("{SSH}duration = \"10m\"\nallow = \"source\""));
    let other = FakeGate::v4();
    let address = other.address().to_string();
    let options =
        "-s udp/5000-5010 -s web -s web --for 1500ms --allow 192.0.2.0/24 --target 10.9.9.9";
    let knock = format!("knock home --address {address} {options}");
    world.line(&knock).ok();
    world.gate.got_nothing();
    let request = other.request(&world.keys);
    let range = Item::Service(Service::new(Protocol::Udp, 5000, 5010).unwrap());
    let expected = [range, Item::Name(ServiceName::new("web").unwrap())];
    assert_eq!(request.items, expected);
    assert_eq!(request.duration_s, 2);
    let network = Allow::Network {
        address: "::ffff:192.0.2.0".parse().unwrap(),
        prefix: 120,
    };
    assert_eq!(request.allow, network);
    assert_eq!(request.target, Some("::ffff:10.9.9.9".parse().unwrap()));
}

#[test]
fn target_restricts_the_family() {
    let (v4, v6, home, keys) = dual_stack("");
    home.line("knock home --target 2001:db8::5").ok();
    let target = v6.request(&keys).target;
    assert_eq!(target, Some("2001:db8::5".parse().unwrap()));
    home.line("knock home -4 --target 2001:db8::5")
        .fails(68, "…2001:db8::5 has no address of the family to allow…");
    v4.got_nothing();
}

#[test]
fn close_means_everything_unless_named() {
    let world = World::new(&format!("{SSH}duration = \"10m\""));
    let out = world.run(&["close", "home"]).ok();
    let at = world.gate.address();
    let expected = format!("asked {GATE} at {at} to close everything for 127.0.0.1\n");
    assert_eq!(out, expected);
    let all = world.request();
    assert_eq!((all.action, all.allow), (Action::Close, exactly(LOOPBACK)));
    assert_eq!((all.duration_s, all.items), (0, vec![]));
    world.run(&["close", "home", "-s", "tcp/80"]).ok();
    assert_eq!(world.request().items, [tcp(80, 80)]);
}

#[test]
fn key_pair_works_with_and_without_psk() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    let client = PrivateKey::from_bytes([3; 32]);
    let gate_key = PrivateKey::from_bytes([4; 32]);
    let psk = PresharedKey::from_bytes([5; 32]);
    home.write("client.key", &format!("{}\n", &*client.to_base64()));
    let common = format!(
        "gate = \"{GATE}\"\naddress = \"{}\"\n{SSH}gate_public_key = \"{}\"\n",
        gate.address(),
        gate_key.public()
    );
    let inline = format!("private_key = \"{}\"\n", &*client.to_base64());
    let mixed = format!(
        "private_key_file = \"client.key\"\npsk = \"{}\"\n",
        &*psk.to_base64()
    );
    home.write(
        "config.toml",
        &format!("[a]\n{common}{inline}[b]\n{common}{mixed}"),
    );
    for (profile, psk) in [("a", None), ("b", Some(&psk))] {
        home.run(&["knock", profile]).ok();
        let material = KeyMaterial::pair_at_gate(&gate_key, &client.public(), psk).unwrap();
        gate.request(&UserKeys::derive(&GateName::new(GATE).unwrap(), &material));
    }
}

#[test]
fn shared_key_sources_have_an_order() {
    let (gate, home) = (FakeGate::v4(), Home::new());
    home.write("key", &format!("{}\n", key(10)));
    let address = gate.address().to_string();
    let common = format!("knock --gate {GATE} --address {address} -s tcp/22");
    let knock = |more: &[&str]| {
        let words: Vec<&str> = common.split(' ').chain(more.iter().copied()).collect();
        postern(&words)
    };
    run(&mut knock(&["--key-file", &home.text_path("key")])).ok();
    gate.request(&shared(&key(10)));
    run(knock(&[]).env("POSTERN_KEY", key(11))).ok();
    gate.request(&shared(&key(11)));
    let mut from_input = knock(&["--key-stdin"]);
    from_input.env("POSTERN_KEY", key(11));
    run(from_input.write_stdin(key(12) + "\n")).ok();
    gate.request(&shared(&key(12)));
    let profile = format!("[home]\ngate = \"{GATE}\"\naddress = \"{address}\"\n{SSH}");
    home.write("config.toml", &format!("{profile}key_file = \"key\"\n"));
    run(home.command(&["knock", "home"]).env("POSTERN_KEY", key(11))).ok();
    gate.request(&shared(&key(10)));
}

#[test]
fn print_and_dry_run_send_nothing() {
    let (v4, v6, home, keys) = dual_stack("duration = \"30s\"");
    let printed = home.run(&["knock", "home", "--print"]).ok();
    let requests: Vec<_> = printed
        .lines()
        .map(|line| open_base64(line, &keys))
        .collect();
    let allowed: Vec<_> = requests.iter().map(|request| request.allow).collect();
    assert_eq!(allowed, [exactly(LOOPBACK), exactly("::1")]);
    for request in requests {
        assert_eq!((request.items, request.duration_s), (vec![tcp(22, 22)], 30));
    }
    let json = home.run(&["knock", "home", "--print", "--json"]).json();
    assert_eq!(json["mode"], "printed");
    let packet = json["knocks"][1]["packet"].as_str().unwrap();
    assert_eq!(open_base64(packet, &keys).allow, exactly("::1"));
    let shown = home.line("knock home --dry-run").ok();
    let rows =
        "  services  tcp/22\n  target    the gate itself\n  allow     127.0.0.1\n  duration  30s\n";
    says(&shown, &format!("…not sent to {}:\n…{rows}…", v4.address()));
    v4.got_nothing();
    v6.got_nothing();
}

#[test]
fn nonce_and_length_are_random() {
    let world = World::new(SSH);
    let (mut nonces, mut lengths) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..20 {
        world.line("knock home").ok();
        let packet = world.gate.packet();
        open(&packet, &world.keys);
        nonces.insert(packet[8..20].to_vec());
        lengths.insert(packet.len());
    }
    assert_eq!(nonces.len(), 20);
    // All 137 lengths are equally likely, so fewer than five of them in twenty packets do not happen.
    assert!(lengths.len() >= 5, "{lengths:?}");
    let fits = |length| (132..=268).contains(length);
    assert!(lengths.iter().all(fits), "{lengths:?} in 296 bytes of IPv4");
}

#[test]
fn wait_tries_the_first_tcp_port() {
    let world = World::new(SSH);
    for (address, target) in [("127.0.0.1:0", None), ("127.0.0.2:0", Some("127.0.0.2"))] {
        let listener = TcpListener::bind(address).unwrap();
        let at = listener.local_addr().unwrap();
        let target = target.map_or(String::new(), |target| format!(" --target {target}"));
        let knock = format!("knock home -s udp/53 -s tcp/{} --wait{target}", at.port());
        let out = world.line(&knock).ok();
        world.request();
        says(&out, &format!("knocked …\n{at} is open after …\n"));
    }
}
