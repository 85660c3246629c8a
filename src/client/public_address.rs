//! Asks STUN servers for the public address of this machine (RFC 8489, over UDP).
//!
//! Every server that answers must give the same address. All are asked at once, under a deadline.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use super::resolve;
use crate::adapters::clock;
use crate::adapters::random;
use crate::client::profile::{Endpoint, StunServers};
use crate::client::stun::{ANSWER_MAX, NotAnAnswer, request, seen_address};
use crate::model::address;

/// Waits between the repetitions of a question, a short form of RFC 8489, section 6.2.1.
const WAITS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

#[derive(Debug)]
pub(super) enum Unseen {
    NoAnswer(String),
    Disagreement(String),
}

#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error("has no address")]
    Unresolved,
    #[error("has no {0} address")]
    OtherFamily(&'static str),
    #[error("does not answer")]
    NoAnswer,
    #[error("gives no address ({0})")]
    Answer(NotAnAnswer),
    #[error("does not listen")]
    NotListening,
    #[error("cannot be asked ({0})")]
    System(io::Error),
}

impl From<io::Error> for ServerError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::NotListening,
            _ => Self::System(error),
        }
    }
}

/// The source address of packets from `local`, as the servers see it.
pub(super) fn seen_by(servers: &StunServers, local: IpAddr) -> Result<IpAddr, Unseen> {
    let answers: Vec<(&Endpoint, Result<IpAddr, ServerError>)> = thread::scope(|scope| {
        let servers = servers.list().iter();
        let asked = servers.map(|server| (server, scope.spawn(move || ask(server, local))));
        let asked: Vec<_> = asked.collect();
        let joined = asked.into_iter().map(|(server, asked)| {
            let failed = |_| Err(io::Error::other("the question failed").into());
            (server, asked.join().unwrap_or_else(failed))
        });
        joined.collect()
    });
    let mut seen = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok());
    let Some(first) = seen.next() else {
        let what = "no STUN server tells this machine's address";
        return Err(Unseen::NoAnswer(format!("{what}: {}", each(&answers))));
    };
    if seen.any(|other| other != first) {
        let what = "STUN servers disagree on this machine's address";
        return Err(Unseen::Disagreement(format!("{what}: {}", each(&answers))));
    }
    Ok(*first)
}

fn each(answers: &[(&Endpoint, Result<IpAddr, ServerError>)]) -> String {
    let each = answers.iter().map(|(server, answer)| match answer {
        Ok(seen) => format!("{server} sees {seen}"),
        Err(error) => format!("{server} {error}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn ask(server: &Endpoint, local: IpAddr) -> Result<IpAddr, ServerError> {
    let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
    let addresses = resolve::look_up(&server.host, server.port);
    let mut addresses = addresses.map_err(|_| ServerError::Unresolved)?.into_iter();
    let address = addresses.find(|address| address.is_ipv4() == local.is_ipv4());
    exchange(local, address.ok_or(ServerError::OtherFamily(family))?)
}

fn exchange(local: IpAddr, server: SocketAddr) -> Result<IpAddr, ServerError> {
    // Bound to the address of the knock, to leave over the same route.
    // Connected, so that the kernel accepts answers from this server only.
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    let id = random::bytes()?;
    for wait in WAITS {
        socket.send(&request(&id))?;
        let start = clock::instant();
        let left = || wait.saturating_sub(clock::elapsed(start));
        while let Some(left) = Some(left()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left))?;
            let mut buffer = [0; ANSWER_MAX];
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => break,
                    ErrorKind::Interrupted => continue,
                    _ => return Err(error.into()),
                },
            };
            match seen_address(buffer.get(..length).unwrap_or_default(), &id) {
                Ok(seen) if seen.is_ipv4() == local.is_ipv4() && !address::is_no_host(seen) => {
                    return Ok(seen);
                }
                Ok(_) => return Err(ServerError::Answer(NotAnAnswer::NoAddress)),
                // The real answer may still come.
                Err(NotAnAnswer::Other) => {}
                Err(error) => return Err(ServerError::Answer(error)),
            }
        }
    }
    Err(ServerError::NoAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// A server that sends these datagrams for each question, with the transaction ID in bytes 8 to 20.
    fn server(answers: impl Fn(u32) -> Vec<Vec<u8>> + Send + 'static) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut question = [0; 20];
            for count in 0.. {
                let (_, from) = socket.recv_from(&mut question).unwrap();
                for mut answer in answers(count) {
                    if let Some(id) = answer.get_mut(8..20) {
                        id.copy_from_slice(&question[8..]);
                    }
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        format!("stun:{address}")
    }

    fn message(kind: [u8; 2], attribute: &[u8]) -> Vec<u8> {
        let length = u8::try_from(attribute.len()).unwrap();
        [
            &kind[..],
            &[0, length, 0x21, 0x12, 0xa4, 0x42],
            &[0; 12],
            attribute,
        ]
        .concat()
    }

    /// MAPPED-ADDRESS 192.0.2.last.
    fn seen(last: u8) -> Vec<u8> {
        message([1, 1], &[0, 1, 0, 8, 0, 1, 0, 0, 192, 0, 2, last])
    }

    fn ask_all(servers: &[String]) -> Result<IpAddr, String> {
        let servers = StunServers::of(servers.iter().map(String::as_str)).unwrap();
        seen_by(&servers, LOCAL).map_err(|unseen| match unseen {
            Unseen::NoAnswer(what) | Unseen::Disagreement(what) => what,
        })
    }

    #[test]
    fn silent_server_is_ignored() {
        // Connected elsewhere, so the kernel refuses packets to it.
        let refusing = UdpSocket::bind("127.0.0.1:0").unwrap();
        refusing.connect("127.0.0.1:9").unwrap();
        let dead = refusing.local_addr().unwrap();
        let [one, other] = [9, 9].map(|last| server(move |_| vec![seen(last)]));
        let servers = [one, other, format!("stun:{dead}")];
        assert_eq!(ask_all(&servers), Ok("192.0.2.9".parse().unwrap()));
    }

    #[test]
    fn disagreeing_servers_are_all_named() {
        let error = ask_all(&[server(|_| vec![seen(9)]), server(|_| vec![seen(8)])]).unwrap_err();
        assert!(error.starts_with("STUN servers disagree on this machine's address: 127.0.0.1:"));
        assert!(error.contains(" sees 192.0.2.9, 127.0.0.1:"), "{error}");
        assert!(error.ends_with(" sees 192.0.2.8"), "{error}");
    }

    #[test]
    fn lost_question_is_repeated_and_junk_ignored() {
        let cut = || seen(1)[..24].to_vec();
        let junk = move || [b"junk".to_vec(), Vec::new(), cut(), vec![0; 3000]];
        let late = server(move |count| match count {
            0 => Vec::new(),
            _ => junk().into_iter().chain([seen(9)]).collect(),
        });
        assert_eq!(ask_all(&[late]), Ok("192.0.2.9".parse().unwrap()));
    }

    #[test]
    fn answer_from_another_address_is_ignored() {
        let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let mut question = [0; 20];
            let (_, from) = server.recv_from(&mut question).unwrap();
            let mut answer = seen(6);
            answer[8..20].copy_from_slice(&question[8..]);
            attacker.send_to(&answer, from).unwrap();
            // The server itself answers the second question.
            server.recv_from(&mut question).unwrap();
            answer[31] = 9;
            server.send_to(&answer, from).unwrap();
        });
        let expected = Ok("192.0.2.9".parse().unwrap());
        assert_eq!(ask_all(&[format!("stun:{address}")]), expected);
        serving.join().unwrap();
    }

    #[test]
    fn unusable_answer_gives_no_address() {
        let refusal = message([1, 0x11], &[0, 9, 0, 4, 0, 0, 4, 1]);
        let broadcast = message([1, 1], &[0, 1, 0, 8, 0, 1, 0, 0, 255, 255, 255, 255]);
        for (answer, expected) in [
            (refusal, "(the server refuses with code 401)"),
            (broadcast, "(the answer has no address)"),
        ] {
            let error = ask_all(&[server(move |_| vec![answer.clone()])]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
