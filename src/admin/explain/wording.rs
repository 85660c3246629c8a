//! An account in one line: the decision, the reason and the cure.

use std::fmt;

use postern_fwknop::Reason as Fault;
use postern_proto::{Allow, GateName};

use super::account::{Account, Cause, Otherwise, Verdict};
use crate::core::gate::{ApprovedRequest, Seen};
use crate::model::{service, time};

/// How many tried names are listed; of more only the number is said.
const NAMED: usize = 4;

impl Account {
    /// `drop too-old (step 7): alice's key, but made 5m 12s ago by the client's clock …`
    pub fn line(&self) -> String {
        let no = match self.reason() {
            None if self.otherwise.is_some() => "admit by the config".to_owned(),
            None => "admit".to_owned(),
            Some(reason) => format!("{reason} (step {})", reason.step()),
        };
        format!("{no}: {}", self.sentence())
    }

    /// The reason and the cure.
    pub fn sentence(&self) -> String {
        let mut said = self.why();
        if let Some((rule, why)) = &self.besides {
            said += &format!("; after that it is refused, {}: {why}", rule.name());
        }
        let told = matches!(self.cause, Cause::Replay { first } if first == self.running);
        if let Some(seen) = self.running.filter(|_| !told) {
            let (did, at) = (did(seen), seen.at());
            said += &format!("; the running gate {did} this same packet at {at}");
        }
        match self.otherwise {
            None => {}
            Some(Otherwise::Refused) => said.push_str(", because of a quota or a used code: its log names the rule"),
            Some(Otherwise::NotAsked) => said.push_str(
                "; the log of the running gate says whether it knew the sequence already, or a quota was used up",
            ),
            Some(Otherwise::Unknown) => said.push_str(
                "; but the running gate did not receive it: check its captures and its clock with posternd status",
            ),
        }
        said
    }

    fn why(&self) -> String {
        let user = self.user.as_deref().unwrap_or_default();
        let whose = format!("{user}'s key");
        let program = "the client program is faulty";
        match &self.cause {
            Cause::Admitted => self.admitted(),
            Cause::Length => {
                let bytes = self.length();
                format!(
                    "{bytes}, a knock has 132 to 516 bytes: this is not a knock, or it was cut or padded on its way"
                )
            }
            Cause::Stranger { names } => {
                let tried = match names.len() {
                    0 => String::new(),
                    count => format!(", nor for {}", tried(names.iter().take(NAMED), count)),
                };
                format!(
                    "no user's key made it, not for gate {}{tried}: compare key and gate in the client's profile with this config (add other gates with --gate-name); or this is not a knock",
                    self.gate
                )
            }
            Cause::Changed { users } => {
                let users = users.join(" or ");
                format!(
                    "the hint is {users}'s, but the mac was not made with that key: the packet was changed on its way, or a stranger copied the hint; knock again"
                )
            }
            Cause::OtherGate(name) => {
                let off = self.off().map(|off| format!(" (besides, {off})"));
                let (own, off) = (&self.gate, off.unwrap_or_default());
                let cure = format!("set gate = \"{own}\" in the client's profile");
                format!(
                    "{whose}, but the knock is for gate {name}, and this is gate {own}: {cure}{off}"
                )
            }
            Cause::OldKey(until) => {
                format!(
                    "{user}'s old key, which expired at {until}: give the client the new one (posternd user rotate prints it)"
                )
            }
            Cause::Disabled(user) => {
                format!("{user}'s key, but {user} is disabled here: posternd user enable {user}")
            }
            Cause::NotSealed if user.is_empty() => {
                "an encrypted sequence, but no user's passphrase opens it: compare passphrase and offset".to_owned()
            }
            Cause::NotSealed => format!("{whose}, but the sealed part does not open: {program}"),
            Cause::Malformed(rule) => format!("{whose}, but {rule}: {program}"),
            Cause::HintOfAnotherTime => {
                format!("{whose}, but the hint does not belong to the time inside: {program}")
            }
            Cause::Clock => {
                let off = self.off().unwrap_or_default();
                format!(
                    "{whose}, but {off}: set the client's clock, or the gate's, whichever is wrong"
                )
            }
            Cause::Forgotten(horizon) => {
                format!(
                    "{whose}, but made before {horizon}, and this gate has forgotten the marks of that time: knock again"
                )
            }
            Cause::Replay { first } => {
                let first = first.map(|seen| format!(", {} at {}", did(seen), seen.at()));
                let first = first.unwrap_or_default();
                format!(
                    "{whose}, but this same packet came before{first}: a packet works once; knock again"
                )
            }
            Cause::UsedSequence => {
                "this sequence came before, and opens once; send the next one".to_owned()
            }
            Cause::Fwknop(Fault::Mac) => {
                "a packet of fwknop, but no user's keys made it: compare KEY and HMAC_KEY of the client's .fwknoprc, and the \
                 kind of the HMAC, with fwknop of the users here; or it was changed on its way"
                    .to_owned()
            }
            Cause::Fwknop(fault) if user.is_empty() => {
                format!("it looks like a packet of fwknop, but {fault}")
            }
            Cause::Fwknop(fault) => format!("{whose}, but {fault}"),
            Cause::Refused(why) => {
                let asked = self.asked.as_deref().unwrap_or_default();
                let sentence = match self.verdict {
                    Verdict::Refuse(rule) => rule.sentence(),
                    Verdict::Admit(_) | Verdict::Drop(_) => "",
                };
                format!("{user} asked to {asked}: {sentence}: {why}")
            }
        }
    }

    pub(super) fn length(&self) -> String {
        match self.bytes {
            517.. if !self.is_fwknop => "more than 516 bytes".to_owned(),
            bytes => time::count(bytes, "byte"),
        }
    }

    fn admitted(&self) -> String {
        let Verdict::Admit(request) = &self.verdict else {
            return String::new();
        };
        let clipped = self.clipped.as_ref().map(|why| format!(" ({why})"));
        let clipped = clipped.unwrap_or_default();
        let allow = |allow: &dyn fmt::Display| match self.source {
            None if self.asks_for_source() => {
                "its source address, if that is in the user's networks".to_owned()
            }
            _ => allow.to_string(),
        };
        match request {
            ApprovedRequest::Open(open) => {
                let target = open.target.map(|target| format!(" at {target}"));
                let (user, target) = (&open.user, target.unwrap_or_default());
                let (services, length) =
                    (service::list(&open.services), time::human(open.duration));
                let allow = allow(&open.allow);
                format!("{user} may open {services}{target} for {allow} for {length}{clipped}")
            }
            ApprovedRequest::Close(close) => {
                let mut services = service::list(&close.services);
                if services.is_empty() {
                    services = "all of it".to_owned();
                }
                format!(
                    "{} may close {services} for {}",
                    close.user,
                    allow(&close.allow)
                )
            }
        }
    }

    fn asks_for_source(&self) -> bool {
        let allow = self.request.as_ref().map(|request| request.allow);
        let fwknop = self.fwknop.as_ref().map(|opened| opened.request.allow);
        matches!(allow, Some(Allow::Source { .. })) || fwknop == Some(postern_fwknop::Allow::Source)
    }

    /// How far apart the clocks are, if that is more than the window.
    pub(super) fn off(&self) -> Option<String> {
        let made = self.made()?;
        let (age, ahead) = (self.at.since(made), made.since(self.at));
        let window = time::human(self.window);
        let floor = match time::human(self.clock_ahead) {
            _ if self.clock_ahead.is_zero() => String::new(),
            length => format!(
                "; the gate's clock is {length} ahead of the system's, at its latest recorded time"
            ),
        };
        let (length, when) = if age > self.window {
            (time::human(age), "ago")
        } else if ahead > self.window {
            (time::human(ahead), "in the future")
        } else {
            return None;
        };
        Some(format!(
            "made {length} {when} by the client's clock, and the window is {window}{floor}"
        ))
    }
}

fn tried<'a>(names: impl Iterator<Item = &'a GateName>, count: usize) -> String {
    let named = names.map(ToString::to_string).collect::<Vec<_>>();
    match count.saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more names that were tried", named.join(", ")),
    }
}

fn did(seen: Seen) -> &'static str {
    match seen {
        Seen::Admitted(_) => "admitted",
        Seen::Refused(_) => "refused",
    }
}
