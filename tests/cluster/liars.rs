//! Servers that lie to a cluster process, about claims and in a watch: it stays small, answers in time, and says that it is behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use postern::core::claims::{Answer, Ask, Told};
use postern_harness::Namespace;

use super::lying::request;
use super::process::{Process, memory_kb};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// In the answer to a claim.
    Claim(&'static str),
    ClaimEndless,
    ClaimSlow,
    ClaimSilent,
    /// In the answer to a watch.
    Watch(&'static str),
    WatchEndless,
    WatchSlow,
    WatchSilent,
    /// Live publications without end, each a good one.
    WatchFlood,
}

const COMMON: [Lie; 7] = [
    Lie::ClaimEndless,
    Lie::ClaimSlow,
    Lie::ClaimSilent,
    Lie::WatchEndless,
    Lie::WatchSlow,
    Lie::WatchSilent,
    Lie::WatchFlood,
];

const ETCD: [Lie; 8] = [
    Lie::Claim("{}"),
    Lie::Claim(r#"{"succeeded":true,"responses":[]}"#),
    Lie::Claim(r#"{"succeeded":true,"responses":[{"response_put":{}},{"response_put":{}}]}"#),
    // The owner is nobody, and the identity is right.
    Lie::Claim(
        r#"{"responses":[{"response_range":{}},{"response_range":{"kvs":[{"value":"MQ=="}]}}]}"#,
    ),
    Lie::Watch("{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"9\"}}\n"),
    Lie::Watch("{\"error\":{\"message\":\"no\"}}\n"),
    Lie::Watch("\x00\x01\n"),
    Lie::Watch("{\"result\":{\"events\":[{\"kv\":7}]}}\n"),
];

const REDIS: [Lie; 12] = [
    Lie::Claim(":0\r\n"),
    Lie::Claim("*0\r\n"),
    Lie::Claim("*2\r\n:2\r\n$1\r\n1\r\n"),
    Lie::Claim("*2\r\n:0\r\n$0\r\n\r\n+more\r\n"),
    Lie::Claim("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:0\r\n"),
    Lie::Claim("-ERR no\r\n"),
    Lie::Claim("\x00\x01\r\n"),
    Lie::Claim("*2\r\n:-1\r\n$1\r\n2\r\n"),
    Lie::Watch("-NOPERM no\r\n"),
    Lie::Watch("*1\r\n*2\r\n$5\r\nother\r\n*0\r\n"),
    Lie::Watch(":0\r\n"),
    // An id that does not grow.
    Lie::Watch("*1\r\n*2\r\n$NAME\r\n*1\r\n*2\r\n$3\r\n0-0\r\n*0\r\n"),
];

pub(crate) fn lies_are_bounded(kind: &'static str) {
    let own: &[Lie] = if kind == "etcd" { &ETCD } else { &REDIS };
    for lie in COMMON.iter().chain(own) {
        let space = Namespace::new();
        let port = if kind == "etcd" { 2379 } else { 6379 };
        let listener = space.run(move || TcpListener::bind(("0.0.0.0", port)).unwrap());
        let lie = *lie;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || match kind {
                    "etcd" => etcd(stream, lie),
                    _ => redis(stream, lie),
                });
            }
        });
        bounded(&Process::start(&space, kind, "gate1"), lie);
    }
}

fn bounded(process: &Process, lie: Lie) {
    process.wait_until_back();
    let is_of_watch = matches!(
        lie,
        Lie::Watch(_) | Lie::WatchEndless | Lie::WatchSlow | Lie::WatchSilent | Lie::WatchFlood
    );
    if is_of_watch {
        process.ask(&Ask::Watch);
    }
    if lie == Lie::WatchFlood {
        let (start, mut told) = (Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_secs(1) {
            told += u32::from(process.told(Duration::from_millis(100)).is_some());
        }
        assert!((100..20_000).contains(&told), "{told} in a second");
    } else if is_of_watch {
        process.wait_until_behind();
    }
    let (start, within) = (Instant::now(), Duration::from_millis(500));
    let answer = process.claim_within(1, None, within);
    // With a margin for a busy machine.
    assert!(
        start.elapsed() < within * 6,
        "{lie:?}: {:?}",
        start.elapsed()
    );
    assert_eq!(answer == Answer::Won, is_of_watch, "{lie:?}: {answer:?}");
    assert!(memory_kb(process) < 64 << 10, "{lie:?}");
    if is_of_watch {
        return;
    }
    process.ask(&Ask::Probe { number: 2 });
    process.told_until("the next probe", |told| {
        matches!(
            told,
            Told::Back { number: 2 } | Told::Away { number: 2, .. }
        )
    });
}

/// 100 MB, or until nobody reads.
fn endless(stream: &mut TcpStream) -> Option<()> {
    (0..1600).try_for_each(|_| stream.write_all(&[b'x'; 62_500]).ok())
}

fn slow(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).ok()?;
        sleep(Duration::from_millis(100));
    }
    Some(())
}

fn silent() -> Option<()> {
    sleep(Duration::from_secs(600));
    None
}

fn etcd(stream: TcpStream, lie: Lie) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    loop {
        let (first, asked) = request(&mut lines)?;
        if first.contains("/v3/watch") {
            write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n").ok()?;
            let event = "{\"result\":{\"header\":{},\"events\":[{\"kv\":{\"value\":\"OTk5OTk5OTk5OTk5OTkgQUFBQQ==\"}}]}}\n";
            let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
            match lie {
                Lie::Watch(text) => stream.write_all(chunk(text).as_bytes()).ok()?,
                Lie::WatchEndless => {
                    write!(stream, "5f5e100\r\n").ok()?;
                    endless(&mut stream)?;
                }
                Lie::WatchSlow => slow(&mut stream, chunk(&event.repeat(5)).as_bytes())?,
                Lie::WatchFlood => loop {
                    stream.write_all(chunk(event).as_bytes()).ok()?;
                },
                _ => {}
            }
            return silent();
        }
        let is_claim = asked.contains("L3Bvc3Rlcm4vY2xhaW1z");
        let body = match lie {
            Lie::Claim(lie) if is_claim => lie,
            _ if is_claim => r#"{"succeeded":true,"responses":[{"response_put":{}}]}"#,
            _ if asked.contains("L3Bvc3Rlcm4vaWRlbnRpdH") => {
                r#"{"responses":[{"response_range":{"kvs":[{"value":"MQ=="}]}}]}"#
            }
            _ => r#"{"header":{"revision":"1"},"ID":"7","TTL":"100000"}"#,
        };
        let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        match lie {
            Lie::ClaimEndless if is_claim => {
                write!(stream, "{head}Content-Length: 100000000\r\n\r\n").ok()?;
                endless(&mut stream)?;
            }
            Lie::ClaimSlow if is_claim => slow(&mut stream, whole.as_bytes())?,
            Lie::ClaimSilent if is_claim => silent()?,
            _ => stream.write_all(whole.as_bytes()).ok()?,
        }
    }
}

fn number(lines: &mut impl BufRead, mark: &str) -> Option<usize> {
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    line.trim().strip_prefix(mark)?.parse().ok()
}

fn redis(stream: TcpStream, lie: Lie) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let mut count = 0_u64;
    loop {
        let parts = number(&mut lines, "*")?;
        let mut command = Vec::new();
        for _ in 0..parts {
            let length = number(&mut lines, "$")?;
            let mut part = vec![0; length + 2];
            lines.read_exact(&mut part).ok()?;
            command.push(String::from_utf8_lossy(&part[..length]).into_owned());
        }
        let is_claim = command.iter().any(|part| part.contains("/postern/claims/"));
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let good = match command[0].as_str() {
            "ROLE" => format!("*1\r\n{}", bulk("master")),
            "CONFIG" => {
                let value = match command[2].as_str() {
                    "appendonly" => "yes",
                    "appendfsync" => "always",
                    "maxmemory-policy" => "noeviction",
                    _ => "no",
                };
                format!("*2\r\n{}{}", bulk(&command[2]), bulk(value))
            }
            "SET" => "+OK\r\n".to_owned(),
            "GET" => bulk("1"),
            "EVAL" => "*2\r\n:0\r\n$0\r\n\r\n".to_owned(),
            "XREAD" => {
                let names = command.iter().position(|part| part == "STREAMS").unwrap();
                let name = bulk(&command[names + 1]);
                match lie {
                    Lie::Watch(text) => text.replace("$NAME\r\n", &name),
                    Lie::WatchEndless => {
                        stream.write_all(b"$100000000\r\n").ok()?;
                        endless(&mut stream)?;
                        return silent();
                    }
                    Lie::WatchSlow => {
                        slow(
                            &mut stream,
                            format!("*1\r\n*2\r\n{name}").repeat(9).as_bytes(),
                        )?;
                        return silent();
                    }
                    Lie::WatchSilent => return silent(),
                    Lie::WatchFlood => {
                        count += 1;
                        let entry = |number: u64| {
                            let id = bulk(&format!("{count}-{number}"));
                            format!(
                                "*2\r\n{id}*2\r\n{}{}",
                                bulk("p"),
                                bulk("99999999999999 AAAA")
                            )
                        };
                        let entries: String = (1..=64).map(entry).collect();
                        format!("*1\r\n*2\r\n{name}*64\r\n{entries}")
                    }
                    _ => "*-1\r\n".to_owned(),
                }
            }
            _ => "-ERR\r\n".to_owned(),
        };
        match lie {
            Lie::Claim(lie) if is_claim => stream.write_all(lie.as_bytes()).ok()?,
            Lie::ClaimEndless if is_claim => {
                stream.write_all(b"$100000000\r\n").ok()?;
                endless(&mut stream)?;
            }
            Lie::ClaimSlow if is_claim => slow(&mut stream, good.as_bytes())?,
            Lie::ClaimSilent if is_claim => silent()?,
            _ => stream.write_all(good.as_bytes()).ok()?,
        }
    }
}
