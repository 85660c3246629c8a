//! The one-time codes of a wait: which one to send, and to which addresses it may go.
//!
//! A gate admits a code once for each family of the address to allow. So a code goes to one address of each family, and to
//! the next one if nothing opens. It goes nowhere twice. A program gives another code in the next step of 30 seconds.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use postern_proto::{Code, CodeStep};

use super::wake::Waker;
use crate::model::exit::ExitError;
use crate::model::time::Timestamp;

/// Asks a program for a code.
pub(crate) type AskProgram = Arc<dyn Fn() -> Result<Code, ExitError> + Send + Sync>;

/// The codes that a command has.
#[derive(Clone, Default)]
pub(crate) struct Codes {
    /// The first one; `None` if knocks need none.
    pub(crate) first: Option<Code>,
    /// How to get another; `None` if a person or the environment gave the first.
    pub(crate) more: Option<AskProgram>,
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codes").finish_non_exhaustive()
    }
}

/// What has become of them in one wait.
pub(super) struct CodeUse {
    codes: Codes,
    waker: Waker,
    /// Where the current code went.
    went: Vec<SocketAddr>,
    step: CodeStep,
    is_asked: bool,
    sender: Sender<Result<Code, ExitError>>,
    answers: Receiver<Result<Code, ExitError>>,
}

impl CodeUse {
    pub(super) fn new(codes: Codes, now: Timestamp, waker: Waker) -> Self {
        let (sender, answers) = channel();
        Self {
            codes,
            waker,
            went: Vec::new(),
            step: CodeStep::of(now.as_millis()),
            is_asked: false,
            sender,
            answers,
        }
    }

    pub(super) fn is_needed(&self) -> bool {
        self.codes.first.is_some()
    }

    pub(super) fn current(&self) -> Option<Code> {
        self.codes.first.clone()
    }

    /// Asks the program in the background once a step has passed: it may take a person's touch. Returns whether a new code
    /// has arrived.
    pub(super) fn update(&mut self, now: Timestamp) -> bool {
        let step = CodeStep::of(now.as_millis());
        if let Some(ask) = self.codes.more.clone()
            && step != self.step
            && !self.is_asked
        {
            (self.step, self.is_asked) = (step, true);
            let (sender, waker) = (self.sender.clone(), self.waker.clone());
            thread::spawn(move || {
                let _ = sender.send(ask());
                waker.wake();
            });
        }
        let Ok(answer) = self.answers.try_recv() else {
            return false;
        };
        self.is_asked = false;
        // A failure is no reason to end the wait: what was sent may open yet.
        match answer {
            Ok(code) if self.codes.first.as_ref() != Some(&code) => {
                self.codes.first = Some(code);
                self.went.clear();
                true
            }
            _ => false,
        }
    }

    /// The addresses of these that may get a knock now.
    pub(super) fn allowed(&self, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        if self.codes.first.is_none() {
            return addresses;
        }
        let mut chosen: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            let family = address.is_ipv4();
            let is_free = chosen.iter().all(|other| other.is_ipv4() != family);
            if is_free && !self.went.contains(&address) {
                chosen.push(address);
            }
        }
        chosen
    }

    pub(super) fn went_to(&mut self, address: SocketAddr) {
        self.went.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wake::Alarm;

    fn code(text: &str) -> Code {
        Code::new(text).unwrap()
    }

    fn addresses() -> Vec<SocketAddr> {
        let texts = ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1"];
        texts.map(|text| text.parse().unwrap()).to_vec()
    }

    #[test]
    fn code_goes_to_each_address_once() {
        let waker = Alarm::new().unwrap().waker();
        let now = Timestamp::from_millis(1_760_000_000_000);
        let all = addresses();
        let mut free = CodeUse::new(Codes::default(), now, waker.clone());
        free.went_to(all[0]);
        assert_eq!(free.allowed(all.clone()), all);
        let codes = Codes {
            first: Some(code("123456")),
            more: None,
        };
        let mut used = CodeUse::new(codes, now, waker);
        for expected in [&all[..2], &all[2..], &[]] {
            let allowed = used.allowed(all.clone());
            assert_eq!(allowed, expected);
            allowed
                .into_iter()
                .for_each(|address| used.went_to(address));
        }
    }

    #[test]
    fn program_is_asked_once_a_step() {
        let alarm = Alarm::new().unwrap();
        let (asked, questions) = channel();
        let codes = Codes {
            first: Some(code("123456")),
            more: Some(Arc::new(move || {
                asked.send(()).unwrap();
                Ok(code("654321"))
            })),
        };
        let at = |seconds: u64| {
            Timestamp::from_millis(1_760_000_000_000 / 30_000 * 30_000 + seconds * 1000)
        };
        let mut used = CodeUse::new(codes, at(0), alarm.waker());
        addresses()
            .into_iter()
            .for_each(|address| used.went_to(address));
        assert!(!used.update(at(29)));
        assert!(questions.try_recv().is_err());
        used.update(at(30));
        questions.recv().unwrap();
        while used.current() != Some(code("654321")) {
            used.update(at(31));
        }
        assert_eq!(used.allowed(addresses()).len(), 2);
        assert!(!used.update(at(59)) && questions.try_recv().is_err());
    }
}
