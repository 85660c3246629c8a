//! Nothing is ever sent in answer to a packet (invariant 9): every frame that the gate puts on the link is seen while it is
//! sent thousands of packets of all kinds.

use std::net::IpAddr;

use etherparse::PacketBuilder;

use super::observer::Observer;
use postern_harness::packets::RawLink;
use postern_harness::{
    FAMILIES, Family, GateConfig, KnockMaker, SERVICE, Status, World, seed, wait_for, wait_until,
    world::CLIENT_INTERFACE,
};

/// Gets a knock's datagrams by the kernel filter, which keeps empty ones to itself.
pub(crate) fn gate_sends_no_frame(backend: &'static str) {
    emits_nothing(plan(backend), 5_000, 250, |length| length > 0);
}

pub(crate) fn gate_with_udp_socket_sends_no_frame(backend: &'static str) {
    emits_nothing(plan(backend).gate("capture = \"udp\""), 500, 20, |_| true);
}

fn plan(backend: &str) -> GateConfig {
    GateConfig::empty(backend).member("alice", "quota = \"1000000/s\"\nmax_grants = 32768")
}

/// Sends so many packets over each family. After each batch the gate is waited for, so that none is lost on the way.
fn emits_nothing(plan: GateConfig, packets: usize, batch: usize, is_judged: fn(usize) -> bool) {
    let mut world = World::prepare(&plan);
    let observer = Observer::start(&world.first);
    // The observer works: without posternd, the kernel answers a packet to a closed port with an ICMP message.
    world.first.send(Family::V4, b"is anyone there?");
    wait_for("an answer of the kernel", || observer.seen().pop());
    world.start_again();
    let before = observer.seen().len();

    let mut mix = Mix::new(&world);
    let mut expected = 0;
    for number in 0..packets {
        for family in FAMILIES {
            match mix.packet(family, number) {
                Packet::Knock(payload) => {
                    world.first.send(family, &payload);
                    expected += u64::from(is_judged(payload.len()));
                }
                Packet::Frame(frame) => mix.wire.send(&frame),
            }
        }
        if number % batch == batch - 1 {
            wait_until("every packet to be judged", || {
                world.daemon.status().judged() >= expected
            });
        }
    }
    let status = world.daemon.status();
    expect_all_kinds(&status, expected);
    // What is on its way to the firewall would be opened after a close.
    world
        .daemon
        .wait_for_lines(usize::try_from(status.admitted).unwrap(), &["DEBUG done "]);
    // The test includes the end of grants, which also gives time for a late answer.
    world.daemon.asked(&["close", "--all"]);
    world.wait_until_closed();
    world.first.expect_both_shut_out();
    let told: Vec<_> = observer.seen().into_iter().skip(before).collect();
    assert_eq!(
        told,
        Vec::<Vec<u8>>::new(),
        "frames from a gate that never answers"
    );
}

fn expect_all_kinds(status: &Status, packets: u64) {
    assert_eq!(status.judged(), packets, "{status:?}");
    assert!(status.admitted >= packets / 10, "{status:?}");
    for reason in [
        "drop length",
        "drop unknown-hint",
        "drop bad-mac",
        "refuse services",
    ] {
        assert!(
            status.count(reason) >= packets / 20,
            "too few {reason}: {status:?}"
        );
    }
    assert!(
        status.count("drop replay") + status.count("drop duplicate") >= packets / 20,
        "{status:?}"
    );
}

enum Packet {
    /// For the knock port.
    Knock(Vec<u8>),
    /// To be sent as it is.
    Frame(Vec<u8>),
}

/// Makes packets of all kinds.
struct Mix {
    maker: KnockMaker,
    wire: RawLink,
    /// Links and addresses of a frame.
    macs: [[u8; 6]; 2],
    from: [IpAddr; 2],
    /// Knocks that were sent.
    known: Vec<Vec<u8>>,
}

impl Mix {
    fn new(world: &World) -> Self {
        Self {
            maker: KnockMaker::new("alice"),
            wire: RawLink::open(&world.first.space, CLIENT_INTERFACE),
            macs: [2, 1].map(|end| world.first.mac(end)),
            from: FAMILIES.map(|family| world.first.address(family)),
            known: Vec::new(),
        }
    }

    fn packet(&mut self, family: Family, number: usize) -> Packet {
        let junk = |length: usize| {
            let parts =
                (0..length.div_ceil(32)).flat_map(|part| seed(&format!("junk {number} {part}")));
            parts.take(length).collect()
        };
        Packet::Knock(match number % 8 {
            0 => junk(number % 1400),
            1 => junk(number % 131),
            2 => junk(132 + number % 385),
            3 => {
                let knock = self.knock(family, SERVICE);
                self.known.push(knock.clone());
                knock
            }
            4 => self.knock(family, 23),
            5 => {
                let mut wrong = self.knock(family, SERVICE);
                wrong[20 + number % 32] ^= 1;
                wrong
            }
            6 => self.known[number % self.known.len()].clone(),
            _ => return Packet::Frame(self.syn(family)),
        })
    }

    /// Sealed now, for an address that sends nothing: the sender of the SYNs must stay shut out.
    fn knock(&self, family: Family, port: u16) -> Vec<u8> {
        self.maker.open(family.address(200), port, 60)
    }

    /// Asks for a connection to the hidden service.
    fn syn(&self, family: Family) -> Vec<u8> {
        let frame = PacketBuilder::ethernet2(self.macs[0], self.macs[1]);
        let packet = match (family.address(1), self.from) {
            (IpAddr::V4(to), [IpAddr::V4(from), _]) => frame.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(to), [_, IpAddr::V6(from)]) => frame.ipv6(from.octets(), to.octets(), 64),
            _ => unreachable!(),
        };
        let mut bytes = Vec::new();
        packet
            .tcp(40000, SERVICE, 1, 1024)
            .syn()
            .write(&mut bytes, &[])
            .unwrap();
        bytes
    }
}
