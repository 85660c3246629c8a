//! Live datagrams, from a packet socket of its own with the running gate's filter. The running gate still receives every datagram.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use caps::{CapSet, Capability};

use super::rights::drop_rights;
use crate::adapters::capture::packet::{self, CapturedInterface, PacketCapture};
use crate::adapters::capture::{Capture, Caught};
use crate::adapters::clock;
use crate::adapters::netlink::{Link, Links};
use crate::core::sequence::Hit;
use crate::model::datagram::Datagram;
use crate::model::exit::{ExitError, FAILED, PERMISSION};
use crate::model::sequence_ports::SequencePorts;
use crate::model::service;
use crate::model::settings::{Gate, Interfaces};
use crate::model::time::Timestamp;

const QUEUE: usize = 1024;
const TICK: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    /// Only on this interface; `None`: on the config's.
    pub(crate) interface: Option<String>,
    /// For this time; `None`: until a signal.
    pub(crate) length: Option<Duration>,
}

/// What arrived.
pub(super) enum Heard {
    Datagram(Box<Datagram>),
    Hit(Hit),
}

/// Fails unless this process may listen, as `explain` with this option does.
pub(super) fn check_rights(option: &str) -> Result<(), ExitError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap_or(false) {
        return Ok(());
    }
    let what = format!("posternd explain {option} needs CAP_NET_RAW to listen; run it as root");
    Err(ExitError::new(PERMISSION, what))
}

impl Live {
    fn interface_list(&self, gate: &Gate) -> String {
        let names: Vec<String> = self.interfaces(gate).into_iter().flatten().collect();
        if names.is_empty() {
            "every interface".to_owned()
        } else {
            names.join(", ")
        }
    }

    fn interfaces(&self, gate: &Gate) -> Vec<Option<String>> {
        match (&self.interface, &gate.interfaces) {
            (Some(name), _) => vec![Some(name.clone())],
            (None, Interfaces::Any) => vec![None],
            (None, Interfaces::Named(names)) => names.iter().cloned().map(Some).collect(),
        }
    }

    /// Calls `take` for each datagram and each hit with its time of arrival, and without one about once a second, until it breaks or
    /// the time is over. Reports `besides` once it listens.
    pub(super) fn listen(
        &self,
        gate: &Gate,
        sequences: &SequencePorts,
        doing: &str,
        besides: Option<&str>,
        heard: &mut dyn FnMut(&str),
        take: &mut dyn FnMut(Timestamp, Option<Heard>) -> Result<ControlFlow<()>, ExitError>,
    ) -> Result<(), ExitError> {
        let (caught, queue) = sync_channel(QUEUE);
        let links = Links::open();
        let mut links =
            links.map_err(ExitError::system("opening a socket to look up interfaces"))?;
        let mut followed = Vec::new();
        let mut open = |interface: Option<String>| {
            let interface = interface.map(|name| {
                let link = links.follow(&name, Link::Missing);
                let interface = CapturedInterface::new(name, link.index());
                followed.push((interface.clone(), link));
                interface
            });
            let knocks = packet::open(&gate.ports);
            let hits = (!sequences.is_empty()).then(|| packet::open_for_hits(sequences));
            let both = knocks.and_then(|knocks| Ok((knocks, hits.transpose()?)));
            let both = both.map(|(knocks, hits)| (interface, knocks, hits));
            both.map_err(ExitError::system("opening the packet socket"))
        };
        let sockets = self.interfaces(gate).into_iter().map(&mut open);
        let sockets: Vec<_> = sockets.collect::<Result<_, _>>()?;
        drop_rights(None)?;
        let mut captures = Vec::new();
        for (interface, knocks, hits) in sockets {
            let hits = hits.map(|hits| PacketCapture::of_hits(hits, interface.clone()));
            captures.push(PacketCapture::new(knocks, interface, gate.ports.clone()));
            captures.extend(hits);
        }
        for capture in captures {
            let mut capture =
                capture.map_err(ExitError::system("listening on the packet socket"))?;
            let caught = caught.clone();
            // Ends with the queue or the process.
            thread::spawn(move || {
                let mut next = || {
                    let mut datagram = Box::new(Datagram::empty());
                    let caught = capture.next(&mut datagram);
                    (clock::wall(), caught, datagram)
                };
                while caught.send(next()).is_ok() {}
            });
        }
        drop(caught);
        let (ports, interfaces) = (service::list(&gate.ports), self.interface_list(gate));
        let hits = if sequences.is_empty() {
            ""
        } else {
            " and hits of sequences"
        };
        heard(&format!(
            "{doing} to UDP port {ports}{hits} on {interfaces}; Ctrl-C ends it"
        ));
        besides.into_iter().for_each(&mut *heard);
        let start = clock::instant();
        let mut last = start;
        loop {
            if clock::elapsed(last) >= SECOND {
                last = clock::instant();
                if take(clock::wall(), None)?.is_break() {
                    return Ok(());
                }
            }
            let left = self.length.map_or(TICK, |length| {
                length.saturating_sub(clock::elapsed(start)).min(TICK)
            });
            if left.is_zero() {
                return Ok(());
            }
            for (interface, link) in &mut followed {
                *link = links.follow(&interface.name, *link);
                interface.index.store(link.index(), Ordering::Relaxed);
            }
            match queue.recv_timeout(left) {
                Ok((at, Ok(Caught::Datagram), datagram)) => {
                    if take(at, Some(Heard::Datagram(datagram)))?.is_break() {
                        return Ok(());
                    }
                }
                Ok((at, Ok(Caught::Hit(hit)), _)) => {
                    if take(at, Some(Heard::Hit(hit)))?.is_break() {
                        return Ok(());
                    }
                }
                Ok((_, Ok(Caught::Nothing), _)) | Err(RecvTimeoutError::Timeout) => {}
                Ok((_, Ok(Caught::Lost { interface, why }), _)) => heard(&format!(
                    "cannot listen on {interface}: {why}; waiting for it to return"
                )),
                Ok((_, Ok(Caught::Back { interface }), _)) => {
                    heard(&format!("listening on {interface}"))
                }
                Ok((_, Err(error), _)) => {
                    return Err(ExitError::new(FAILED, format!("listening failed: {error}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ExitError::new(FAILED, "all captures have ended"));
                }
            }
        }
    }
}
