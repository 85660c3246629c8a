//! What the fuzzers look for, under plain `cargo test`: every seed in `fuzz/seeds/` goes through its target's entry.
//!
//! Seeds of `packet` and `body` come from the vectors, those of `frame` and `recording` from etherparse; `POSTERN_WRITE_SEEDS=1 cargo test --test corpus` writes them.
//! An input that a fuzzer failed on is added beside them under a name that says what was wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use etherparse::PacketBuilder;
use postern::capture::recording::{Found, Recorded};
use postern::control::{Answer, Question};
use postern::enrol::{Request, Token, TokenKey};
use postern::order::{Order, Report, Start};
use postern_proto::{GateName, PresharedKey, PrivateKey, SharedKey};
use serde_json::Value;

#[path = "../fuzz/entries/body.rs"]
mod body;
#[path = "../fuzz/entries/config.rs"]
mod config;
#[path = "../fuzz/entries/control.rs"]
mod control;
#[path = "../fuzz/entries/enrol.rs"]
mod enrol;
#[path = "../fuzz/entries/frame.rs"]
mod frame;
#[path = "../fuzz/entries/gate.rs"]
mod gate;
#[allow(dead_code, reason = "tests/model/ looks at more of it")]
#[path = "../fuzz/entries/house.rs"]
mod house;
#[path = "../fuzz/entries/knock.rs"]
mod knock;
#[path = "../fuzz/entries/liar.rs"]
mod liar;
#[path = "../fuzz/entries/order.rs"]
mod order;
#[path = "../fuzz/entries/packet.rs"]
mod packet;
#[path = "../fuzz/entries/recording.rs"]
mod recording;
#[path = "../fuzz/entries/stun.rs"]
mod stun;
#[path = "recording/written.rs"]
mod written;

const NAMES: [&str; 13] =
    ["body", "config", "control", "enrol", "frame", "gate", "house", "knock", "liar", "order", "packet", "recording", "stun"];

fn folder(under: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(under)
}

#[expect(clippy::disallowed_methods, reason = "seeds and vectors are files")]
fn read_all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).map(|file| file.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

/// With `POSTERN_CORPUS` set also what the fuzzers have gathered on this machine.
fn replay(target: &str, run: fn(&[u8])) {
    let seeds = read_all(&folder("fuzz/seeds").join(target));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let corpus = folder("fuzz/corpus").join(target);
    let gathered = if std::env::var_os("POSTERN_CORPUS").is_some() && corpus.exists() { read_all(&corpus) } else { BTreeMap::new() };
    for (name, data) in seeds.into_iter().chain(gathered) {
        assert!(std::panic::catch_unwind(|| run(&data)).is_ok(), "{target}/{name}");
    }
}

#[test]
fn every_seed_of_body_passes() {
    replay("body", body::run);
}

#[test]
fn every_seed_of_config_passes() {
    replay("config", config::run);
}

#[test]
fn every_seed_of_control_passes() {
    replay("control", control::run);
}

#[test]
fn every_seed_of_enrol_passes() {
    replay("enrol", enrol::run);
}

#[test]
fn every_seed_of_frame_passes() {
    replay("frame", frame::run);
}

#[test]
fn every_seed_of_gate_passes() {
    replay("gate", gate::run);
}

#[test]
fn every_seed_of_house_passes() {
    replay("house", house::run);
}

#[test]
fn every_seed_of_knock_passes() {
    replay("knock", knock::run);
}

#[test]
fn every_seed_of_liar_passes() {
    replay("liar", liar::run);
}

#[test]
fn every_seed_of_order_passes() {
    replay("order", order::run);
}

#[test]
fn every_seed_of_packet_passes() {
    replay("packet", packet::run);
}

#[test]
fn every_seed_of_recording_passes() {
    replay("recording", recording::run);
}

#[test]
fn every_seed_of_stun_passes() {
    replay("stun", stun::run);
}

#[test]
fn every_target_has_an_entry_and_seeds_and_is_replayed_here() {
    let names: BTreeSet<_> = NAMES.iter().map(|name| format!("{name}.rs")).collect();
    let file_names = |under: &str| -> BTreeSet<_> { read_all(&folder(under)).into_keys().collect() };
    assert_eq!(file_names("fuzz/fuzz_targets"), names);
    assert_eq!(file_names("fuzz/entries"), names);
}

#[test]
fn the_seeds_stay_small() {
    let all: Vec<_> = NAMES.iter().flat_map(|name| read_all(&folder("fuzz/seeds").join(name)).into_values()).collect();
    let bytes: usize = all.iter().map(Vec::len).sum();
    assert!(all.len() < 400 && bytes < 300_000, "{} files, {bytes} bytes", all.len());
}

/// Targets that fail on nothing would find nothing: the entries do get to what they are there for.
#[test]
fn the_seeds_reach_accepted_requests_and_every_rule() {
    let mut accepted = 0;
    let mut rules = BTreeSet::new();
    for data in read_all(&folder("fuzz/seeds/packet")).into_values() {
        if let Some((1, rest)) = data.split_first() {
            match postern_proto::Request::decode(&rest[12..]) {
                Ok(_) => accepted += 1,
                Err(rule) => _ = rules.insert(rule),
            }
        }
    }
    assert!(accepted > 5, "{accepted}");
    assert_eq!(rules, postern_proto::Malformed::ALL.into());
    let frames = read_all(&folder("fuzz/seeds/frame"));
    let caught = frames.values().filter(|packet| postern::capture::frame::parse(packet, &frame::PORTS).is_some()).count();
    assert!(caught > 3 && caught < frames.len(), "{caught}");
    let recordings = read_all(&folder("fuzz/seeds/recording"));
    let is_datagram = |packet: &Recorded| matches!(packet.found, Found::Datagram(_));
    let packets: Vec<_> = recordings.into_values().flat_map(|file| recording::read(Cursor::new(file))).collect();
    let datagrams = packets.iter().filter(|packet| is_datagram(packet)).count();
    assert!(datagrams > 6 && packets.len() > datagrams + 4, "{datagrams} of {}", packets.len());
    let configs = read_all(&folder("fuzz/seeds/config"));
    let loads = |text: &Vec<u8>| postern::config::load(&config::bundle(str::from_utf8(text).unwrap())).is_ok();
    let loaded = configs.values().filter(|text| loads(text)).count();
    assert!(loaded > 4 && loaded < configs.len() / 2, "{loaded}");
}

#[test]
fn the_seeds_reach_admissions_and_every_kind_of_message() {
    let moves = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|bytes| gate::read(*bytes)).collect::<Vec<_>>();
    let admitted: usize = read_all(&folder("fuzz/seeds/gate")).values().map(|data| gate::play(moves(data))).sum();
    assert!(admitted > 10, "{admitted}");
    let messages = read_all(&folder("fuzz/seeds/order"));
    let count = |read: fn(&[u8]) -> bool| messages.values().filter(|data| read(data)).count();
    let kinds = [count(order::read::<Order>), count(order::read::<Report>), count(order::read::<Start>)];
    assert!(kinds.iter().zip([5, 4, 1]).all(|(have, want)| *have >= want) && kinds.iter().sum::<usize>() < messages.len(), "{kinds:?}");
    let answers = read_all(&folder("fuzz/seeds/stun"));
    let read = |data: &&Vec<u8>| postern::stun::seen_address(&data[12..], data.first_chunk().unwrap()).is_ok();
    let addresses = answers.values().filter(read).count();
    assert!(addresses > 2 && addresses < answers.len(), "{addresses}");
    let lines = read_all(&folder("fuzz/seeds/control"));
    let count = |read: fn(&[u8]) -> bool| lines.values().filter(|data| read(data)).count();
    let kinds = [count(control::read::<Question>), count(control::read::<Answer>)];
    assert!(kinds[0] >= 4 && kinds[1] >= 4 && kinds[0] + kinds[1] < lines.len(), "{kinds:?}");
}

#[test]
fn the_seeds_reach_every_kind_of_verdict_and_open_doors() {
    let mut kinds = BTreeSet::new();
    let mut names = BTreeSet::new();
    for data in read_all(&folder("fuzz/seeds/knock")).into_values() {
        kinds.extend(knock::read(&data).map(|verdict| match verdict {
            knock::Verdict::Drop(name) => {
                names.insert(name);
                "drop"
            }
            knock::Verdict::Refuse(rules) => {
                names.extend(rules);
                "refuse"
            }
            knock::Verdict::Open { .. } => "open",
            knock::Verdict::Close { .. } => "close",
        }));
    }
    assert!(kinds.len() == 4 && names.len() > 8, "{kinds:?} {names:?}");
    let liars = read_all(&folder("fuzz/seeds/liar"));
    let opened: usize = liars.values().map(|data| liar::read(data)).sum();
    assert!(opened > 3, "{opened}");
    let houses = read_all(&folder("fuzz/seeds/house"));
    let (ordered, open) = houses.values().map(|data| house::read(data)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(ordered > 3 && open > 1, "{ordered}, {open}");
}

#[test]
fn the_seeds_reach_requests_tokens_and_lines_that_are_neither() {
    let (mut requests, mut tokens, mut neither) = (0, 0, 0);
    for data in read_all(&folder("fuzz/seeds/enrol")).into_values() {
        let line = match data[0] {
            0 => String::from_utf8_lossy(&data[1..]).into_owned(),
            kind => enrol::line(["postern-request-1.", "postern-token-1.", "postern-secret-1."][usize::from(kind) - 1], &data[1..]),
        };
        match enrol::read(&line) {
            (true, _) => requests += 1,
            (_, true) => tokens += 1,
            _ => neither += 1,
        }
    }
    assert!(requests >= 2 && tokens >= 5 && neither >= 5, "{requests} {tokens} {neither}");
}

// --- seeds, made anew -----------------------------------------------------------------------------------------

struct Vector(Value);

impl Vector {
    fn text<'a>(&'a self, pointer: &str) -> &'a str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        let text = self.text(field);
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn admitted(&self) -> bool {
        self.text("/outcome/verdict") == "admit"
    }
}

fn vectors() -> BTreeMap<String, Vector> {
    let files = read_all(&folder("proto/tests/vectors"));
    files
        .into_iter()
        .map(|(name, text)| (name.trim_end_matches(".json").to_owned(), Vector(serde_json::from_slice(&text).unwrap())))
        .collect()
}

/// The first vector of each reason and rule, and every body that is admitted.
fn vector_seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let mut seeds = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    let mut bodies = BTreeSet::new();
    for (name, vector) in vectors() {
        let first_of_kind = kinds.insert((vector.text("/outcome/reason").to_owned(), vector.text("/outcome/rule").to_owned()));
        let (body, nonce) = (vector.bytes("/body"), vector.bytes("/nonce"));
        if first_of_kind {
            seeds.insert(("packet", format!("sent-{name}")), [&[0], &vector.bytes("/packet_hex")[..]].concat());
            seeds.insert(("packet", format!("sealed-{name}")), [&[1], &nonce[..], &body].concat());
        }
        if (first_of_kind || vector.admitted()) && bodies.insert(body.clone()) {
            seeds.insert(("body", name), body);
        }
    }
    seeds
}

/// A knock on its way in both families, and what a capture meets besides.
fn frame_seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let knock = vectors()["open-pair-v4-claimed"].bytes("/packet_hex");
    let v4 = || PacketBuilder::ipv4([192, 0, 2, 7], [198, 51, 100, 1], 64);
    let v6 = || PacketBuilder::ipv6([0x20; 16], [0xfd; 16], 64);
    let written = |builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>, payload: &[u8]| {
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        packet
    };
    let mut tcp = Vec::new();
    v4().tcp(40_000, 22, 1, 1_024).write(&mut tcp, b"").unwrap();
    let whole = written(v4().udp(40_000, 62_201), &knock);
    let mut fragment = whole.clone();
    fragment[6] |= 0x20;
    // The header grows by four no-operations.
    let mut options = [&whole[..20], &[1; 4], &whole[20..]].concat();
    options[0] = 0x46;
    let total = u16::try_from(options.len()).unwrap().to_be_bytes();
    options[2..4].copy_from_slice(&total);
    let six = written(v6().udp(40_000, 62_201), &knock);
    let mut extension = six.clone();
    extension[6] = 0;
    // An extension header of eight bytes before UDP: hop-by-hop options that are padding, or a fragment that is the whole.
    let with_header = |next: u8, header: [u8; 8]| {
        let mut packet = [&six[..40], &header, &six[40..]].concat();
        packet[6] = next;
        let length = u16::try_from(packet.len() - 40).unwrap().to_be_bytes();
        packet[4..6].copy_from_slice(&length);
        packet
    };
    let mut jumbo = six.clone();
    jumbo[4..6].fill(0);
    let mut jumbo_udp = six.clone();
    jumbo_udp[44..46].fill(0);
    // An authentication header of 12 bytes.
    let mut signed = [&whole[..20], &[17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1], &whole[20..]].concat();
    signed[9] = 51;
    let total = u16::try_from(signed.len()).unwrap().to_be_bytes();
    signed[2..4].copy_from_slice(&total);
    let seeds = [
        ("v4-knock", whole.clone()),
        ("v4-padded", [&whole[..], &[0; 18]].concat()),
        ("v4-cut", whole[..100].to_vec()),
        ("v4-options", options),
        ("v4-fragment", fragment),
        ("v4-empty", written(v4().udp(40_000, 53), b"")),
        ("v4-long", written(v4().udp(40_000, 53), &[0x11; 600])),
        ("v4-other-port", written(v4().udp(40_000, 123), &knock)),
        ("v4-tcp", tcp),
        ("v4-authentication", signed),
        ("v6-hop-by-hop", with_header(0, [17, 0, 1, 4, 0, 0, 0, 0])),
        ("v6-fragment-header", with_header(44, [17, 0, 0, 0, 0, 0, 0, 1])),
        ("v6-jumbo", jumbo),
        ("v6-jumbo-udp", jumbo_udp),
        ("v6-knock", six),
        ("v6-extension", extension),
        ("v6-other-port", written(v6().udp(40_000, 123), &knock)),
    ];
    seeds.into_iter().map(|(name, packet)| (("frame", name.to_owned()), packet)).collect()
}

/// Lines as they are made, by their fields, and what people do to them.
fn enrol_seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let own = PrivateKey::from_bytes([1; 32]);
    let gate = PrivateKey::from_bytes([2; 32]).public();
    let psk = || Some(PresharedKey::from_bytes([3; 32]));
    let token = |key| Token {
        user: "alice".to_owned(),
        gate: GateName::new("gate.example.org").unwrap(),
        addresses: vec!["gate.example.org".parse().unwrap(), "[2001:db8::1]:5000".parse().unwrap()],
        services: vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()],
        duration: Some(std::time::Duration::from_secs(600)),
        source_only: true,
        code: true,
        profile: Some("home".to_owned()),
        key,
    };
    let shared = || TokenKey::Shared(SharedKey::from_bytes([4; 32]));
    let least = Token { duration: None, source_only: false, code: false, profile: None, ..token(shared()) };
    let enrolled = |psk| TokenKey::Enrolled { own: own.public(), gate, psk };
    let pair = TokenKey::Pair { own: PrivateKey::from_bytes([1; 32]), gate, psk: psk() };
    let request = |profile: Option<&str>| Request { public_key: own.public(), profile: profile.map(str::to_owned) }.to_line().unwrap();
    let lines = [
        ("request", request(Some("home"))),
        ("request-least", request(None)),
        ("shared", token(shared()).to_line().unwrap()),
        ("shared-least", least.to_line().unwrap()),
        ("enrolled", token(enrolled(None)).to_line().unwrap()),
        ("enrolled-psk", token(enrolled(psk())).to_line().unwrap()),
        ("pair", token(pair).to_line().unwrap()),
    ];
    let mut seeds = BTreeMap::new();
    for (name, line) in &lines {
        let (prefix, base64) = line.split_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(base64).unwrap();
        let kind = 1 + ["postern-request-1", "postern-token-1", "postern-secret-1"].iter().position(|known| known == &prefix).unwrap();
        let fields = &bytes[..bytes.len() - 4];
        seeds.insert((*name).to_owned(), [&[u8::try_from(kind).unwrap()], fields].concat());
        seeds.insert(format!("{name}-cut"), [&[u8::try_from(kind).unwrap()], &fields[..fields.len() - 1]].concat());
    }
    let line = lines[4].1.as_str();
    for (name, text) in [
        ("text", line.to_owned()),
        ("text-wrapped", format!(" {}\r\n {}\n", &line[..50], &line[50..])),
        ("text-cut", line[..line.len() - 1].to_owned()),
        ("text-other-kind", line.replace("token", "secret")),
        ("text-other-version", line.replace("-1.", "-2.")),
        ("text-key", SharedKey::from_bytes([4; 32]).to_base64().to_string()),
    ] {
        seeds.insert(name.to_owned(), [&[0], text.as_bytes()].concat());
    }
    seeds.into_iter().map(|(name, data)| (("enrol", name), data)).collect()
}

/// The frames in recordings of every style: what tcpdump and Wireshark write, and a few of what they would not.
fn recording_seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let ethernet = written::Style::ETHERNET;
    let raw = written::Style { link_type: 101, ..ethernet };
    let frames: BTreeMap<String, Vec<u8>> = frame_seeds().into_iter().map(|((_, name), packet)| (name, packet)).collect();
    let of = |name: &str| &frames[name][..];
    let in_ethernet = written::ethernet(&[0x0800], of("v4-padded"));
    let tagged = written::ethernet(&[0x88a8, 9, 0x8100, 7, 0x86dd], of("v6-knock"));
    let cooked = [&[0; 14][..], &[8, 0], of("v4-knock")].concat();
    let all: Vec<written::Frame<'_>> =
        frames.values().filter(|packet| packet.len() < 200).map(|packet| (1_760_000_000_000, &packet[..])).collect();
    let nanos = written::Style { a_second: 1_000_000_000, big_endian: true, ..ethernet };
    let style = |link_type| written::Style { link_type, ..ethernet };
    let mut two_sections = written::pcapng(raw, &all);
    two_sections.extend(written::pcapng(nanos, &[(1_760_000_000_000, &tagged)]));
    two_sections.extend(written::simple(nanos, &in_ethernet));
    let mut liar = written::pcap(raw, &[(0, of("v4-empty"))]);
    liar.extend([0xff; 20]);
    let seeds = [
        ("pcap-ethernet", written::pcap(ethernet, &[(1_760_000_000_000, &in_ethernet)])),
        ("pcap-vlan-nanoseconds-big-endian", written::pcap(nanos, &[(1_760_000_000_000, &tagged)])),
        ("pcap-cooked", written::pcap(style(113), &[(1_760_000_000_000, &cooked)])),
        ("pcap-radio", written::pcap(style(105), &[(0, &[0; 40])])),
        ("pcap-raw-all", written::pcap(raw, &all)),
        ("pcap-cut", written::pcap(raw, &all)[..300].to_vec()),
        ("pcap-lie", liar),
        ("pcapng-two-sections", two_sections),
        ("pcapng-odd-blocks", [written::section(raw), written::interface(nanos), written::block(raw, 4, &[0; 16])].concat()),
    ];
    seeds.into_iter().map(|(name, file)| (("recording", name.to_owned()), file)).collect()
}

#[test]
fn the_seeds_that_are_made_are_there_as_made() {
    let write = std::env::var_os("POSTERN_WRITE_SEEDS").is_some();
    let made = vector_seeds().into_iter().chain(frame_seeds()).chain(enrol_seeds()).chain(recording_seeds());
    for ((target, name), data) in made {
        let path = folder("fuzz/seeds").join(target).join(name);
        if write {
            put(&path, &data);
        }
        assert_eq!(get(&path).as_ref(), Some(&data), "{}: write it with POSTERN_WRITE_SEEDS=1", path.display());
    }
}

#[expect(clippy::disallowed_methods, reason = "seeds are files")]
fn put(path: &Path, data: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "seeds are files")]
fn get(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}
