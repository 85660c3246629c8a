//! Connections from each granted address: one shortly before the end of its grant, one after it.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use postern::model::grant::GrantId;
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use postern_harness::world::checks::{LATE, Opened};
use postern_harness::{Family, World, now};

/// The service, which accepts every connection that arrives.
pub(crate) const PORT: u16 = 2223;

/// The least time between an attempt and the grant's end: a packet on a busy machine may take this long.
const BEFORE: Duration = Duration::from_millis(400);
const UNDER_WAY: Duration = Duration::from_millis(300);

/// Many end at once; they are tried one after another over this time.
const SPREAD: u64 = 600;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// When an attempt that was not let in has failed: a SYN that was dropped is sent again after a second.
const VERDICT: Duration = Duration::from_millis(900);

/// How many attempts gave a result.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Let in before the end.
    pub(crate) open: usize,
    /// Shut out after it.
    pub(crate) shut: usize,
}

struct Attempt {
    begun: Instant,
    socket: Socket,
    told: Opened,
    is_before: bool,
}

pub(crate) fn serve(world: &World) {
    let listener = world.gate.run(|| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())
            .unwrap();
        socket.listen(BACKLOG).unwrap();
        TcpListener::from(socket)
    });
    thread::spawn(move || listener.incoming().for_each(drop));
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Tries each grant before and after its end. Fails where one closes too early or too late.
pub(crate) fn try_all(world: &World, all: &BTreeMap<GrantId, Opened>) -> Tries {
    let spread = |id: &GrantId| id.0 * 37 % SPREAD;
    let before = all.iter().map(|(id, told)| {
        (
            told.until.as_millis() - millis(BEFORE) - spread(id),
            told,
            true,
        )
    });
    let after = all.iter().map(|(id, told)| {
        (
            told.until.as_millis() + millis(LATE) + 1 + spread(id) / 2,
            told,
            false,
        )
    });
    let mut times: Vec<(u64, &Opened, bool)> = before.chain(after).collect();
    times.sort_by_key(|(time, ..)| *time);
    let (mut tries, mut pending) = (Tries::default(), VecDeque::new());
    for (time, told, is_before) in times {
        thread::sleep(Duration::from_millis(
            time.saturating_sub(now().as_millis()),
        ));
        if !is_before || now().plus(UNDER_WAY) < told.until {
            pending.push_back(begin(world, *told, is_before));
        }
        while pending
            .front()
            .is_some_and(|attempt: &Attempt| attempt.begun.elapsed() > VERDICT)
        {
            judge(pending.pop_front().unwrap(), &mut tries);
        }
    }
    thread::sleep(VERDICT);
    pending
        .into_iter()
        .for_each(|attempt| judge(attempt, &mut tries));
    tries
}

fn begin(world: &World, told: Opened, is_before: bool) -> Attempt {
    let family = if told.allow.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let to = SocketAddr::new(family.address(1), PORT);
    let socket = world.first.space.run(move || {
        Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None).unwrap()
    });
    if family == Family::V6 {
        socket.set_freebind_v6(true).unwrap();
    }
    socket.bind(&SocketAddr::new(told.allow, 0).into()).unwrap();
    let begun = Instant::now();
    if let Err(error) = socket.connect(&to.into()) {
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::INPROGRESS.raw_os_error()),
            "{error}"
        );
    }
    Attempt {
        begun,
        socket,
        told,
        is_before,
    }
}

fn judge(attempt: Attempt, tries: &mut Tries) {
    let (told, is_before) = (attempt.told, attempt.is_before);
    let is_in = match attempt.socket.peer_addr() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotConnected => false,
        Err(error) => panic!("{told:?}: {error}"),
    };
    let count = if is_before {
        &mut tries.open
    } else {
        &mut tries.shut
    };
    assert_eq!(is_in, is_before, "{told:?}: let in, and before its end");
    *count += 1;
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap()
}
