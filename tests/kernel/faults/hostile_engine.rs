//! A monitor with a hostile engine. The test stops the engine and uses a copy of its socket (pidfd_getfd), which is all that a hostile
//! engine has. Its orders open nothing that the policy does not allow, and stop nothing.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use postern::core::order::{MESSAGE_MAX, Order, Report, decode, encode};
use postern::model::reason::Rule;
use postern::model::request::{AddressFrom, CloseRequest, OpenRequest};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
    recvmsg, sendmsg, shutdown,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};
use socket2::Socket;

use crate::inputs;
use postern_harness::process::{memory, signal};
use postern_harness::world::checks::{expect_ledger_and_kernel_agree, in_kernel, kill};
use postern_harness::{FAMILIES, Family, GateConfig, World, wait_for, wait_until};

struct HostileEngine {
    link: OwnedFd,
    engine: u32,
}

impl HostileEngine {
    fn replace(world: &World) -> Self {
        let engine = world.daemon.engine();
        let pid = Pid::from_raw(i32::try_from(engine).unwrap()).unwrap();
        signal(engine, Signal::STOP);
        // A thread that still runs could read a report.
        wait_until("the engine to stop", || is_stopped(engine));
        let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        // Its standard input.
        let link = pidfd_getfd(&handle, 0, PidfdGetfdFlags::empty()).unwrap();
        Self { link, engine }
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(
            descriptors.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
        );
        sendmsg(
            &self.link,
            &[IoSlice::new(bytes)],
            &mut ancillary,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        )
        .is_ok()
    }

    fn order(&self, order: &Order) -> bool {
        self.send(&encode(order).unwrap(), &[])
    }

    fn receive(&self) -> Vec<Report> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut reports = Vec::new();
        let mut none = RecvAncillaryBuffer::default();
        while let Ok(message) = recvmsg(
            &self.link,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut none,
            RecvFlags::DONTWAIT,
        ) {
            if message.bytes == 0 {
                break;
            }
            reports.push(decode(&buffer[..message.bytes]).unwrap());
        }
        reports
    }

    fn wait_for(&self, what: &str, is_wanted: impl Fn(&Report) -> bool) {
        wait_until(what, || self.receive().iter().any(&is_wanted));
    }
}

fn is_stopped(pid: u32) -> bool {
    let mut threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.all(|thread| {
        fs::read_to_string(thread.unwrap().path().join("stat"))
            .is_ok_and(|stat| stat.contains(") T "))
    })
}

fn world(backend: &str) -> World {
    let bob = "networks = [\"10.77.0.3/32\"]\nmax_duration = \"1m\"\ngrant_to = \"claimed\"";
    World::start(&GateConfig::new(backend).member("bob", bob))
}

fn request(user: &str, allow: &str, services: &[&str], seconds: u64) -> OpenRequest {
    OpenRequest {
        duration: Duration::from_secs(seconds),
        ..inputs::request(user, allow, services)
    }
}

fn forbidden() -> Vec<(OpenRequest, Rule)> {
    let ssh = &["tcp/2222"][..];
    let (alice, bob, wide) = ("10.77.0.2/32", "10.77.0.3/32", "0.0.0.0/0");
    let cases = [
        ("eve", alice, ssh, 60, Rule::User),
        ("", alice, ssh, 60, Rule::User),
        ("alice", alice, &["tcp/22"], 60, Rule::Service),
        ("alice", alice, &["tcp/1-65535"], 60, Rule::Service),
        ("alice", alice, &[], 60, Rule::Service),
        ("alice", alice, &["web"], 60, Rule::UnknownService),
        ("alice", alice, ssh, 3601, Rule::Duration),
        ("alice", alice, ssh, u64::MAX, Rule::Duration),
        ("alice", alice, ssh, 0, Rule::Duration),
        ("bob", bob, ssh, 61, Rule::Duration),
        ("bob", alice, ssh, 60, Rule::Networks),
        ("bob", "fd77::3/128", ssh, 60, Rule::Networks),
        ("alice", wide, ssh, 60, Rule::Prefix),
        ("alice", "::/0", ssh, 60, Rule::Prefix),
    ];
    let mut forbidden: Vec<_> = cases
        .into_iter()
        .map(|(user, allow, services, seconds, rule)| {
            (request(user, allow, services, seconds), rule)
        })
        .collect();
    let mut observed = request("bob", bob, ssh, 60);
    observed.from = AddressFrom::Observed;
    forbidden.push((observed, Rule::GrantTo));
    let mut behind = request("alice", alice, ssh, 60);
    behind.target = Some("10.77.0.3".parse().unwrap());
    forbidden.push((behind, Rule::Target));
    forbidden
}

fn expect_nothing_gained(world: &World, backend: &'static str, engines: usize) {
    world.daemon.wait_for_lines(engines, &["the engine serves"]);
    assert_eq!(
        world
            .daemon
            .grants()
            .iter()
            .map(|grant| grant.user.as_str())
            .collect::<Vec<_>>(),
        ["alice"],
        "only the first grant"
    );
    expect_ledger_and_kernel_agree(world, backend);
    world.first.expect_let_in(Family::V6);
    world.first.expect_shut_out(Family::V4);
    for family in FAMILIES {
        world.second.expect_shut_out(family);
    }
    world.first.open("alice", Family::V4, &["--for", "10m"]);
    world.daemon.asked(&["close", "--address", "10.77.0.2"]);
    world.first.expect_shut_out(Family::V4);
}

fn with_hostile_engine(backend: &str) -> (World, HostileEngine) {
    let world = world(backend);
    world.first.open("alice", Family::V6, &["--for", "10m"]);
    let hostile_engine = HostileEngine::replace(&world);
    hostile_engine.receive();
    (world, hostile_engine)
}

pub(crate) fn forbidden_orders_are_refused_by_rule(backend: &'static str) {
    let (world, hostile_engine) = with_hostile_engine(backend);
    let forbidden = forbidden();
    for (ticket, (request, _)) in (1_000..).zip(&forbidden) {
        assert!(hostile_engine.order(&Order::Open {
            ticket,
            request: request.clone()
        }));
    }
    let mut rules = Vec::new();
    wait_for("a refusal of each", || {
        for report in hostile_engine.receive() {
            match report {
                Report::Refused { ticket, rule, .. } => rules.push((ticket, rule)),
                Report::Measure => {}
                other => panic!("{other:?}"),
            }
        }
        (rules.len() == forbidden.len()).then_some(())
    });
    rules.sort_by_key(|(ticket, _)| *ticket);
    for ((ticket, rule), (request, wanted)) in rules.into_iter().zip(&forbidden) {
        assert_eq!(rule, *wanted, "{ticket}: {request}");
    }
    world.daemon.expect_logged(
        forbidden.len(),
        &[
            " WARN ",
            "the monitor refused an order that the gate should not have sent",
        ],
    );
    assert_eq!(in_kernel(&world, backend).len(), 1);
    // Closing for an unknown user is refused, too.
    let services = vec!["tcp/2222".parse().unwrap()];
    let request = CloseRequest {
        user: "eve".to_owned(),
        allow: "fd77::2/128".parse().unwrap(),
        target: None,
        services,
    };
    assert!(hostile_engine.order(&Order::Close { ticket: 1, request }));
    hostile_engine.wait_for("a refusal", |report| {
        matches!(
            report,
            Report::Refused {
                rule: Rule::User,
                ..
            }
        )
    });
    kill(hostile_engine.engine);
    drop(hostile_engine);
    expect_nothing_gained(&world, backend, 2);
}

pub(crate) fn invalid_message_ends_the_engine(backend: &'static str) {
    let open = encode(&Order::Open {
        ticket: 1,
        request: request("alice", "10.77.0.2/32", &["tcp/2222"], 60),
    })
    .unwrap();
    let invalid: [Vec<u8>; 5] = [
        open[..open.len() - 1].to_vec(),
        b"\xff\xfe\0".to_vec(),
        b"\"exec\"".to_vec(),
        vec![b'['; MESSAGE_MAX],
        vec![0; MESSAGE_MAX + 1],
    ];
    let (world, mut hostile_engine) = with_hostile_engine(backend);
    let (monitor, mut engines) = (world.daemon.pid(), 1);
    for bytes in invalid {
        assert!(hostile_engine.send(&bytes, &[]), "{} bytes", bytes.len());
        // A valid order that follows is not carried out.
        hostile_engine.send(&open, &[]);
        engines += 1;
        expect_nothing_gained(&world, backend, engines);
        world.daemon.expect_logged(
            engines - 1,
            &["the engine was ended: it sent an invalid order"],
        );
        hostile_engine = HostileEngine::replace(&world);
    }
    assert_eq!(world.daemon.pid(), monitor);
    kill(hostile_engine.engine);
    expect_nothing_gained(&world, backend, engines + 1);
}

/// To close such a socket takes as long as its sender likes. The kernel refuses descriptors at the monitor's end of the link.
pub(crate) fn lingering_descriptors_delay_no_close(backend: &'static str) {
    let (world, hostile_engine) = with_hostile_engine(backend);
    let short = request("alice", "10.77.0.2/32", &["tcp/2222"], 2);
    assert!(hostile_engine.order(&Order::Open {
        ticket: 1,
        request: short
    }));
    hostile_engine.wait_for("the grant", |report| {
        matches!(report, Report::Opened { ticket: 1, .. })
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lingering = Socket::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    lingering.set_nonblocking(true).unwrap();
    while lingering.send(&[0; 65_536]).is_ok() {}
    lingering.set_nonblocking(false).unwrap();
    lingering.set_linger(Some(Duration::from_secs(25))).unwrap();
    let list = encode(&Order::List { ticket: 2 }).unwrap();
    let start = Instant::now();
    if !hostile_engine.send(&list, &[lingering.as_fd()]) {
        lingering.set_linger(None).unwrap();
    }
    drop(lingering);
    world.daemon.wait_for_lines(1, &["closed, ", "10.77.0.2"]);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    kill(hostile_engine.engine);
    drop((hostile_engine, listener));
    expect_nothing_gained(&world, backend, 2);
}

pub(crate) fn flood_of_orders_delays_no_close(backend: &'static str) {
    let (mut world, hostile_engine) = with_hostile_engine(backend);
    let short = request("alice", "10.77.0.2/32", &["tcp/2222"], 2);
    assert!(hostile_engine.order(&Order::Open {
        ticket: 1,
        request: short
    }));
    hostile_engine.wait_for("the grant", |report| {
        matches!(report, Report::Opened { ticket: 1, .. })
    });
    let before = memory(world.daemon.pid());
    let floods: Vec<Vec<u8>> = forbidden()
        .into_iter()
        .take(4)
        .map(|(request, _)| encode(&Order::Open { ticket: 2, request }).unwrap())
        .collect();
    let flood = |hostile_engine: &HostileEngine, until: &mut dyn FnMut() -> bool| {
        let (mut sent, start) = (0_u64, Instant::now());
        while !until() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "nothing happened under a flood of {sent} orders"
            );
            for bytes in floods.iter().cycle().take(400) {
                sent += u64::from(hostile_engine.send(bytes, &[]));
            }
            hostile_engine.receive();
            thread::sleep(Duration::from_millis(1));
        }
        sent
    };
    let sent = flood(&hostile_engine, &mut || {
        !world.daemon.logged(&["closed, ", "10.77.0.2"]).is_empty()
    });
    assert!(sent > 1_000, "{sent} orders are no flood");
    assert_eq!(in_kernel(&world, backend).len(), 1);
    let after = memory(world.daemon.pid());
    assert!(
        after < before + (16 << 10),
        "{after} kB, {before} before {sent} orders"
    );
    world.daemon.signal(Signal::TERM);
    let pid = world.daemon.pid();
    flood(&hostile_engine, &mut || {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert!(world.daemon.wait().success());
    drop(hostile_engine);
    world.start_again();
    expect_nothing_gained(&world, backend, 1);
}

pub(crate) fn silent_engine_is_replaced(backend: &'static str) {
    let (world, hostile_engine) = with_hostile_engine(backend);
    drop(hostile_engine);
    world
        .daemon
        .wait_for_lines(1, &["the engine was ended: it does not answer"]);
    expect_nothing_gained(&world, backend, 2);
}

pub(crate) fn engine_with_a_closed_link_is_replaced(backend: &'static str) {
    for how in [Shutdown::Write, Shutdown::Both] {
        let (world, hostile_engine) = with_hostile_engine(backend);
        shutdown(&hostile_engine.link, how).unwrap();
        expect_nothing_gained(&world, backend, 2);
    }
}
