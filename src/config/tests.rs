//! Whole configs: what loads, and for all that does not, the place and the sentence.

use std::path::Path;
use std::time::Duration;

use postern_proto::{GateName, Hint, PresharedKey, PrivateKey, SharedKey, Step, UserKeys};

use super::*;
use crate::bundle::BundleFile;
use crate::policy::{GrantTo, MaxPrefix, Policy};
use crate::settings::{BackendKind, CaptureKind, Interfaces, OnStop};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FOLDER: &str = "/etc/postern";

fn bundle(main: &str, others: &[(&str, &str)]) -> Bundle {
    let file = |name: &str, text: &str| BundleFile { path: Path::new(FOLDER).join(name), text: text.to_owned().into() };
    let (mut users, mut keys) = (Vec::new(), Vec::new());
    for (name, text) in others {
        if name.starts_with("users.d/") { users.push(file(name, text)) } else { keys.push(file(name, text)) }
    }
    Bundle { main: Some(file("posternd.toml", main)), users, keys }
}

/// The problems, one a line, without the folder.
fn refused(bundle: &Bundle) -> String {
    load(bundle).map(|loaded| loaded.settings).unwrap_err().to_string().replace("/etc/postern/", "")
}

fn key(byte: u8) -> String {
    SharedKey::from_bytes([byte; 32]).to_base64().to_string()
}

fn hint(gate: &str, material: &KeyMaterial) -> Hint {
    let keys = UserKeys::derive(&GateName::new(gate).unwrap(), material);
    keys.hint_key().hint(Step(7))
}

/// A gate with this line in `[gate]` and this one in its user, who has a key, a name and services unless the line has them.
fn with(gate: &str, user: &str) -> String {
    let mut text = format!("[gate]\nname = \"g\"\n{gate}\n[service.web]\nports = [\"tcp/80\"]\n[[user]]\n");
    for (key, line) in [("name", "name = \"alice\"\n"), ("services", "services = [\"web\"]\n")] {
        if !user.starts_with(key) {
            text.push_str(line);
        }
    }
    if !["key", "public_key", "psk"].iter().any(|kind| user.starts_with(kind)) {
        text.push_str(&format!("key = \"{KEY}\"\n"));
    }
    text + user + "\n"
}

#[test]
fn the_example_of_the_design_loads() {
    let text = r#"
[gate]
name = "gate.example.org"          # part of every key: a knock for another gate never fits
port = 62201                       # UDP port that knocks come to; a list is allowed
interfaces = ["any"]               # or names; they may come and go
window = "30s"                     # 5s..5m, both directions
state_dir = "/var/lib/postern"
control_socket = "/run/postern/control.sock"
run_as = "nobody"                  # the engine's user
capture = "packet"                 # "packet" (passive) | "udp" (a bound, never-answering socket, where raw capture is not allowed)

[firewall]
backend = "auto"                   # "iptables" | "nftables" | "command" | "auto": iptables where the program is there, else native nftables
protect = "services"               # also close, for everyone else, every service that some user may open; "none": the host's own rules do it
on_stop = "keep"                   # "keep": grants run out, protection stays (fail closed) | "remove"

[service.web]                      # named services
ports = ["tcp/80", "tcp/443"]

[[user]]                           # here, or one file a user under users.d/*.toml
name = "alice"
key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="                    # shared key; or public_key = "…" (and optionally psk), or key_file
services = ["tcp/22", "web"]
targets = []                       # other hosts behind this gate, as CIDRs; empty: only the gate itself
grant_to = "either"                # "claimed": the address inside the knock | "observed": the packet's source | "either"
networks = ["0.0.0.0/0", "::/0"]   # which addresses may be let in at all
max_prefix = { v4 = 32, v6 = 128 } # widest network one grant may admit
duration = "30s"                   # granted when the knock asks for none
max_duration = "1h"
quota = "30/min"                   # admitted knocks
"#;
    let loaded = load(&bundle(text, &[])).unwrap();
    let [alice] = loaded.settings.policies.as_slice() else { panic!("one user") };
    let services = vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()];
    assert_eq!(*alice, Policy::for_user("alice", services), "what the example shows are the defaults");
    assert_eq!(
        hint("gate.example.org", &loaded.keys[0]),
        hint("gate.example.org", &KeyMaterial::shared(&SharedKey::from_base64(KEY).unwrap()))
    );

    let sparse = format!("gate.name = \"gate.example.org\"\n[[user]]\nname = \"alice\"\nkey = \"{KEY}\"\nservices = [\"tcp/22\"]");
    let sparse = load(&bundle(&sparse, &[])).unwrap();
    let (shown, defaults) = (loaded.settings, sparse.settings);
    assert_eq!(format!("{:?} {:?}", shown.gate, shown.firewall), format!("{:?} {:?}", defaults.gate, defaults.firewall));
    assert_eq!(defaults.gate.ports, [62201]);
    assert_eq!(defaults.gate.window, Duration::from_secs(30));
    assert_eq!(defaults.gate.interfaces, Interfaces::Any);
}

#[test]
fn every_key_reaches_the_settings() {
    let text = format!(
        r#"
[gate]
name = "g"
port = [62202, 0xF2F9]
interfaces = ["eth0", "wg0"]
window = "2m"
state_dir = "/s"
control_socket = "/c"
run_as = "postern"
capture = "udp"
[firewall]
backend = "nftables"
protect = "none"
on_stop = "remove"
[[user]]
name = "a@b"
key = '{KEY}'
services = ["udp/5000-5010"]
targets = ["10.0.0.0/8"]
grant_to = "observed"
networks = ["2001:db8::/32"]
max_prefix.v4 = 24
duration = "10m"
max_duration = "2h"
quota = "5/10s"
"#
    );
    let Settings { gate, firewall, policies, .. } = load(&bundle(&text, &[])).unwrap().settings;
    assert_eq!((gate.ports, gate.window), (vec![62201, 62202], Duration::from_secs(120)));
    assert_eq!(gate.interfaces, Interfaces::Named(vec!["eth0".to_owned(), "wg0".to_owned()]));
    assert_eq!((gate.state_dir.as_path(), gate.control_socket.as_path()), (Path::new("/s"), Path::new("/c")));
    assert_eq!((gate.run_as.as_str(), gate.capture), ("postern", CaptureKind::Udp));
    assert_eq!((firewall.backend, firewall.protect, firewall.on_stop), (BackendKind::Nftables, false, OnStop::Remove));
    let user = &policies[0];
    assert_eq!((user.user.as_str(), user.grant_to, user.max_prefix), ("a@b", GrantTo::Observed, MaxPrefix { v4: 24, v6: 128 }));
    assert_eq!((user.duration.as_secs(), user.max_duration.as_secs(), user.quota.to_string().as_str()), (600, 7200, "5/10s"));
    assert_eq!(
        format!("{:?} {:?} {:?}", user.services, user.targets, user.networks),
        "[Ports(udp/5000-5010)] [10.0.0.0/8] [2001:db8::/32]"
    );
}

#[test]
fn users_come_from_the_main_file_then_from_users_d_each_in_its_order() {
    let user = |name: &str, byte| format!("name = \"{name}\"\nkey = \"{}\"\nservices = [\"tcp/22\"]\n", key(byte));
    let main = format!("[gate]\nname = \"g\"\n[[user]]\n{}[[user]]\n{}", user("zoe", 1), user("adam", 2));
    let beside = format!("[[user]]\n{}[[user]]\n{}", user("bob", 4), user("carl", 5));
    let loaded =
        load(&bundle(&main, &[("users.d/1.toml", &user("mary", 3)), ("users.d/2.toml", &beside), ("users.d/3.toml", "# nobody\n")]))
            .unwrap();
    let names: Vec<&str> = loaded.settings.policies.iter().map(|policy| policy.user.as_str()).collect();
    assert_eq!(names, ["zoe", "adam", "mary", "bob", "carl"]);
    for (material, byte) in loaded.keys.iter().zip(1..) {
        assert_eq!(hint("g", material), hint("g", &KeyMaterial::shared(&SharedKey::from_bytes([byte; 32]))), "{byte}");
    }
    assert_eq!(loaded.keys.len(), 5);
    assert!(load(&bundle("gate.name = \"g\"", &[])).unwrap().keys.is_empty(), "a gate without users is legal");
}

#[test]
fn keys_come_from_the_files_that_the_config_names() {
    let (gate, client) = (PrivateKey::from_bytes([7; 32]), PrivateKey::from_bytes([8; 32]));
    let main = with("private_key = \"gate.key\"", &format!("public_key = \"{}\"\npsk = \"{}\"", client.public(), key(9)));
    let beside = "name = \"bob\"\nkey_file = \"bob.key\"\nservices = [\"web\"]";
    let named = key_files(&bundle(&main, &[("users.d/bob.toml", beside)]));
    assert_eq!(named, [Path::new("/etc/postern/users.d/bob.key"), Path::new("/etc/postern/gate.key")]);

    let mut whole = bundle(&main, &[("users.d/bob.toml", beside), ("gate.key", &key(7))]);
    whole.keys.push(BundleFile { path: named[0].clone(), text: format!("{}\n", key(3)).into() });
    let keys = load(&whole).unwrap().keys;
    let preshared = PresharedKey::from_bytes([9; 32]);
    let theirs = KeyMaterial::pair_at_client(&client, &gate.public(), Some(&preshared)).unwrap();
    assert_eq!(hint("g", &keys[0]), hint("g", &theirs));
    assert_eq!(hint("g", &keys[1]), hint("g", &KeyMaterial::shared(&SharedKey::from_bytes([3; 32]))));

    let unused = with("private_key = \"gate.key\"", "");
    assert!(key_files(&bundle(&unused, &[])).is_empty(), "no user needs the gate's key");
    assert!(load(&bundle(&unused, &[])).is_ok());
}

#[test]
fn what_is_wrong_in_a_gate_is_said_with_line_column_and_cure() {
    let cases = [
        ("prot = 1", "3:1: \"prot\" has no meaning in [gate]; the keys of [gate] are name, port,"),
        ("port = 0", "3:8: \"0\" is out of the range of port; write a whole number from 1 to 65535"),
        ("port = 65536", "3:8: \"65536\" is out of the range"),
        ("port = [1, -2]", "3:12: \"-2\" is out of the range"),
        ("port = \"62201\"", "3:8: port cannot be a text; write a whole number"),
        ("port = []", "3:8: port lists 0 ports; write 1 to 32"),
        ("port = [5, 6, 5]", "3:15: port 5 is listed twice"),
        ("interfaces = []", "3:14: interfaces is empty; write [\"any\"]"),
        ("interfaces = \"eth0\"", "3:14: interfaces cannot be a text; write a list of texts"),
        ("interfaces = [\"any\", \"eth0\"]", "3:14: \"any\" stands beside"),
        ("interfaces = [\"eth0\", \"eth0\"]", "3:23: interface \"eth0\" is listed twice"),
        ("interfaces = [\"a b\"]", "3:15: \"a b\" is not the name of an interface"),
        ("window = \"4s\"", "3:10: a window of 4s is out of bounds; write 5s to 5m"),
        ("window = 30", "3:10: window cannot be a number; write a text in quotes"),
        ("window = \"30\"", "3:10: \"30\" is not a length of time"),
        ("state_dir = \"lib\"", "3:13: this path is relative; write the whole path"),
        ("control_socket = \"c\"", "3:18: this path is relative"),
        ("run_as = \"\"", "3:10: \"\" is not the name of a system user"),
        ("capture = \"pcap\"", "3:11: \"pcap\" is no value of capture; write \"packet\" or \"udp\""),
        ("name = \"again\"", "3:1: this is not TOML: duplicate key; keep one"),
        ("port 1", "3:6: this is not TOML: key with no value, expected `=`"),
        ("[firewall]\nbackend = \"command\"", "4:11: the backend \"command\" is not in this version; write \"auto\""),
        ("[firewall]\nbackend = \"pf\"", "4:11: \"pf\" is no value of backend"),
        ("[firewall]\nprotect = true", "4:11: protect cannot be true or false"),
        ("[firewall]\nonstop = \"keep\"", "4:1: \"onstop\" has no meaning in [firewall]"),
        ("[service.tcp]\nports = [\"tcp/1\"]", "3:10: \"tcp\" means a protocol"),
        ("[service.Web]\nports = [\"tcp/1\"]", "3:10: \"Web\" cannot be the name of a service"),
        ("[service.dns]\nports = []", "4:9: service \"dns\" has no ports"),
        ("[service.dns]", "3:1: [service.dns] has no ports; add ports = [\"tcp/80\"]"),
        ("[service.dns]\nports = [\"udp/53\", \"web\"]", "4:20: \"web\" names no ports; write tcp/22"),
        ("[service.dns]\nport = [\"udp/53\"]\nports = [\"udp/53\"]", "4:1: \"port\" has no meaning in [service.dns]"),
        ("[web]", "3:2: \"web\" has no meaning in posternd.toml; the keys of posternd.toml are gate, firewall, service, user"),
    ];
    for (line, expected) in cases {
        let said = refused(&bundle(&with(line, ""), &[]));
        assert!(said.starts_with(&format!("posternd.toml:{expected}")), "{line}\n{said}");
        assert_eq!(said.lines().count(), 1, "{line}\n{said}");
    }
    for name in ["\"\"".to_owned(), format!("\"{}\"", "g".repeat(256))] {
        let said = refused(&bundle(&format!("[gate]\nname = {name}"), &[]));
        assert!(said.starts_with("posternd.toml:2:8: a gate name must have 1 to 255 bytes; "), "{said}");
    }
    assert!(refused(&bundle("[gate]", &[])).starts_with("posternd.toml:1:1: [gate] has no name; add name = "));
    assert!(refused(&bundle("", &[])).starts_with("posternd.toml:1:1: there is no [gate]; add [gate]"));
    assert!(refused(&Bundle::default()).starts_with("posternd.toml: was not read"));
}

#[test]
fn what_is_wrong_in_a_user_is_said_with_line_column_and_cure() {
    // The user's table begins on line 6. Lines 7 to 9 are name, services and key, the last of them the case's own if it has one of these.
    let cases = [
        ("name = \"a b\"", "9:8: \"a b\" is not a user's name; write 1 to 64"),
        ("services = []", "9:12: this user may open nothing"),
        ("services = [\"web\", \"mail\"]", "9:20: \"mail\" is no service of this gate; add a [service.NAME]"),
        ("services = [\"tpc/22\"]", "9:13: \"tpc/22\" is not a service; write tcp/22"),
        ("key = \"short\"", "9:7: this is no key: a key must have exactly 44 characters of base64, not 5; write the one line"),
        ("key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\"", "9:7: this is no key: a key must be canonical base64"),
        ("key = 5", "9:7: key cannot be a number"),
        ("psk = \"\"", "6:1: this user has no key; add key"),
        ("key_file = \"\"", "9:12: this is not a path"),
        ("key_file = \"none.key\"", "none.key: was not read, though posternd.toml:9 names it"),
        ("public_key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"", "9:14: a user with public_key needs a private key of the gate"),
        ("networks = [\"10.0.0.1/24\"]", "10:13: 10.0.0.1/24 has bits set behind its prefix; write 10.0.0.0/24"),
        ("networks = []", "10:12: networks is empty"),
        ("targets = [\"10.0.0.1\"]", "10:12: 10.0.0.1 has no prefix length; write 10.0.0.1/32"),
        ("targets = \"10.0.0.0/8\"", "10:11: targets cannot be a text; write a list"),
        ("grant_to = \"all\"", "10:12: \"all\" is no value of grant_to; write \"claimed\" or \"observed\" or \"either\""),
        ("max_prefix = 24", "10:14: max_prefix cannot be a number; write a table, max_prefix = { v4 = 32, v6 = 128 }"),
        ("max_prefix = { v4 = 33 }", "10:21: \"33\" is out of the range of v4; write a whole number from 0 to 32"),
        ("max_prefix = { v6 = 129 }", "10:21: \"129\" is out of the range of v6"),
        ("max_prefix = { v5 = 1 }", "10:16: \"v5\" has no meaning in max_prefix"),
        ("duration = \"0s\"", "10:12: \"0s\" is not a whole number of seconds from 1 on"),
        ("duration = \"2h\"", "10:12: a duration of 2h is longer than max_duration, 1h"),
        ("max_duration = \"721h\"", "10:16: a max_duration of 30d 1h is longer than 30 days; write 720h"),
        ("quota = \"0/min\"", "10:9: a quota of 0"),
        ("quota = \"30\"", "10:9: \"30\" is not a quota; write knocks in a time, like 30/min"),
        ("service = [\"web\"]", "10:1: \"service\" has no meaning in [[user]]"),
        ("max_duration = \"10s\"\nduration = \"11s\"", "11:12: a duration of 11s is longer than max_duration, 10s"),
        ("key_file = \"k\"\nkey = \"k\"", "10:7: this user has both key_file and key; keep one"),
        ("psk = \"k\"", "6:1: this user has no key"),
        ("[user.deep]", "10:7: \"deep\" has no meaning in [[user]]"),
    ];
    for (line, expected) in cases {
        let said = refused(&bundle(&with("", line), &[]));
        let expected = if expected.starts_with("none") { expected.to_owned() } else { format!("posternd.toml:{expected}") };
        assert!(said.starts_with(&expected), "{line}\n{said}");
        assert_eq!(said.lines().count(), if line.starts_with("psk") { 2 } else { 1 }, "{line}\n{said}");
    }
    let short = load(&bundle(&with("", "max_duration = \"10s\""), &[])).unwrap().settings;
    assert_eq!(short.policies[0].duration, Duration::from_secs(10), "the default gives way to a shorter maximum");
}

#[test]
fn psk_and_single_brackets_and_empty_users_are_refused_where_they_stand() {
    let psk = format!("key = \"{KEY}\"\npsk = \"{KEY}\"");
    assert!(refused(&bundle(&with("", &psk), &[])).starts_with("posternd.toml:10:7: psk stands without public_key; take psk out"));
    let single = "[gate]\nname = \"g\"\n[user]\nname = \"a\"";
    assert!(refused(&bundle(single, &[])).starts_with("posternd.toml:3:1: user cannot be a table; write [[user]]"));
    let said = refused(&bundle("gate.name = \"g\"\n[[user]]\n", &[]));
    assert_eq!(said.lines().count(), 3, "no name, no services, no key\n{said}");
    assert!(said.lines().all(|line| line.starts_with("posternd.toml:2:1: ")), "{said}");
}

#[test]
fn names_and_keys_given_twice_name_both_places() {
    let beside = |name: &str, key: &str| format!("# a comment\nname = \"{name}\"\nservices = [\"web\"]\nkey = \"{key}\"\n");
    let twice = bundle(&with("", ""), &[("users.d/a.toml", &beside("alice", &key(1))), ("users.d/b.toml", &beside("bob", KEY))]);
    let said = refused(&twice);
    assert_eq!(
        said,
        "users.d/a.toml:2:8: user \"alice\" is defined twice, first at posternd.toml:7; rename or take out one of the two\n\
         users.d/b.toml:4:7: the same key is given twice, first at posternd.toml:9; give each user a key of their own, from postern keygen"
    );
    let mut from_file = bundle(&with("", ""), &[("users.d/c.toml", "name = \"c\"\nservices = [\"web\"]\nkey_file = \"/k\"")]);
    from_file.keys.push(BundleFile { path: "/k".into(), text: KEY.to_owned().into() });
    assert!(refused(&from_file).starts_with("users.d/c.toml:3:12: the same key is given twice, first at posternd.toml:9"));
}

#[test]
fn a_key_file_that_holds_no_key_is_named_with_the_line_that_names_it() {
    for (text, what) in [("", "not 0"), (&*format!("{KEY}\n\n"), "not 45"), (&KEY.replace('8', "9"), "canonical")] {
        let said = refused(&bundle(&with("", "key_file = \"a.key\""), &[("a.key", text)]));
        assert!(said.starts_with("a.key: this is no key: ") && said.contains(what), "{said}");
        assert!(said.contains("(named at posternd.toml:9)"), "{said}");
    }
    let public = format!("public_key = \"{KEY}\"");
    let said = refused(&bundle(&with("private_key = \"gate.key\"", &public), &[("gate.key", "x")]));
    assert!(said.starts_with("gate.key: this is no key") && said.contains("(named at posternd.toml:3)"), "{said}");
    let said = refused(&bundle(&with("private_key = \"gate.key\"", &public), &[]));
    assert!(said.starts_with("gate.key: was not read"), "{said}");
    let weak = format!("public_key = \"{}\"", key(0));
    let said = refused(&bundle(&with("private_key = \"gate.key\"", &weak), &[("gate.key", &key(7))]));
    assert!(said.starts_with("posternd.toml:9:14: the public key is a weak point"), "{said}");
}

#[test]
fn all_problems_of_all_files_are_said_at_once_in_the_order_of_lines() {
    let main = "[gate]\nprot = 1\nname = \"\"\n[firewall]\nbackend = \"pf\"\n[[user]]\nname = \"a\"\n[[user]]\nquota = 1\n";
    let said = refused(&bundle(main, &[("users.d/a.toml", "name = "), ("users.d/b.toml", "nmae = \"b\"")]));
    let places: Vec<&str> = said.lines().filter_map(|line| line.split_once(": ")).map(|(place, _)| place).collect();
    let main = ["2:1", "3:8", "5:11", "6:1", "6:1", "8:1", "8:1", "8:1", "9:9"].map(|place| format!("posternd.toml:{place}"));
    let beside = ["users.d/a.toml:1:8", "users.d/b.toml:1:1", "users.d/b.toml:1:1", "users.d/b.toml:1:1", "users.d/b.toml:1:1"];
    assert_eq!(places, [main.as_slice(), beside.map(str::to_owned).as_slice()].concat(), "{said}");
}

#[test]
fn a_main_file_that_is_no_toml_makes_no_user_wrong() {
    let beside = format!("name = \"b\"\nservices = [\"web\"]\npublic_key = \"{KEY}\"");
    let said = refused(&bundle("[gate\n", &[("users.d/b.toml", &beside)]));
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Wherever somebody could put a key by mistake, no part of it may come back in a message (invariant 7).
#[test]
fn invariant_7_no_part_of_a_key_reaches_a_problem() {
    let gates = [
        "private_key = \"KEY\"",
        "name = \"KEY\"\nname = \"KEY\"",
        "KEY",
        "KEY = 1",
        "\"KEY\" = 1",
        "port = \"KEY\"",
        "interfaces = [\"KEY\"]",
        "window = \"KEY\"",
        "state_dir = \"KEY\"",
        "control_socket = \"KEY\"",
        "run_as = \"KEY\"",
        "capture = \"KEY\"",
        "[firewall]\nbackend = \"KEY\"",
        "[firewall]\nKEY = 1",
        "[KEY]",
        "[\"KEY\"]",
        "[service.\"KEY\"]\nports = [\"tcp/1\"]",
        "[service.x]\nports = [\"KEY\"]",
        "service = \"KEY\"",
        "private_key = KEY",
        "private_key = \"KEY",
        "private_key = 'KEY\n",
        "private_key = \"\"\"KEY",
        "x.\"KEY\".y = 1",
        "user = \"KEY\"",
        "private_key = \"\\u0041KEY\"",
        "private_key = \"KEY\\q\"",
        "private_key = [\"KEY\"]",
        "private_key = { a = \"KEY\" }",
        "state_dir = \"/KEY\"\nwindow=\"1\"",
    ];
    let users = [
        "key = KEY",
        "key = \"KEY",
        "key = KEY\"",
        "key = 'KEY\"",
        "key = [\"KEY\"]",
        "key = { key = \"KEY\" }",
        "key = \"KEY\\n\"",
        "key = \"KEYKEY\"",
        "key = \" KEY\"",
        "key \"KEY\"",
        "key: \"KEY\"",
        "keys = \"KEY\"\nkey=\"\"",
        "key = \"KEY\"\nkey = \"KEY\"",
        "key = \"KEY\"\npsk = \"KEY\"",
        "key = \"KEY\"\nkey_file = \"KEY\"",
        "key_file = \"KEY\"",
        "key_file = KEY",
        "key_file = \"KEY \"",
        "key_file = \"base64:KEYKEY\"",
        "key_file = \"key = KEY\"",
        "public_key = \"KEY\"",
        "public_key = \"KEYx\"",
        "public_key = \"KEY\"\npsk = \"KEYx\"",
        "psk = \"KEY\"",
        "name = \"KEY\"",
        "name = KEY",
        "services = \"KEY\"",
        "services = [\"KEY\"]",
        "targets = [\"KEY\"]",
        "networks = [\"KEY\"]",
        "grant_to = \"KEY\"",
        "max_prefix = \"KEY\"",
        "max_prefix = { v4 = \"KEY\" }",
        "max_prefix = { \"KEY\" = 1 }",
        "duration = \"KEY\"",
        "max_duration = \"KEY\"",
        "quota = \"KEY\"",
        "quota = \"1/KEY\"",
        "KEY",
        "\"KEY\"",
        "\"KEY\" = true",
        "quota = 2020-01-01KEY",
        "quota = 0xKEY",
    ];
    // One key of letters and digits only, which TOML takes for a bare word, and one with the other letters.
    for secret in ["Zm9vYmFyQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=", "q/+/Zm8vYm+yQUJDREV/R0hJSktMTU5PUFF+U1RVVld/8A8="] {
        let mains = gates.iter().map(|line| with(line, "")).chain(users.iter().map(|line| with("", line)));
        for text in mains {
            let text = text.replace("KEY", secret);
            let bundle = bundle(&text, &[("users.d/u.toml", &text), ("a.key", secret)]);
            let problems = load(&bundle).map(|loaded| loaded.settings).unwrap_err();
            let files = key_files(&bundle);
            let shown = format!("{problems}\n{problems:?}\n{files:?}\n{bundle:?}");
            for part in secret.as_bytes().windows(8) {
                let part = std::str::from_utf8(part).unwrap();
                assert!(!shown.contains(part), "{part} of the key of\n{text}\nis in\n{shown}");
            }
        }
    }
}

#[test]
fn ten_thousand_users_with_keys_in_files_load_at_once() {
    let mut main = "[gate]\nname = \"g\"\n".to_owned();
    let mut whole = bundle("", &[]);
    for i in 0..10_000_u32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&i.to_be_bytes());
        let path = format!("/keys/{i}");
        main += &format!("[[user]]\nname = \"user{i}\"\nservices = [\"tcp/22\"]\nkey_file = \"{path}\"\n");
        whole.keys.push(BundleFile { path: path.into(), text: SharedKey::from_bytes(bytes).to_base64().to_string().into() });
    }
    whole.main = bundle(&main, &[]).main;
    assert_eq!(key_files(&whole).len(), 10_000);
    assert_eq!(load(&whole).unwrap().keys.len(), 10_000);
}
