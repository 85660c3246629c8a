//! Seeds that are made of other things: of the vectors, of packets that etherparse writes, of requests, tokens and recordings.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use etherparse::PacketBuilder;
use postern::client::token::{Request, Token, TokenKey};
use postern_proto::{GateName, PresharedKey, PrivateKey, SharedKey};
use serde_json::Value;

use crate::{folder, read_all, written};

struct Vector(Value);

impl Vector {
    fn text<'a>(&'a self, pointer: &str) -> &'a str {
        self.0
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        let text = self.text(field);
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn admitted(&self) -> bool {
        self.text("/outcome/verdict") == "admit"
    }
}

fn vectors() -> BTreeMap<String, Vector> {
    let files = read_all(&folder("proto/tests/vectors"));
    files
        .into_iter()
        .map(|(name, text)| {
            (
                name.trim_end_matches(".json").to_owned(),
                Vector(serde_json::from_slice(&text).unwrap()),
            )
        })
        .collect()
}

/// The first vector of each reason and rule, and every body that is admitted.
pub(crate) fn vector_seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let mut seeds = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    let mut bodies = BTreeSet::new();
    for (name, vector) in vectors() {
        let first_of_kind = kinds.insert((
            vector.text("/outcome/reason").to_owned(),
            vector.text("/outcome/rule").to_owned(),
        ));
        let (body, nonce) = (vector.bytes("/body"), vector.bytes("/nonce"));
        if first_of_kind {
            seeds.insert(
                ("packet", format!("sent-{name}")),
                [&[0], &vector.bytes("/packet_hex")[..]].concat(),
            );
            seeds.insert(
                ("packet", format!("sealed-{name}")),
                [&[1], &nonce[..], &body].concat(),
            );
        }
        if (first_of_kind || vector.admitted()) && bodies.insert(body.clone()) {
            seeds.insert(("body", name), body);
        }
    }
    seeds
}

/// A knock on its way in both families, and what a capture meets besides.
pub(crate) fn frame_seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let knock = vectors()["open-pair-v4-claimed"].bytes("/packet_hex");
    let v4 = || PacketBuilder::ipv4([192, 0, 2, 7], [198, 51, 100, 1], 64);
    let v6 = || PacketBuilder::ipv6([0x20; 16], [0xfd; 16], 64);
    let written = |builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>,
                   payload: &[u8]| {
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
    let mut signed = [
        &whole[..20],
        &[17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1],
        &whole[20..],
    ]
    .concat();
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
        (
            "v6-fragment-header",
            with_header(44, [17, 0, 0, 0, 0, 0, 0, 1]),
        ),
        ("v6-jumbo", jumbo),
        ("v6-jumbo-udp", jumbo_udp),
        ("v6-knock", six),
        ("v6-extension", extension),
        ("v6-other-port", written(v6().udp(40_000, 123), &knock)),
    ];
    seeds
        .into_iter()
        .map(|(name, packet)| (("frame", name.to_owned()), packet))
        .collect()
}

/// Lines as they are made, by their fields, and what people do to them.
pub(crate) fn enrol_seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let own = PrivateKey::from_bytes([1; 32]);
    let gate = PrivateKey::from_bytes([2; 32]).public();
    let psk = || Some(PresharedKey::from_bytes([3; 32]));
    let token = |key| Token {
        user: "alice".to_owned(),
        gate: GateName::new("gate.example.org").unwrap(),
        addresses: vec![
            "gate.example.org".parse().unwrap(),
            "[2001:db8::1]:5000".parse().unwrap(),
        ],
        services: vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()],
        duration: Some(std::time::Duration::from_secs(600)),
        source_only: true,
        code: true,
        profile: Some("home".to_owned()),
        key,
    };
    let shared = || TokenKey::Shared(SharedKey::from_bytes([4; 32]));
    let least = Token {
        duration: None,
        source_only: false,
        code: false,
        profile: None,
        ..token(shared())
    };
    let enrolled = |psk| TokenKey::Enrolled {
        own: own.public(),
        gate,
        psk,
    };
    let pair = TokenKey::Pair {
        own: PrivateKey::from_bytes([1; 32]),
        gate,
        psk: psk(),
    };
    let request = |profile: Option<&str>| {
        Request {
            public_key: own.public(),
            profile: profile.map(str::to_owned),
        }
        .to_line()
        .unwrap()
    };
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
        let kind = 1 + ["postern-request-1", "postern-token-1", "postern-secret-1"]
            .iter()
            .position(|known| known == &prefix)
            .unwrap();
        let fields = &bytes[..bytes.len() - 4];
        seeds.insert(
            (*name).to_owned(),
            [&[u8::try_from(kind).unwrap()], fields].concat(),
        );
        seeds.insert(
            format!("{name}-cut"),
            [&[u8::try_from(kind).unwrap()], &fields[..fields.len() - 1]].concat(),
        );
    }
    let line = lines[4].1.as_str();
    for (name, text) in [
        ("text", line.to_owned()),
        (
            "text-wrapped",
            format!(" {}\r\n {}\n", &line[..50], &line[50..]),
        ),
        ("text-cut", line[..line.len() - 1].to_owned()),
        ("text-other-kind", line.replace("token", "secret")),
        ("text-other-version", line.replace("-1.", "-2.")),
        (
            "text-key",
            SharedKey::from_bytes([4; 32]).to_base64().to_string(),
        ),
    ] {
        seeds.insert(name.to_owned(), [&[0], text.as_bytes()].concat());
    }
    seeds
        .into_iter()
        .map(|(name, data)| (("enrol", name), data))
        .collect()
}

/// The frames in recordings of every style: what tcpdump and Wireshark write, and a few of what they would not.
pub(crate) fn recording_seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let ethernet = written::Style::ETHERNET;
    let raw = written::Style {
        link_type: 101,
        ..ethernet
    };
    let frames: BTreeMap<String, Vec<u8>> = frame_seeds()
        .into_iter()
        .map(|((_, name), packet)| (name, packet))
        .collect();
    let of = |name: &str| &frames[name][..];
    let in_ethernet = written::ethernet(&[0x0800], of("v4-padded"));
    let tagged = written::ethernet(&[0x88a8, 9, 0x8100, 7, 0x86dd], of("v6-knock"));
    let cooked = [&[0; 14][..], &[8, 0], of("v4-knock")].concat();
    let all: Vec<written::Frame<'_>> = frames
        .values()
        .filter(|packet| packet.len() < 200)
        .map(|packet| (1_760_000_000_000, &packet[..]))
        .collect();
    let nanos = written::Style {
        a_second: 1_000_000_000,
        big_endian: true,
        ..ethernet
    };
    let style = |link_type| written::Style {
        link_type,
        ..ethernet
    };
    let mut two_sections = written::pcapng(raw, &all);
    two_sections.extend(written::pcapng(nanos, &[(1_760_000_000_000, &tagged)]));
    two_sections.extend(written::simple(nanos, &in_ethernet));
    let mut hostile_engine = written::pcap(raw, &[(0, of("v4-empty"))]);
    hostile_engine.extend([0xff; 20]);
    let seeds = [
        (
            "pcap-ethernet",
            written::pcap(ethernet, &[(1_760_000_000_000, &in_ethernet)]),
        ),
        (
            "pcap-vlan-nanoseconds-big-endian",
            written::pcap(nanos, &[(1_760_000_000_000, &tagged)]),
        ),
        (
            "pcap-cooked",
            written::pcap(style(113), &[(1_760_000_000_000, &cooked)]),
        ),
        ("pcap-radio", written::pcap(style(105), &[(0, &[0; 40])])),
        ("pcap-raw-all", written::pcap(raw, &all)),
        ("pcap-cut", written::pcap(raw, &all)[..300].to_vec()),
        ("pcap-lie", hostile_engine),
        ("pcapng-two-sections", two_sections),
        (
            "pcapng-odd-blocks",
            [
                written::section(raw),
                written::interface(nanos),
                written::block(raw, 4, &[0; 16]),
            ]
            .concat(),
        ),
    ];
    seeds
        .into_iter()
        .map(|(name, file)| (("recording", name.to_owned()), file))
        .collect()
}
