//! The memory of monitor and engine once the gate serves: it holds the keys that open knocks, and no longer the text of the
//! config.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::adapters::files::write_private;
use postern_proto::PrivateKey;

use postern_harness::{Family, GATE_NAME, GateConfig, World, seed, wait_until};

/// Where each of these lies in the memory of this process, by its number.
fn places(pid: u32, wanted: &[Vec<u8>]) -> Vec<(usize, String)> {
    let mut begin_so = vec![Vec::new(); 256];
    for (number, bytes) in wanted.iter().enumerate() {
        begin_so[usize::from(bytes[0])].push(number);
    }
    let file = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines() {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|place| u64::from_str_radix(place, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // The kernel's own pages cannot be read this way.
        if file.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        // Most pages were never written to.
        let written = |start: &usize| bytes[*start..].iter().take(PAGE).any(|byte| *byte != 0);
        for start in (0..bytes.len()).step_by(PAGE).filter(written) {
            for at in start..(start + PAGE).min(bytes.len()) {
                let candidates = begin_so[usize::from(bytes[at])].iter();
                let hits = candidates.filter(|number| bytes[at..].starts_with(&wanted[**number]));
                found.extend(hits.map(|number| (*number, format!("{at:#x} in {line}"))));
            }
        }
    }
    found
}

const PAGE: usize = 4096;

/// The keys of these words, as they are written and as they are, where either lies in this process. Half of one is enough to call
/// it found.
pub(super) fn traces(pid: u32, all: &[&str]) -> Vec<String> {
    let halves = all.iter().flat_map(|words| {
        let bytes = seed(words);
        let text = STANDARD.encode(bytes).into_bytes();
        [&text[..22], &text[22..43], &bytes[..16], &bytes[16..]].map(<[u8]>::to_vec)
    });
    let wanted: Vec<Vec<u8>> = halves.chain([GATE_NAME.as_bytes().to_vec()]).collect();
    let found = places(pid, &wanted);
    let of_key =
        |(number, place): &(usize, String)| Some(format!("{}: {place}", all.get(number / 4)?));
    let traces: Vec<String> = found.iter().filter_map(of_key).collect();
    assert!(
        traces.len() < found.len(),
        "the test no longer reads the memory of {pid}"
    );
    traces
}

pub(crate) fn config_keys_are_wiped_from_memory(backend: &'static str) {
    // Each way to write a key into a config.
    let gate_key = "the private key of the gate";
    let others = [
        "the key of alice",
        "the key of bob",
        "the key that bob had",
        "the key in a file",
        "the key that is mixed in",
        "the hmac key of erin",
        gate_key,
    ];
    let cipher_key = "the cipher key of erin";
    let text = |words: &str| STANDARD.encode(seed(words));
    let dave = PrivateKey::from_bytes(seed("the private key of dave"));
    let pair = STANDARD.encode(dave.public().as_bytes());
    let services = "services = [\"tcp/22\"]";
    let folder = tempfile::tempdir().unwrap();
    let in_file = |name: &str, words: &str| {
        let path = folder.path().join(name);
        write_private(&path, format!("{}\n", text(words)).as_bytes(), true).unwrap();
        path.display().to_string()
    };
    let gate_file = in_file("gate.key", gate_key);
    let carol_file = in_file("carol.key", "the key in a file");
    let bob = format!(
        "old_key = \"{}\"\nold_until = \"2099-01-01T00:00:00Z\"\n{services}",
        text("the key that bob had")
    );
    let psk = text("the key that is mixed in");
    let mut plan = GateConfig::new(backend)
        .gate(&format!("private_key = \"{gate_file}\""))
        .user("bob", &bob)
        .user_with("carol", &format!("key_file = \"{carol_file}\"\n{services}"))
        .user_with(
            "dave",
            &format!("public_key = \"{pair}\"\npsk = \"{psk}\"\n{services}"),
        );
    let fwknop = format!(
        "fwknop = {{ key = \"{}\", hmac_key = \"{}\" }}\n{services}",
        text(cipher_key),
        text("the hmac key of erin")
    );
    plan = plan.user_with("erin", &fwknop);
    // More than the first allocation of a list holds, so that it moves.
    let many = (0..20).map(|number| format!("user{number}"));
    for user in many.clone() {
        plan = plan.user(&user, services);
    }
    let numbered: Vec<String> = many.map(|user| format!("the key of {user}")).collect();
    let others = [
        &others[..],
        &numbered.iter().map(String::as_str).collect::<Vec<_>>(),
    ]
    .concat();
    let world = World::start(&plan);
    let served = |world: &World, grants: usize| {
        let (monitor, engine) = (world.daemon.pid(), world.daemon.engine());
        for (who, pid) in [("monitor", monitor), ("engine", engine)] {
            let found = traces(pid, &others);
            assert_eq!(found, [""; 0], "in the {who}, with {grants} grants");
        }
        // A packet's own key is derived from this one, so the engine keeps it: in one place, two halves.
        assert_eq!(traces(monitor, &[cipher_key]), [""; 0], "in the monitor");
        let found = traces(engine, &[cipher_key]);
        assert_eq!(found.len(), 2, "{found:?}");
    };
    served(&world, 0);
    world.first.knock("alice", Family::V4, &[]);
    world.wait_for_grants(1);
    served(&world, 1);
    let before = world.daemon.engine();
    world.daemon.asked(&["reload"]);
    let is_gone = || !fs::exists(format!("/proc/{before}")).unwrap();
    wait_until("the old engine to end", is_gone);
    served(&world, 1);
    // This process has them, which shows that they would be found.
    assert!(!traces(std::process::id(), &others).is_empty());
}
