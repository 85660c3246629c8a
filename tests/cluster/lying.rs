//! A server in place of etcd that lies: nothing opens for a stranger, memory is bounded, and deadlines hold.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use postern_harness::{Namespace, process, wait_until};

use super::bad_input::refuses;
use super::fleet::Fleet;

const DEADLINE: Duration = Duration::from_millis(300);

/// One answer to everything: granted, carried out, won.
const YES: &str = r#"{"header":{"revision":"1"},"ID":"7","TTL":"100000","succeeded":true,"responses":[{"response_put":{}}]}"#;

/// That its identity is `1`.
const FOUND: &str =
    r#"{"header":{"revision":"1"},"responses":[{"response_range":{"kvs":[{"value":"MQ=="}]}}]}"#;

// Base64 of what the keys start with.
const CLAIMS: &str = "L3Bvc3Rlcm4vY2xhaW1z";
const IDENTITY: &str = "L3Bvc3Rlcm4vaWRlbnRpdH";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Yes,
    No,
    /// Of another server, or of none.
    Noise,
    /// It says neither, or both.
    Nonsense,
    /// 100 MB.
    Endless,
    /// One byte at a time.
    Slow,
    Silent,
}

struct Liar {
    /// How many claims it got.
    claims: AtomicU64,
    /// And whether it lies to all, or says yes to everything but claims.
    lie: Mutex<(Lie, bool)>,
}

fn serve(space: &Namespace, lie: Lie) -> Arc<Liar> {
    let liar = Arc::new(Liar {
        claims: AtomicU64::new(0),
        lie: Mutex::new((lie, false)),
    });
    let listener = space.run(|| TcpListener::bind("0.0.0.0:2379").unwrap());
    let same = Arc::clone(&liar);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let same = Arc::clone(&same);
            thread::spawn(move || answer(stream, &same));
        }
    });
    liar
}

/// The first line of a request of HTTP, and its body.
pub(crate) fn request(lines: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let (mut first, mut line, mut length, mut body) =
        (String::new(), String::new(), 0, String::new());
    lines
        .read_line(&mut first)
        .ok()
        .filter(|count| *count > 0)?;
    while lines.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    lines.take(length).read_to_string(&mut body).ok()?;
    Some((first, body))
}

fn answer(stream: TcpStream, liar: &Liar) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (_, asked) = request(&mut lines)?;
        let is_claim = asked.contains(CLAIMS);
        liar.claims
            .fetch_add(u64::from(is_claim), Ordering::Relaxed);
        let (lie, to_all) = *liar.lie.lock().unwrap();
        let is_lied_to = is_claim || to_all;
        let body = match lie {
            Lie::No => {
                r#"{"header":{"revision":"1"},"responses":[{"response_range":{"kvs":[{"value":"MQ=="}]}},{"response_range":{"kvs":[{"value":"MQ=="}]}}]}"#
            }
            Lie::Nonsense => {
                r#"{"header":{"revision":"1"},"succeeded":true,"responses":[{"response_range":{}}]}"#
            }
            _ => YES,
        };
        let body = match is_lied_to {
            true => body,
            false if asked.contains(IDENTITY) => FOUND,
            false => YES,
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        match lie {
            Lie::Noise if is_lied_to => stream.write_all(&[0xA5; 4096]).ok()?,
            Lie::Endless if is_lied_to => {
                write!(stream, "{head}Content-Length: 100000000\r\n\r\n{{\"a\":\"").ok()?;
                (0..1600)
                    .try_for_each(|_| stream.write_all(&[b'x'; 62_500]))
                    .ok()?;
            }
            Lie::Slow if is_lied_to => {
                for byte in whole.as_bytes() {
                    stream.write_all(&[*byte]).ok()?;
                    sleep(DEADLINE / 4);
                }
            }
            Lie::Silent if is_lied_to => sleep(Duration::from_secs(600)),
            _ => stream.write_all(whole.as_bytes()).ok()?,
        }
    }
}

pub(crate) fn lying_server_opens_nothing() {
    for lie in [
        Lie::Yes,
        Lie::No,
        Lie::Noise,
        Lie::Nonsense,
        Lie::Endless,
        Lie::Slow,
        Lie::Silent,
    ] {
        let space = Namespace::new();
        let liar = serve(&space, lie);
        let lines = format!("deadline = \"{}ms\"", DEADLINE.as_millis());
        let fleet = Fleet::beside(space, 1, &lines);
        let gate = &fleet.gates[0];
        for length in [0, 20, 132, 164, 516, 1400] {
            fleet.deliver(&vec![7; length]);
        }
        let mut forged = fleet.knock(1);
        forged[30] ^= 1;
        fleet.deliver(&forged);
        wait_until("the strangers to be judged", || {
            gate.daemon.status().judged() > 0
        });
        assert_eq!(
            (fleet.grants(), liar.claims.load(Ordering::Relaxed)),
            (0, 0),
            "{lie:?}"
        );

        let (knock, start) = (fleet.knock(2), Instant::now());
        fleet.deliver(&knock);
        match lie {
            Lie::Yes => wait_until("the knock to open", || fleet.grants() == 1),
            Lie::No => wait_until("the knock to be lost", || fleet.count("drop replay") == 1),
            _ => wait_until("the knock to be refused", || {
                fleet.count("refuse coordinator") == 1
            }),
        }
        // With a margin for a busy machine; the suite of faults measures it.
        assert!(
            start.elapsed() < DEADLINE * 10,
            "{lie:?}: {:?}",
            start.elapsed()
        );
        for host in 3..20 {
            fleet.deliver(&fleet.knock(host));
            sleep(Duration::from_millis(20));
        }
        fleet.deliver(&knock);
        let open = fleet.grants();
        assert!(lie == Lie::Yes || open == 0, "{lie:?}: {open} grants");
        for pid in process::children(gate.daemon.pid()) {
            let memory = process::memory(pid);
            assert!(memory < 128 << 10, "{lie:?}: {memory} kB");
        }
    }
}

/// A server that told the truth, and does not any more.
pub(crate) fn lying_server_leaves_open_what_is_open() {
    for (lie, reason) in [
        (Lie::Noise, "it does not answer in time"),
        (
            Lie::Nonsense,
            "is another coordinator than was asked before",
        ),
        (Lie::Endless, "its answer is not etcd's"),
        (Lie::Slow, "it does not answer in time"),
        (Lie::Silent, "it does not answer in time"),
    ] {
        let space = Namespace::new();
        let liar = serve(&space, Lie::Yes);
        let lines = format!("deadline = \"{}ms\"", DEADLINE.as_millis());
        let fleet = Fleet::beside(space, 1, &lines);
        fleet.deliver(&fleet.knock(1));
        wait_until("a grant", || fleet.grants() == 1);
        *liar.lie.lock().unwrap() = (lie, true);
        refuses(&fleet, 2, reason);
    }
}
