//! Runs `posternd explain`: reads the daemon's config, gets datagrams, and asks the running gate about them.

use std::io::{BufRead, Read};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use postern_proto::{GateName, Protocol};

use super::account::Account;
use super::clocks::{ClockOffset, Clocks};
use super::explainer::Explainer;
use super::hits::HitAccount;
use super::live::{self, Heard, Live};
use super::names;
use super::new_attempts::NewAttempts;
use super::packets::Packets;
use super::rights::drop_rights;
use crate::adapters::capture::recording::{Found, Other, Recorded, Recording, RecordingError};
use crate::adapters::config::disk;
use crate::adapters::control::{self, Answer, MarkText, Question};
use crate::adapters::{clock, config};
use crate::core::gate::Seen;
use crate::core::sequence::{Expected, Hit, Tcp};
use crate::daemon::monitor::rights;
use crate::model::attempt::Unused;
use crate::model::datagram::Datagram;
use crate::model::exit::{CONFIG, DATA, ExitError, IO};
use crate::model::sequence_ports::SequencePorts;
use crate::model::settings;
use crate::model::time::Timestamp;

/// The running gate sees the same datagram at the same time, with at most this difference.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The flags of a TCP segment that opens a connection.
const SYN: u8 = 0x02;

/// A datagram that the running gate does not know after this time did not reach it.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
const ASKED_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Told {
    /// Counted from 1, in a recording as Wireshark does.
    pub(crate) number: u64,
    pub(crate) at: Option<Timestamp>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Account(Box<Account>),
    Hit(Box<HitAccount>),
    Other(Other),
    /// An admitted knock, and who tried its services since.
    Unused(Unused),
}

pub(crate) type Tell<'a> = dyn FnMut(Told) -> Result<ControlFlow<()>, ExitError> + 'a;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) packets: u64,
    pub(crate) told: u64,
    pub(crate) unknown_link: Option<i32>,
}

#[derive(Debug)]
pub(crate) struct Explain {
    explainer: Explainer,
    gate: settings::Gate,
    /// Whether to ask the running gate. False after a failed question.
    ask: bool,
}

impl Explain {
    /// Reads the config. `others` are names of other gates that clients may have meant, besides this host's names.
    pub(crate) fn open(config: &Path, others: &[GateName]) -> Result<Self, ExitError> {
        let (bundle, _) = disk::load(config)?;
        let loaded = config::load(&bundle).map_err(|problems| ExitError::new(CONFIG, problems))?;
        drop(bundle);
        let (gate, host) = (loaded.settings.gate.clone(), names::of_host());
        let others = others.iter().map(GateName::as_str);
        let names = names::likely(&gate.name, others.chain(host.iter().map(String::as_str)));
        Ok(Self {
            explainer: Explainer::new(loaded, names),
            gate,
            ask: true,
        })
    }

    pub(crate) fn gate(&self) -> &settings::Gate {
        &self.gate
    }

    /// Explains packets in base64, as of this time or now, from this source or an unknown one.
    pub(crate) fn packets(
        &mut self,
        text: impl BufRead,
        at: Option<Timestamp>,
        source: Option<IpAddr>,
        tell: &mut Tell<'_>,
    ) -> Result<(), ExitError> {
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        drop_rights(None)?;
        for (number, packet) in (1..).zip(Packets::of(text)) {
            let (packet, now) = (packet?, at.unwrap_or_else(clock::wall));
            let (text, decoded) = (packet.text.as_bytes(), packet.decoded.as_deref());
            let mut account = match (decoded, source) {
                _ if self.explainer.is_fwknop(text, decoded) => {
                    self.explainer.fwknop(now, text, source, None)
                }
                (Some(packet), Some(source)) => {
                    let datagram = Datagram::new(source, nowhere, 0, packet);
                    self.explainer.datagram(now, &datagram)
                }
                (packet, _) => self.explainer.packet(now, packet.unwrap_or_default()),
            };
            if let Some(seen) = self.running_gate_saw(&account) {
                account.seen_before(seen);
            }
            let what = What::Account(Box::new(account));
            if tell(Told { number, at, what })?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Explains hits that come one after the other from this source, as of this time or now.
    pub(crate) fn hits(
        &mut self,
        hits: &[Expected],
        at: Option<Timestamp>,
        source: IpAddr,
        tell: &mut Tell<'_>,
    ) -> Result<(), ExitError> {
        if !self.explainer.has_sequences() {
            let what =
                "no user of this config has a sequence; give a user sequence = [\"tcp/7000\", …]";
            return Err(ExitError::new(CONFIG, what));
        }
        let now = at.unwrap_or_else(clock::wall);
        drop_rights(None)?;
        let mut sent = Vec::new();
        for (number, port) in (1..).zip(hits) {
            let hit = Hit {
                source,
                protocol: port.protocol,
                port: port.first,
                source_port: u16::try_from(sent.len()).unwrap_or_default(),
                tcp: (port.protocol == Protocol::Tcp).then_some(Tcp {
                    flags: SYN,
                    sequence: None,
                }),
            };
            sent.push(hit);
            let mut account = self.explainer.hit(now, &hit);
            if sent.len() == hits.len() {
                self.explainer.look_at_other_times(&sent, &mut account);
            }
            let what = What::Hit(Box::new(account));
            if tell(Told { number, at, what })?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Explains the datagrams to knock ports in a recording, or `all` packets. A recording is a stranger's file in a
    /// complex format, so it is read as the engine's user. The control socket refuses that user.
    pub(crate) fn recording(
        &mut self,
        input: impl Read + 'static,
        all: bool,
        tell: &mut Tell<'_>,
    ) -> Result<Summary, ExitError> {
        let fault = |error: RecordingError| {
            let code = match error {
                RecordingError::Io(_) => IO,
                _ => DATA,
            };
            let what = format!("the rest of the recording is not readable: {error}");
            ExitError::new(code, what)
        };
        let engine = rights::run_as(&self.gate.run_as).ok();
        self.ask = false;
        drop_rights(engine.and_then(|engine| engine.ids))?;
        let mut recording = Recording::open(input, &self.gate.ports).map_err(fault)?;
        let (mut summary, mut last) = (Summary::default(), None);
        while let Some(Recorded { number, at, found }) = recording.read().map_err(fault)? {
            summary.packets = number;
            last = at.or(last);
            let what = match found {
                Found::Datagram(datagram) => {
                    let now = last.unwrap_or_else(clock::wall);
                    What::Account(Box::new(self.explainer.datagram(now, &datagram)))
                }
                Found::Other(other) => {
                    summary.unknown_link = summary.unknown_link.or(other.link_type());
                    if !all && !other.is_for(&self.gate.ports) {
                        continue;
                    }
                    What::Other(other)
                }
            };
            summary.told = summary.told.saturating_add(1);
            if tell(Told { number, at, what })?.is_break() {
                break;
            }
        }
        Ok(summary)
    }

    /// Explains datagrams as they arrive, until `tell` breaks or the time is over. `heard` receives notes: the start,
    /// a missing gate, interfaces that go down and come back.
    pub(crate) fn live(
        &mut self,
        live: &Live,
        heard: &mut dyn FnMut(&str),
        tell: &mut Tell<'_>,
    ) -> Result<(), ExitError> {
        live::check_rights("--live")?;
        let gate = self.gate.clone();
        let socket = &gate.control_socket;
        let alone = (!control::is_served(socket)).then(|| {
            let what = "it is not running; these are the verdicts of this config";
            let socket = socket.display();
            format!("no posternd answers on {socket}: {what}; start it: systemctl start posternd")
        });
        let mut number = 0_u64;
        let mut attempts = NewAttempts::new(alone.is_none().then(|| self.unused()));
        let doing = "explaining knocks";
        let sequences = self.explainer.settings.sequences.clone();
        live.listen(
            &gate,
            &sequences,
            doing,
            alone.as_deref(),
            heard,
            &mut |now, heard| {
                let Some(heard) = heard else {
                    for unused in attempts.among(now, self.unused()) {
                        let (at, what) = (Some(now), What::Unused(unused));
                        if tell(Told { number, at, what })?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    return Ok(ControlFlow::Continue(()));
                };
                let what = match heard {
                    Heard::Hit(hit) => What::Hit(Box::new(self.explainer.hit(now, &hit))),
                    Heard::Datagram(datagram) => {
                        let mut account = self.explainer.datagram(now, &datagram);
                        if account.reason().is_none() {
                            self.compare(now, &mut account);
                        }
                        What::Account(Box::new(account))
                    }
                };
                number = number.saturating_add(1);
                let at = Some(now);
                tell(Told { number, at, what })
            },
        )
    }

    /// Compares the clocks of knocks with the gate's for this time. The running gate's filter drops knocks that are far off.
    pub(crate) fn clocks(
        &mut self,
        live: &Live,
        heard: &mut dyn FnMut(&str),
        tell: &mut dyn FnMut(&ClockOffset) -> Result<ControlFlow<()>, ExitError>,
    ) -> Result<bool, ExitError> {
        live::check_rights("--clock")?;
        let mut clocks = Clocks::new(&self.explainer.hint_keys(), clock::wall());
        let (gate, doing) = (self.gate.clone(), "comparing the clocks of knocks");
        let none = SequencePorts::default();
        live.listen(&gate, &none, doing, None, heard, &mut |now, heard| {
            let offset = match heard {
                Some(Heard::Datagram(datagram)) => clocks.look(&self.explainer, now, &datagram),
                _ => None,
            };
            offset.map_or(Ok(ControlFlow::Continue(())), |offset| tell(&offset))
        })?;
        Ok(clocks.has_told())
    }

    /// The admitted knocks whose services others tried since, as the running gate knows them.
    fn unused(&self) -> Vec<Unused> {
        match control::ask(&self.gate.control_socket, &Question::Status) {
            Ok(Answer::Status(status)) => status.unused,
            _ => Vec::new(),
        }
    }

    /// Asks the running gate about a packet that the config admits: only that gate knows quotas, used codes and its
    /// clock floor.
    fn compare(&mut self, now: Timestamp, account: &mut Account) {
        let start = clock::instant();
        // A gate that did not answer last time may have reloaded.
        self.ask = true;
        loop {
            match self.running_gate_saw(account) {
                Some(seen) if now.since(seen.at()) > AT_ONCE => return account.seen_before(seen),
                // It has just admitted this datagram.
                Some(Seen::Admitted(_)) => return,
                Some(seen) => return account.done_otherwise(Some(seen)),
                None if !self.ask => return,
                None if clock::elapsed(start) > KNOWN_WITHIN => {
                    return account.done_otherwise(None);
                }
                // It may not have decided yet.
                None => thread::sleep(ASKED_AGAIN),
            }
        }
    }

    /// What the running gate remembers of this packet. Packets of strangers are not asked about.
    fn running_gate_saw(&mut self, account: &Account) -> Option<Seen> {
        let mark = account.mark.filter(|_| self.ask)?;
        match control::ask(&self.gate.control_socket, &Question::Seen(MarkText(mark))) {
            Ok(Answer::Seen(seen)) => seen,
            _ => {
                self.ask = false;
                None
            }
        }
    }
}
