//! Asks STUN servers at which address this machine is seen from outside (RFC 8489, over UDP).
//!
//! A server's word is taken only if every server that answers says the same. All are asked at once; a question is sent a few
//! times, and nothing is waited for longer than that takes.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use super::resolve;
use crate::adapters::clock;
use crate::adapters::random;
use crate::client::profile::{Endpoint, StunServers};
use crate::client::stun::{ANSWER_MAX, NotAnAnswer, request, seen_address};
use crate::model::address;

/// A question is sent, and after each of these times, but the last, again (RFC 8489, section 6.2.1, cut short).
const WAITS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Why the address is not known.
#[derive(Debug)]
pub(super) enum Unseen {
    /// No server answered, over this family. Another may do.
    Silence(String),
    /// Two servers say different things, so none is believed.
    Disagreement(String),
}

/// The address that the servers see packets from `local` come from.
pub(super) fn seen_from(local: IpAddr, servers: &StunServers) -> Result<IpAddr, Unseen> {
    let servers = servers.list();
    let answers: Vec<Result<IpAddr, String>> = thread::scope(|scope| {
        let asked: Vec<_> = servers
            .iter()
            .map(|server| scope.spawn(move || ask(local, server)))
            .collect();
        asked
            .into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|_| Err("the question failed".to_owned()))
            })
            .collect()
    });
    let said = |words: &dyn Fn(&Result<IpAddr, String>) -> Option<String>| {
        let each = servers
            .iter()
            .zip(&answers)
            .filter_map(|(server, answer)| words(answer).map(|words| format!("{server} {words}")));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut seen = answers.iter().filter_map(|answer| answer.as_ref().ok());
    match seen.next() {
        None => Err(Unseen::Silence(format!(
            "no STUN server tells this machine's address: {}",
            said(&|answer| answer.clone().err())
        ))),
        Some(first) if seen.any(|other| other != first) => {
            let each = said(&|answer| answer.as_ref().ok().map(|seen| format!("sees {seen}")));
            Err(Unseen::Disagreement(format!(
                "STUN servers disagree on this machine's address: {each}"
            )))
        }
        Some(first) => Ok(*first),
    }
}

/// One server's answer, or what it did instead.
fn ask(local: IpAddr, server: &Endpoint) -> Result<IpAddr, String> {
    let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
    let places =
        resolve::look_up(&server.host, server.port).map_err(|_| "has no address".to_owned())?;
    let place = places
        .into_iter()
        .find(|place| place.is_ipv4() == local.is_ipv4())
        .ok_or(format!("has no {family} address"))?;
    exchange(local, place).map_err(|fault| fault.to_string())
}

fn exchange(local: IpAddr, server: SocketAddr) -> Result<IpAddr, Fault> {
    // From the knock's own address, so that it takes the knock's way out. Connected, so that the kernel takes answers from
    // this server's address and port only.
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    let id = random::bytes()?;
    for wait in WAITS {
        socket.send(&request(&id))?;
        let start = clock::instant();
        while let Some(left) = wait
            .checked_sub(clock::elapsed(start))
            .filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left))?;
            let mut buffer = [0; ANSWER_MAX];
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            match seen_address(buffer.get(..length).unwrap_or_default(), &id) {
                Ok(seen) if seen.is_ipv4() == local.is_ipv4() && !address::is_nobody(seen) => {
                    return Ok(seen);
                }
                Ok(_) => return Err(Fault::Answer(NotAnAnswer::NoAddress)),
                // Whatever it is, the answer may still come.
                Err(NotAnAnswer::Other) => {}
                Err(no) => return Err(Fault::Answer(no)),
            }
        }
    }
    Err(Fault::Silent)
}

/// Why a server did not tell.
enum Fault {
    Silent,
    Answer(NotAnAnswer),
    System(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("does not answer"),
            Self::Answer(no) => write!(f, "does not tell ({no})"),
            Self::System(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("does not listen")
            }
            Self::System(error) => write!(f, "cannot be asked ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// A server that answers each question with these datagrams; `ID` of the question is put into bytes 8 to 20.
    fn server(answers: impl Fn(u32) -> Vec<Vec<u8>> + Send + 'static) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut question = [0; 20];
            for count in 0.. {
                let (_, from) = socket.recv_from(&mut question).unwrap();
                for mut answer in answers(count) {
                    if let Some(room) = answer.get_mut(8..20) {
                        room.copy_from_slice(&question[8..]);
                    }
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        format!("stun:{place}")
    }

    /// MAPPED-ADDRESS 192.0.2.last.
    fn seen(last: u8) -> Vec<u8> {
        let head = [
            1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        [&head[..], &[0, 1, 0, 8, 0, 1, 0, 0, 192, 0, 2, last]].concat()
    }

    fn asked(servers: &[String]) -> Result<IpAddr, String> {
        let servers = StunServers::of(servers.iter().map(String::as_str)).unwrap();
        seen_from(LOCAL, &servers).map_err(|unseen| match unseen {
            Unseen::Silence(said) | Unseen::Disagreement(said) => said,
        })
    }

    #[test]
    fn servers_that_agree_are_believed_and_one_that_is_gone_does_not_matter() {
        // Held by a socket that hears one peer alone, so that nobody else gets the port and everybody is refused.
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        held.connect("127.0.0.1:9").unwrap();
        let gone = held.local_addr().unwrap();
        let servers = [
            server(|_| vec![seen(9)]),
            server(|_| vec![seen(9)]),
            format!("stun:{gone}"),
        ];
        assert_eq!(asked(&servers), Ok("192.0.2.9".parse().unwrap()));
        let said = asked(&servers[2..]).unwrap_err();
        assert_eq!(
            said,
            format!("no STUN server tells this machine's address: {gone} does not listen")
        );
    }

    #[test]
    fn servers_that_disagree_are_all_named() {
        let said = asked(&[server(|_| vec![seen(9)]), server(|_| vec![seen(8)])]).unwrap_err();
        assert!(
            said.starts_with("STUN servers disagree on this machine's address: 127.0.0.1:"),
            "{said}"
        );
        assert!(
            said.contains(" sees 192.0.2.9, 127.0.0.1:") && said.ends_with(" sees 192.0.2.8"),
            "{said}"
        );
    }

    #[test]
    fn a_lost_question_is_sent_again_and_what_is_no_answer_is_passed_over() {
        let junk = || {
            vec![
                b"junk".to_vec(),
                Vec::new(),
                seen(1)[..24].to_vec(),
                vec![0; 3000],
                seen(9),
            ]
        };
        let late = server(move |count| if count == 0 { Vec::new() } else { junk() });
        assert_eq!(asked(&[late]), Ok("192.0.2.9".parse().unwrap()));
    }

    /// Somebody who guesses the transaction still has the wrong address.
    #[test]
    fn an_answer_from_elsewhere_is_none() {
        let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
        let asked_at = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = asked_at.local_addr().unwrap();
        let spy = thread::spawn(move || {
            let mut question = [0; 20];
            let (_, from) = asked_at.recv_from(&mut question).unwrap();
            let mut answer = seen(6);
            answer[8..20].copy_from_slice(&question[8..]);
            elsewhere.send_to(&answer, from).unwrap();
            // Only the second question is answered by the server itself.
            asked_at.recv_from(&mut question).unwrap();
            answer[31] = 9;
            asked_at.send_to(&answer, from).unwrap();
        });
        assert_eq!(
            asked(&[format!("stun:{place}")]),
            Ok("192.0.2.9".parse().unwrap())
        );
        spy.join().unwrap();
    }

    #[test]
    fn a_refusal_an_address_of_the_other_family_and_nobodys_are_no_addresses() {
        let refusal = [
            &[1, 0x11, 0, 8, 0x21, 0x12, 0xa4, 0x42][..],
            &[0; 12],
            &[0, 9, 0, 4, 0, 0, 4, 1],
        ]
        .concat();
        let v6 = [
            &[1, 1, 0, 24, 0x21, 0x12, 0xa4, 0x42][..],
            &[0; 12],
            &[0, 1, 0, 20, 0, 2, 0, 0, 0x20, 1],
            &[0; 14],
        ]
        .concat();
        let mut nobody = seen(0);
        nobody[28..].fill(255);
        for (answer, says) in [
            (refusal, "(it refuses with code 401)"),
            (v6, "names no address"),
            (nobody, "names no address"),
        ] {
            let said = asked(&[server(move |_| vec![answer.clone()])]).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }
}
