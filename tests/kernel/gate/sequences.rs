//! Port sequences, made by knockd's client and by hand, open a service through the real gate.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_harness::world::seed;
use postern_harness::{
    Client, FAMILIES, Family, GateConfig, SERVICE, World, now, posternd, run, text, wait_for,
};
use postern_sequence::{Key, Shape};

use super::explain::Running;

const PLAIN: &str = "sequence = [\"tcp/7000\", \"tcp/8000\", \"udp/9000\"]";
const HITS: [&str; 3] = ["7000:tcp", "8000:tcp", "9000:udp"];

/// A user with these lines who may open the service.
pub(super) fn member(backend: &str, lines: &str) -> GateConfig {
    let lines = format!("services = [\"tcp/{SERVICE}\"]\nquota = \"1000/min\"\n{lines}");
    GateConfig::empty(backend).user_with("legacy", &lines)
}

/// Knocks with knockd's client.
pub(super) fn knock(world: &World, family: Family, hits: &[&str]) {
    knock_with(&world.first, family, hits);
}

/// The same from this client. Options may come first.
pub(super) fn knock_with(client: &Client, family: Family, words: &[&str]) {
    let gate = family.address(1).to_string();
    let options = words
        .iter()
        .take_while(|word| word.starts_with('-'))
        .count()
        * 2;
    let (options, hits) = words.split_at(options);
    let words = [options, &[gate.as_str()], hits].concat();
    let ran = run(&client.space, "knock", &words);
    assert!(ran.status.success(), "{ran:?}");
}

pub(crate) fn knockd_client_opens_the_service(backend: &'static str) {
    let world = World::start(&member(backend, PLAIN));
    for family in FAMILIES {
        world.first.expect_shut_out(family);
        knock(&world, family, &HITS);
        world.first.expect_let_in(family);
        world.second.expect_shut_out(family);
    }
    // Also one right after the other.
    for _ in 0..20 {
        knock(&world, Family::V4, &HITS);
    }
    let status = world.daemon.wait_for_admitted(22);
    assert_eq!(status.reasons, BTreeMap::new());
    let grants = world.daemon.grants();
    let allowed = grants.iter().map(|grant| grant.allow.addr());
    let expected = FAMILIES.map(|family| world.first.address(family));
    assert!(allowed.eq(expected), "{grants:?}");
}

pub(crate) fn wrong_sequence_opens_nothing(backend: &'static str) {
    let world = World::start(&member(backend, PLAIN));
    for hits in [
        &["8000:tcp", "7000:tcp", "9000:udp"][..],
        &["7000:tcp", "8000:tcp", "9000:tcp"],
        &["7000:tcp", "9000:udp", "8000:tcp"],
        &["7000:tcp", "8000:tcp"],
    ] {
        knock(&world, Family::V4, hits);
    }
    // The last hits were a beginning, so this is the end.
    wait_for("wrong hits", || {
        (world.daemon.status().count("drop wrong-hit") >= 4).then_some(())
    });
    world.expect_nothing_open();
    knock(&world, Family::V4, &HITS);
    world.first.expect_let_in(Family::V4);
}

/// The hits of a keyed sequence now.
pub(super) fn keyed_hits(key: &str) -> Vec<String> {
    let (key, shape) = (
        Key::from_base64(key).unwrap(),
        Shape::new(20_000, 60_000, 6).unwrap(),
    );
    let step = postern_sequence::step_at(now().as_millis() / 1000);
    let ports = postern_sequence::ports(&key, step, shape);
    ports.iter().map(ToString::to_string).collect()
}

/// A user for each family, who opens with these hits once: not again, and not after a restart.
fn opens_once(world: &mut World, hits: [Vec<String>; 2]) {
    let knock_both = |world: &World| {
        for (family, hits) in FAMILIES.into_iter().zip(&hits) {
            let hits: Vec<&str> = hits.iter().map(String::as_str).collect();
            knock(world, family, &hits);
        }
    };
    knock_both(world);
    world.first.expect_both_let_in();
    for _ in 0..2 {
        world.wait_until_closed();
        knock_both(world);
        wait_for("two replays", || {
            let status = world.daemon.status();
            let copies = status.count("drop replay") + status.count("drop duplicate");
            (copies >= 2).then_some(())
        });
        world.expect_nothing_open();
        world.restart();
    }
}

pub(crate) fn keyed_sequence_opens_once(backend: &'static str) {
    let keys = ["first", "second"].map(|which| STANDARD.encode(seed(which)));
    let lines = |key: &String| {
        format!(
            "sequence = {{ key = \"{key}\", ports = \"20000-60000\", hits = 6 }}\nduration = \"2s\""
        )
    };
    let open = format!("services = [\"tcp/{SERVICE}\"]\n{}", lines(&keys[1]));
    let config = member(backend, &lines(&keys[0])).user_with("other", &open);
    let mut world = World::start(&config);
    opens_once(&mut world, keys.map(|key| keyed_hits(&key)));
}

/// Another implementation of the format.
const ENCRYPTED: &str = include_str!("encrypted_sequence.py");

/// The hits of an encrypted sequence. Every second one has the protocol `second`.
fn encrypted_hits(world: &World, address: &str, second: &str) -> Vec<String> {
    let port = SERVICE.to_string();
    let words = ["-c", ENCRYPTED, "a passphrase", "61000", address, &port];
    let ran = run(
        &world.first.space,
        "python3",
        &[&words[..], &["6", "me", second]].concat(),
    );
    assert!(ran.status.success(), "{ran:?}");
    text(&ran).lines().map(str::to_owned).collect()
}

pub(crate) fn encrypted_sequence_opens_once_for_ever(backend: &'static str) {
    let line = "sequence = { passphrase = \"a passphrase\" }\nduration = \"2s\"";
    let mut world = World::start(&member(backend, line));
    let first = ["tcp", "udp"].map(|second| encrypted_hits(&world, "0.0.0.0", second));
    opens_once(&mut world, first);
    let claimed = encrypted_hits(&world, "10.77.0.2", "tcp");
    let claimed: Vec<&str> = claimed.iter().map(String::as_str).collect();
    knock(&world, Family::V4, &claimed);
    world.first.expect_let_in(Family::V4);
}

pub(crate) fn one_time_sequences_open_in_order(backend: &'static str) {
    let lines = "sequences_file = \"lines\"\nduration = \"2s\"";
    let mut world = World::prepare(&member(backend, lines));
    let file = world.write("lines", "# mine\ntcp/7000, tcp/7001\ntcp/7000, udp/7002\n");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    world.start_again();
    let (first, second) = (["7000", "7001"], ["7000", "7002:udp"]);
    knock(&world, Family::V4, &second);
    knock(&world, Family::V4, &first);
    world.first.expect_let_in(Family::V4);
    world.wait_until_closed();
    world.restart();
    knock(&world, Family::V4, &first);
    world.daemon.wait_for_count("drop wrong-hit", 1);
    world.expect_nothing_open();
    knock(&world, Family::V4, &second);
    world.first.expect_let_in(Family::V4);
    world.wait_until_closed();
    knock(&world, Family::V4, &second);
    world.daemon.wait_for_count("drop wrong-hit", 2);
    world.expect_nothing_open();
}

pub(crate) fn book_sequence_and_single_syn_open(backend: &'static str) {
    let book = "sequence = [\"tcp/5005\", \"tcp/5008\", \"tcp/1002\", \"tcp/1050\"]";
    let lines = format!("services = [\"tcp/{SERVICE}\"]\nsequence = [\"tcp/5001\"]");
    let world = World::start(&member(backend, book).user_with("cd00r", &lines));
    // Each SYN twice, as some clients and retransmissions do.
    let doubled = ["5005", "5005", "5008", "5008", "1002", "1002", "1050"];
    knock(&world, Family::V4, &doubled);
    world.first.expect_let_in(Family::V4);
    world.first.expect_shut_out(Family::V6);
    knock(&world, Family::V6, &["5001"]);
    world.first.expect_let_in(Family::V6);
    let users: Vec<String> = world
        .wait_for_grants(2)
        .into_iter()
        .map(|one| one.user)
        .collect();
    assert_eq!(users, ["legacy", "cd00r"]);
}

/// The client sends every kind of sequence that a profile can have, and prints it for knockd's.
pub(crate) fn client_sends_sequences(backend: &'static str) {
    let key = STANDARD.encode(seed("client"));
    let keyed = format!("sequence = {{ key = \"{key}\", ports = \"udp/20000-60000\", hits = 6 }}");
    let encrypted = "sequence = { passphrase = \"a passphrase\" }";
    let kinds = [
        ("plain", PLAIN),
        ("keyed", &keyed),
        ("encrypted", encrypted),
    ];
    let mut config = GateConfig::empty(backend);
    let mut profiles = String::new();
    for (name, line) in kinds {
        let lines = format!("services = [\"tcp/{SERVICE}\"]\n{line}");
        config = config.user_with(name, &lines);
        let gate = "gate = \"gate.test\"\naddress = [\"10.77.0.1\", \"fd77::1\"]";
        profiles += &format!("[{name}]\n{gate}\n{lines}\n");
    }
    let world = World::start(&config);
    world.write("client.toml", &profiles);
    let client = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let ran = world.first.postern("client", &words);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
        ran.out
    };
    let close = || {
        world.at_gate(&["close", "--all"]);
        world.wait_until_closed();
    };
    // Each family with a step of its own; the third is for the next knock.
    client("knock keyed");
    world.first.expect_both_let_in();
    close();
    for knock in [
        "knock plain -4 --wait",
        "knock plain -6 --sequence --wait",
        "knock keyed -6 --wait=20s",
        "knock encrypted -4 --encrypted-sequence --wait",
        "knock encrypted -6 --wait",
        "knock encrypted -4 --allow 10.77.0.2 --wait",
    ] {
        let said = client(knock);
        assert!(said.contains(":2222 is open after "), "{said}");
        close();
    }
    let printed = client("knock encrypted -4 --print");
    let hits: Vec<&str> = printed
        .lines()
        .map(|line| line.strip_prefix("10.77.0.1 ").unwrap())
        .collect();
    knock(&world, Family::V4, &hits);
    world.first.expect_let_in(Family::V4);
    close();
    let before = world.daemon.status().count("drop replay");
    knock(&world, Family::V4, &hits);
    world.daemon.wait_for_count("drop replay", before + 1);
    world.expect_nothing_open();
    let closed = world.first.postern("client", &["close", "keyed"]);
    assert_eq!(closed.code, Some(2), "{closed:?}");
}

/// `explain --live` says for each hit how far the sequence is.
pub(crate) fn explain_live_names_each_hit(backend: &'static str) {
    let world = World::start(&member(backend, PLAIN));
    let config = world.folder().join("posternd.toml").display().to_string();
    let said = world.folder().join("explained");
    let file = File::create(&said).unwrap();
    let _live = Running(world.gate.run(move || {
        let mut command = Command::new(posternd());
        command.args(["explain", "--live", "--config", &config]);
        let both = (file.try_clone().unwrap(), file);
        let command = command.stdin(Stdio::null()).stdout(both.0).stderr(both.1);
        command.spawn().unwrap()
    }));
    let wait_for_words = |words: &str| {
        wait_for(words, || {
            let said = std::fs::read_to_string(&said).unwrap();
            said.contains(words).then_some(())
        });
    };
    wait_for_words("explaining knocks to UDP port 62201 and hits of sequences");
    knock(&world, Family::V6, &["7000", "9000:udp"]);
    wait_for_words(
        "Z fd77::2: udp/9000: drop wrong-hit: the attempt before is over: it had hit 1 of 3 of legacy",
    );
    knock(&world, Family::V6, &HITS);
    wait_for_words("Z fd77::2: tcp/8000: hit 2 of 3 of legacy; udp/9000 is next");
    wait_for_words("the last hit: admit by the config: legacy may open tcp/2222 for fd77::2/128");
    world.first.expect_let_in(Family::V6);
}

/// Neither "port unreachable" nor a reset says that the gate is there (invariant 9).
pub(crate) fn sequence_ports_answer_nobody(backend: &'static str) {
    let world = World::start(&member(backend, PLAIN));
    for family in FAMILIES {
        let refused = world.first.connect(family, 7001).unwrap_err();
        assert_eq!(refused, ErrorKind::ConnectionRefused);
        let silent = world.first.connect(family, 7000).unwrap_err();
        assert_eq!(silent, ErrorKind::TimedOut);
    }
}
