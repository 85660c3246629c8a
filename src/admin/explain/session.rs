//! `posternd explain`: brings datagrams to a gate that says why, and asks the running gate what it remembers of them.
//!
//! Reads the config as the daemon does, keys and all. Changes nothing and sends nothing; what is said of a datagram is `gate::explain`'s.

use std::io::{BufRead, Read};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use postern_proto::GateName;

use super::account::Account;
use super::explainer::Explainer;
use super::live::Live;
use super::names;
use super::packets::Packets;
use super::rights::drop_rights;
use crate::adapters::capture::recording::{Found, Other, Recorded, Recording, RecordingError};
use crate::adapters::clock;
use crate::adapters::config;
use crate::adapters::config::disk;
use crate::adapters::control::{self, Answer, MarkText, Question};
use crate::core::gate::Seen;
use crate::daemon::monitor::rights;
use crate::model::datagram::Datagram;
use crate::model::exit::{CONFIG, DATA, ExitError, IO};
use crate::model::settings;
use crate::model::time::Timestamp;

/// The running gate sees the very datagram that is explained at the same time, give or take this much.
const AT_ONCE: Duration = Duration::from_millis(250);

/// What the running gate does not know of a datagram after this long, it has not taken.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// Until it is asked once more.
const ASKED_AGAIN: Duration = Duration::from_millis(20);

/// What is told of one datagram.
#[derive(Debug)]
pub struct Told {
    /// Counted from 1; in a recording as Wireshark counts.
    pub number: u64,
    /// When it came; `None` where nobody knows.
    pub at: Option<Timestamp>,
    /// What it is.
    pub what: What,
}

/// What a datagram is.
#[derive(Debug)]
pub enum What {
    /// One that the gate looks at.
    Account(Box<Account>),
    /// One that it does not.
    Other(Other),
}

/// Is told of each datagram, and says whether more is wanted.
pub type Tell<'a> = dyn FnMut(Told) -> Result<ControlFlow<()>, ExitError> + 'a;

/// What there was in a recording.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Packets that were read.
    pub packets: u64,
    /// Those that were told of.
    pub told: u64,
    /// A link type that is not known here, where there was one.
    pub unknown_link: Option<i32>,
}

/// A gate of its own, with the config of the one that runs.
#[derive(Debug)]
pub struct Explain {
    explainer: Explainer,
    gate: settings::Gate,
    /// Until a question to the running gate fails.
    ask: bool,
}

impl Explain {
    /// Reads the config. `others` are names of other gates that clients may have meant, besides those that this host goes by.
    ///
    /// # Errors
    /// As [`disk::load`].
    pub fn open(config: &Path, others: &[GateName]) -> Result<Self, ExitError> {
        let (bundle, _) = disk::load(config)?;
        let loaded = config::load(&bundle).map_err(|problems| ExitError::new(CONFIG, problems))?;
        drop(bundle);
        let (gate, host) = (loaded.settings.gate.clone(), names::of_host());
        let names = names::likely(
            &gate.name,
            others
                .iter()
                .map(GateName::as_str)
                .chain(host.iter().map(String::as_str)),
        );
        let explainer = Explainer::new(loaded, names);
        Ok(Self {
            explainer,
            gate,
            ask: true,
        })
    }

    /// The `[gate]` section.
    pub fn gate(&self) -> &settings::Gate {
        &self.gate
    }

    /// Tells of packets in base64. They came at this time and from this address, or now, and from nobody knows where.
    ///
    /// # Errors
    /// Exit 65 for text that is no packet, 74 where it can't be read.
    pub fn packets(
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
            let mut account = match source {
                Some(source) => self
                    .explainer
                    .datagram(now, &Datagram::new(source, nowhere, 0, &packet)),
                None => self.explainer.packet(now, &packet),
            };
            if let Some(seen) = self.running_gate_saw(&account) {
                account.seen_before(seen);
            }
            if tell(Told {
                number,
                at,
                what: What::Account(Box::new(account)),
            })?
            .is_break()
            {
                break;
            }
        }
        Ok(())
    }

    /// Tells of datagrams to knock ports in a recording, or of `all` packets. A recording is a stranger's file in a rich format: it is
    /// read as the engine's user, whom nobody answers on the control socket.
    ///
    /// # Errors
    /// Exit 65 where it is damaged or ends too soon, 74 where it can't be read; what came before was told.
    pub fn recording(
        &mut self,
        input: impl Read + 'static,
        all: bool,
        tell: &mut Tell<'_>,
    ) -> Result<Summary, ExitError> {
        let fault = |error: RecordingError| {
            let code = if matches!(error, RecordingError::Io(_)) {
                IO
            } else {
                DATA
            };
            ExitError::new(
                code,
                format!("the recording can't be read any further: {error}"),
            )
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
                Found::Datagram(datagram) => What::Account(Box::new(
                    self.explainer
                        .datagram(last.unwrap_or_else(clock::wall), &datagram),
                )),
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

    /// Tells of datagrams as they come, until there were enough or the time is over; `heard` is told when it begins to
    /// listen, where no gate runs, and of interfaces that go and come.
    ///
    /// # Errors
    /// Exit 77 without the right to listen; what the kernel said.
    pub fn live(
        &mut self,
        live: &Live,
        heard: &mut dyn FnMut(&str),
        tell: &mut Tell<'_>,
    ) -> Result<(), ExitError> {
        let socket = &self.gate.control_socket;
        let alone = (!control::is_served(socket)).then(|| {
            let socket = socket.display();
            format!("no posternd answers on {socket}: it is not running, and this is what one would do; start it: systemctl start posternd")
        });
        let mut number = 0_u64;
        live.listen(
            &self.gate.clone(),
            alone.as_deref(),
            heard,
            &mut |now, datagram| {
                let mut account = self.explainer.datagram(now, &datagram);
                if account.reason().is_none() {
                    self.compare(now, &mut account);
                }
                number = number.saturating_add(1);
                tell(Told {
                    number,
                    at: Some(now),
                    what: What::Account(Box::new(account)),
                })
            },
        )
    }

    /// Quotas, used codes and the clock's floor are the running gate's alone: what config and policy admit is told as that gate has it.
    fn compare(&mut self, now: Timestamp, account: &mut Account) {
        let start = clock::instant();
        // A gate that did not answer the last time may have been at a reload.
        self.ask = true;
        loop {
            match self.running_gate_saw(account) {
                Some(seen) if now.since(seen.at()) > AT_ONCE => return account.seen_before(seen),
                // What it admitted just now is this very datagram.
                Some(Seen::Admitted(_)) => return,
                Some(seen) => return account.done_otherwise(Some(seen)),
                None if !self.ask => return,
                None if clock::elapsed(start) > KNOWN_WITHIN => {
                    return account.done_otherwise(None);
                }
                // It may be at it yet.
                None => thread::sleep(ASKED_AGAIN),
            }
        }
    }

    /// What the running gate remembers of this very packet; nothing where none runs. Strangers' packets are no question.
    fn running_gate_saw(&mut self, account: &Account) -> Option<Seen> {
        let mark = account.mark.filter(|_| self.ask)?;
        match control::ask(&self.gate.control_socket, &Question::Seen(MarkText(mark))) {
            Ok(Answer::Seen(seen)) => seen.map(|seen| match seen {
                control::Seen::Admitted(at) => Seen::Admitted(at),
                control::Seen::Refused(at) => Seen::Refused(at),
            }),
            _ => {
                self.ask = false;
                None
            }
        }
    }
}
