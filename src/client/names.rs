//! Host names to addresses in the background, again and again: a slow resolver delays nothing that is known already.
//!
//! At most one question for each host is open. What a name had before stays known, the newest addresses first.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::resolve::{Unresolved, look_up};
use super::wake::Waker;
use crate::client::profile::Host;

/// The most addresses of one host that are used.
pub(super) const ADDRESSES_MAX: usize = 8;

type Answer = Result<Vec<SocketAddr>, Unresolved>;

#[derive(Debug)]
pub(super) struct Names {
    hosts: Vec<Known>,
    waker: Waker,
    sender: Sender<(usize, Answer)>,
    answers: Receiver<(usize, Answer)>,
}

#[derive(Debug)]
struct Known {
    host: Host,
    addresses: Vec<SocketAddr>,
    is_asked: bool,
    failure: Option<Unresolved>,
}

impl Names {
    pub(super) fn new(hosts: impl IntoIterator<Item = Host>, waker: Waker) -> Self {
        let (sender, answers) = channel();
        let mut names = Self {
            hosts: Vec::new(),
            waker,
            sender,
            answers,
        };
        for host in hosts {
            if names.find(&host).is_none() {
                names.hosts.push(Known {
                    host,
                    addresses: Vec::new(),
                    is_asked: false,
                    failure: None,
                });
            }
        }
        names
    }

    /// Looks every name up. An address needs no resolver and is known at once.
    pub(super) fn ask(&mut self) {
        for (index, known) in self.hosts.iter_mut().enumerate() {
            if known.is_asked || (is_address(&known.host) && !known.addresses.is_empty()) {
                continue;
            }
            if is_address(&known.host) {
                known.take(look_up(&known.host, 0));
                continue;
            }
            known.is_asked = true;
            let (host, sender, waker) =
                (known.host.clone(), self.sender.clone(), self.waker.clone());
            thread::spawn(move || {
                let _ = sender.send((index, look_up(&host, 0)));
                waker.wake();
            });
        }
    }

    /// Takes over what is known of a host already.
    pub(super) fn know(&mut self, host: &Host, addresses: &[SocketAddr]) {
        let known = self.hosts.iter_mut().find(|known| known.host == *host);
        if let Some(known) = known {
            known.take(Ok(addresses.to_vec()));
        }
    }

    /// Takes the answers that have arrived.
    pub(super) fn update(&mut self) {
        while let Ok((index, answer)) = self.answers.try_recv() {
            self.take(index, answer);
        }
    }

    /// Waits for one answer.
    pub(super) fn wait(&mut self) {
        if let Ok((index, answer)) = self.answers.recv() {
            self.take(index, answer);
        }
    }

    fn take(&mut self, index: usize, answer: Answer) {
        if let Some(known) = self.hosts.get_mut(index) {
            known.is_asked = false;
            known.take(answer);
        }
    }

    /// The addresses that are known, with this port.
    pub(super) fn addresses(&self, host: &Host, port: u16) -> Vec<SocketAddr> {
        let known = self.find(host).map(|known| known.addresses.as_slice());
        let with_port = |address: &SocketAddr| {
            let mut address = *address;
            address.set_port(port);
            address
        };
        known.unwrap_or_default().iter().map(with_port).collect()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.hosts.iter().any(|known| known.is_asked)
    }

    /// Whether a resolver that has failed may know more later.
    pub(super) fn may_pass(&self) -> bool {
        let failures = self.hosts.iter().filter_map(|known| known.failure.as_ref());
        failures.into_iter().any(|failure| failure.may_pass)
    }

    /// The hosts that a resolver has not yet told.
    pub(super) fn pending(&self) -> Option<&Host> {
        let mut hosts = self.hosts.iter();
        let pending = hosts.find(|known| known.is_asked && known.addresses.is_empty());
        pending.map(|known| &known.host)
    }

    /// Why this host has no address.
    pub(super) fn failure(&self, host: &Host) -> Option<&Unresolved> {
        self.find(host).and_then(|known| known.failure.as_ref())
    }

    fn find(&self, host: &Host) -> Option<&Known> {
        self.hosts.iter().find(|known| known.host == *host)
    }
}

impl Known {
    fn take(&mut self, answer: Answer) {
        match answer {
            Ok(mut found) => {
                found.dedup();
                let older = self.addresses.iter().copied();
                let older: Vec<_> = older.filter(|old| !found.contains(old)).collect();
                found.extend(older);
                found.truncate(ADDRESSES_MAX);
                self.addresses = found;
                self.failure = None;
            }
            Err(error) => self.failure = Some(error),
        }
    }
}

fn is_address(host: &Host) -> bool {
    host.as_str().contains(':') || host.as_str().parse::<Ipv4Addr>().is_ok()
}
