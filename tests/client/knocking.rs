//! What is asked for is what arrives, over each family and with each kind of key; and what must not be sent is not.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, TcpListener};

use postern_proto::{
    Action, Allow, GateName, Item, KeyMaterial, PresharedKey, PrivateKey, Protocol, Service,
    ServiceName, UserKeys,
};
use serde_json::Value;

use crate::gate::{FakeGate, from_base64, open};
use crate::program::{GATE, Home, key, postern, run, shared};

fn tcp(port: u16) -> Item {
    Item::Service(Service::new(Protocol::Tcp, port, port).unwrap())
}

fn just(address: &str) -> Allow {
    Allow::Network {
        address: address.parse().unwrap(),
        prefix: 128,
    }
}

const LOOPBACK_V4: &str = "::ffff:127.0.0.1";

/// A profile with a shared key for these gates, and what they derive from it.
fn home(gates: &[&FakeGate], more: &str) -> (Home, UserKeys) {
    let addresses: Vec<String> = gates
        .iter()
        .map(|gate| format!("\"{}\"", gate.address()))
        .collect();
    let key = key(1);
    let body = format!(
        "address = [{}]\nkey = \"{key}\"\nservices = [\"tcp/22\"]\n{more}",
        addresses.join(", ")
    );
    (Home::with_profile(&body), shared(&key))
}

#[test]
fn a_knock_over_ipv4_says_what_the_profile_says() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&[&gate], "duration = \"10m\"\ntarget = \"10.0.0.5\"");
    let said = home.run(&["knock", "home"]).ok();
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let request = gate.knock(&keys);
    assert_eq!(
        said,
        format!(
            "knocked {GATE} at {} for tcp/22 on 10.0.0.5, letting in 127.0.0.1 for 10m\n",
            gate.address()
        )
    );
    assert_eq!(request.action, Action::Open);
    assert_eq!(request.allow, just(LOOPBACK_V4));
    assert_eq!(request.duration_s, 600);
    assert_eq!(request.target, Some("::ffff:10.0.0.5".parse().unwrap()));
    assert_eq!(request.items, [tcp(22)]);
    assert!(request.timestamp_ms <= now && now - request.timestamp_ms < 60_000);
    gate.heard_nothing();
}

#[test]
fn a_knock_over_ipv6_claims_the_ipv6_address() {
    let gate = FakeGate::v6();
    let (home, keys) = home(&[&gate], "");
    let said = home.run(&["knock", "home"]).ok();
    let request = gate.knock(&keys);
    assert_eq!(
        said,
        format!(
            "knocked {GATE} at {} for tcp/22, letting in ::1 for as long as the gate grants\n",
            gate.address()
        )
    );
    assert_eq!(
        (request.allow, request.duration_s, request.target),
        (just("::1"), 0, None)
    );
}

#[test]
fn a_gate_with_both_families_gets_one_knock_over_each() {
    let (v4, v6, second) = (FakeGate::v4(), FakeGate::v6(), FakeGate::v4());
    let (home, keys) = home(&[&v4, &v6, &second], "");
    let said = home.run(&["knock", "home"]).ok();
    assert_eq!(said.lines().count(), 2);
    assert_eq!(v4.knock(&keys).allow, just(LOOPBACK_V4));
    assert_eq!(v6.knock(&keys).allow, just("::1"));
    second.heard_nothing();
}

#[test]
fn one_family_alone_can_be_asked_for() {
    let (v4, v6) = (FakeGate::v4(), FakeGate::v6());
    let (home, keys) = home(&[&v4, &v6], "");
    home.run(&["knock", "home", "-6"]).ok();
    v6.knock(&keys);
    v4.heard_nothing();
    home.run(&["knock", "home", "-4"]).ok();
    v6.heard_nothing();
    open(&v4.packet(), &keys);
}

#[test]
fn a_gate_is_found_by_its_name() {
    let gate = FakeGate::v4();
    let port = gate.address().port();
    let key = key(2);
    let address = format!("localhost:{port}");
    let arguments = [
        "knock",
        "--gate",
        GATE,
        "--address",
        &address,
        "-s",
        "tcp/22",
        "-4",
    ];
    run(postern(&arguments).env("POSTERN_KEY", &key)).ok();
    gate.knock(&shared(&key));
}

#[test]
fn one_family_that_cannot_be_reached_is_no_failure_while_the_other_can() {
    let gate = FakeGate::v4();
    let key = key(3);
    // A link-local address without its link leads nowhere.
    let address = gate.address().to_string();
    let arguments = [
        "knock",
        "--gate",
        GATE,
        "--address",
        "fe80::1",
        "--address",
        &address,
        "-s",
        "tcp/22",
        "--json",
    ];
    let said: Value =
        serde_json::from_str(&run(postern(&arguments).env("POSTERN_KEY", &key)).ok()).unwrap();
    gate.knock(&shared(&key));
    let sent: Vec<bool> = said["knocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|knock| knock["sent"].as_bool().unwrap())
        .collect();
    assert_eq!(sent.iter().filter(|sent| **sent).count(), 1, "{said}");
    assert!(said["knocks"].to_string().contains("[fe80::1]:62201"));
}

#[test]
fn options_go_before_the_profile() {
    let (gate, other) = (FakeGate::v4(), FakeGate::v4());
    let (home, keys) = home(&[&gate], "duration = \"10m\"\nallow = \"source\"");
    let address = other.address().to_string();
    let options = [
        "-s",
        "udp/5000-5010",
        "-s",
        "web",
        "-s",
        "web",
        "--for",
        "1500ms",
        "--allow",
        "192.0.2.0/24",
        "--target",
        "10.9.9.9",
    ];
    home.run(&[&["knock", "home", "--address", &address], &options[..]].concat())
        .ok();
    gate.heard_nothing();
    let request = other.knock(&keys);
    let range = Item::Service(Service::new(Protocol::Udp, 5000, 5010).unwrap());
    assert_eq!(
        request.items,
        [range, Item::Name(ServiceName::new("web").unwrap())]
    );
    assert_eq!(request.duration_s, 2);
    assert_eq!(
        request.allow,
        Allow::Network {
            address: "::ffff:192.0.2.0".parse().unwrap(),
            prefix: 120
        }
    );
    assert_eq!(request.target, Some("::ffff:10.9.9.9".parse().unwrap()));
}

#[test]
fn the_source_network_counts_in_the_family_of_its_knock() {
    let (v4, v6) = (FakeGate::v4(), FakeGate::v6());
    let (home, keys) = home(&[&v4, &v6], "allow = \"source/24\"");
    let said = home.run(&["knock", "home"]).ok();
    assert!(
        said.contains("letting in the /24 network it comes from"),
        "{said}"
    );
    assert_eq!(v4.knock(&keys).allow, Allow::Source { prefix: 120 });
    assert_eq!(v6.knock(&keys).allow, Allow::Source { prefix: 128 });
    home.run(&["knock", "home", "--allow", "source/64"]).ok();
    assert_eq!(v4.knock(&keys).allow, Allow::Source { prefix: 128 });
    assert_eq!(v6.knock(&keys).allow, Allow::Source { prefix: 64 });
}

#[test]
fn a_target_is_knocked_for_over_its_own_family_only() {
    let (v4, v6) = (FakeGate::v4(), FakeGate::v6());
    let (home, keys) = home(&[&v4, &v6], "");
    home.run(&["knock", "home", "--target", "2001:db8::5"]).ok();
    assert_eq!(
        v6.knock(&keys).target,
        Some("2001:db8::5".parse::<Ipv6Addr>().unwrap())
    );
    v4.heard_nothing();
    let line = home
        .run(&["knock", "home", "-4", "--target", "2001:db8::5"])
        .failed(68);
    assert!(
        line.contains("2001:db8::5 has no address of the family that is to be let in"),
        "{line}"
    );
}

#[test]
fn close_asks_for_everything_unless_a_service_is_named() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&[&gate], "duration = \"10m\"");
    let said = home.run(&["close", "home"]).ok();
    assert_eq!(
        said,
        format!(
            "asked {GATE} at {} to close everything for 127.0.0.1\n",
            gate.address()
        )
    );
    let all = gate.knock(&keys);
    assert_eq!(
        (all.action, all.allow, all.duration_s, all.items),
        (Action::Close, just(LOOPBACK_V4), 0, vec![])
    );
    home.run(&["close", "home", "-s", "tcp/80"]).ok();
    assert_eq!(gate.knock(&keys).items, [tcp(80)]);
}

#[test]
fn a_key_pair_is_understood_by_the_other_half_with_and_without_a_preshared_key() {
    let gate = FakeGate::v4();
    let home = Home::new();
    let (client, gate_key) = (
        PrivateKey::from_bytes([3; 32]),
        PrivateKey::from_bytes([4; 32]),
    );
    let psk = PresharedKey::from_bytes([5; 32]);
    home.write("client.key", &format!("{}\n", &*client.to_base64()));
    let common = format!(
        "gate = \"{GATE}\"\naddress = \"{}\"\nservices = [\"tcp/22\"]\ngate_public_key = \"{}\"",
        gate.address(),
        gate_key.public()
    );
    let inline = format!("private_key = \"{}\"", &*client.to_base64());
    let mixed = format!("psk = \"{}\"", &*psk.to_base64());
    home.write(
        "config.toml",
        &format!(
            "[a]\n{common}\n{inline}\n[b]\n{common}\nprivate_key_file = \"client.key\"\n{mixed}\n"
        ),
    );
    let keys = |psk| {
        UserKeys::derive(
            &GateName::new(GATE).unwrap(),
            &KeyMaterial::pair_at_gate(&gate_key, &client.public(), psk).unwrap(),
        )
    };
    home.run(&["knock", "a"]).ok();
    gate.knock(&keys(None));
    home.run(&["knock", "b"]).ok();
    gate.knock(&keys(Some(&psk)));
}

#[test]
fn a_shared_key_comes_from_a_file_the_environment_or_standard_input_and_the_profile_goes_before_the_environment()
 {
    let gate = FakeGate::v4();
    let home = Home::new();
    home.write("key", &format!("{}\n", key(10)));
    let address = gate.address().to_string();
    let common = [
        "knock",
        "--gate",
        GATE,
        "--address",
        &address,
        "-s",
        "tcp/22",
    ];
    let file = home.path("key").display().to_string();
    run(&mut postern(
        &[&common[..], &["--key-file", &file]].concat(),
    ))
    .ok();
    gate.knock(&shared(&key(10)));
    run(postern(&common).env("POSTERN_KEY", key(11))).ok();
    gate.knock(&shared(&key(11)));
    run(postern(&[&common[..], &["--key-stdin"]].concat())
        .env("POSTERN_KEY", key(11))
        .write_stdin(key(12) + "\n"))
    .ok();
    gate.knock(&shared(&key(12)));
    home.write(
        "config.toml",
        &format!("[home]\ngate = \"{GATE}\"\naddress = \"{address}\"\nkey_file = \"key\"\nservices = [\"tcp/22\"]\n"),
    );
    run(home.command(&["knock", "home"]).env("POSTERN_KEY", key(11))).ok();
    gate.knock(&shared(&key(10)));
}

#[test]
fn print_writes_the_packets_and_sends_none() {
    let (v4, v6) = (FakeGate::v4(), FakeGate::v6());
    let (home, keys) = home(&[&v4, &v6], "duration = \"30s\"");
    let printed = home.run(&["knock", "home", "--print"]).ok();
    v4.heard_nothing();
    v6.heard_nothing();
    let requests: Vec<_> = printed
        .lines()
        .map(|line| open(&from_base64(line), &keys))
        .collect();
    assert_eq!(
        requests
            .iter()
            .map(|request| request.allow)
            .collect::<Vec<_>>(),
        [just(LOOPBACK_V4), just("::1")]
    );
    assert!(
        requests
            .iter()
            .all(|request| request.items == [tcp(22)] && request.duration_s == 30)
    );
    let json: Value =
        serde_json::from_str(&home.run(&["knock", "home", "--print", "--json"]).ok()).unwrap();
    assert_eq!(json["mode"], "printed");
    assert_eq!(
        open(
            &from_base64(json["knocks"][1]["packet"].as_str().unwrap()),
            &keys
        )
        .allow,
        just("::1")
    );
}

#[test]
fn dry_run_shows_the_request_and_sends_none() {
    let gate = FakeGate::v4();
    let (home, _) = home(&[&gate], "duration = \"30s\"");
    let shown = home.run(&["knock", "home", "--dry-run"]).ok();
    for row in [
        "  gate      gate.example.org",
        "  action    open",
        "  services  tcp/22",
        "  target    the gate itself",
        "  allow     127.0.0.1",
        "  duration  30s",
    ] {
        assert!(shown.lines().any(|line| line == row), "{row}\n{shown}");
    }
    assert!(shown.starts_with(&format!("not sent to {}:\n", gate.address())));
    gate.heard_nothing();
}

#[test]
fn json_has_a_version_and_says_what_was_sent() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&[&gate], "duration = \"30s\"\nallow = \"source/24\"");
    let said: Value = serde_json::from_str(&home.run(&["knock", "home", "--json"]).ok()).unwrap();
    let timestamp = gate.knock(&keys).timestamp_ms;
    let request = serde_json::json!({
        "action": "open", "allow": "source/24", "allow_prefix": 120, "target": null,
        "services": ["tcp/22"], "duration_s": 30, "timestamp_ms": timestamp,
    });
    let knock = serde_json::json!({ "to": gate.address().to_string(), "sent": true, "error": null, "request": request });
    assert_eq!(
        said,
        serde_json::json!({ "version": 1, "command": "knock", "gate": GATE, "mode": "sent", "knocks": [knock] })
    );
}

#[test]
fn no_two_knocks_are_alike_in_nonce_or_length() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&[&gate], "");
    let (mut nonces, mut lengths) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..20 {
        home.run(&["knock", "home"]).ok();
        let packet = gate.packet();
        open(&packet, &keys);
        nonces.insert(packet[8..20].to_vec());
        lengths.insert(packet.len());
    }
    assert_eq!(nonces.len(), 20);
    // 385 lengths are equally likely: twenty of fewer than five kinds do not happen.
    assert!(
        lengths.len() >= 5 && lengths.iter().all(|length| (132..=516).contains(length)),
        "{lengths:?}"
    );
}

#[test]
fn sixteen_long_services_still_fit() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&[&gate], "");
    let names: Vec<String> = (b'a'..=b'k')
        .map(|letter| String::from(char::from(letter)).repeat(32))
        .collect();
    let services: Vec<&str> = names.iter().flat_map(|name| ["-s", name]).collect();
    home.run(&[&["knock", "home"], &services[..]].concat()).ok();
    assert_eq!(gate.knock(&keys).names().count(), 11);
}

#[test]
fn wait_ends_when_the_port_opens_and_tells_how_long_it_took() {
    let gate = FakeGate::v4();
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let (home, keys) = home(&[&gate], "");
    let service = format!("tcp/{}", door.local_addr().unwrap().port());
    let said = home
        .run(&["knock", "home", "-s", "udp/53", "-s", &service, "--wait"])
        .ok();
    gate.knock(&keys);
    assert!(
        said.lines()
            .nth(1)
            .unwrap()
            .starts_with(&format!("{} is open after ", door.local_addr().unwrap())),
        "{said}"
    );
    let said = home
        .run(&["knock", "home", "-s", &service, "--wait=10s", "--json"])
        .ok();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["wait"]["open"], true);
    assert_eq!(
        said["wait"]["address"],
        door.local_addr().unwrap().to_string()
    );
}

#[test]
fn wait_tries_the_target_where_there_is_one() {
    let gate = FakeGate::v4();
    let door = TcpListener::bind("127.0.0.2:0").unwrap();
    let (home, _) = home(&[&gate], "");
    let service = format!("tcp/{}", door.local_addr().unwrap().port());
    let said = home
        .run(&[
            "knock",
            "home",
            "-s",
            &service,
            "--target",
            "127.0.0.2",
            "--wait",
        ])
        .ok();
    assert!(
        said.contains(&format!("{} is open after ", door.local_addr().unwrap())),
        "{said}"
    );
}
