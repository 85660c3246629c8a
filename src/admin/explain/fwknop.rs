//! Explains a packet of fwknop: what is in it, whose key made it, and which rule decided.

use std::net::IpAddr;

use postern_fwknop::{Allow, Opened, Packet, Port, Reason};
use postern_proto::Mark;
use postern_proto::limits::MAX_SERVICES;

use super::account::{Account, Cause, Verdict};
use super::explainer::{Explainer, UNKNOWN_ADDRESS, first_host};
use super::refusals;
use crate::core::gate::{
    Admission, ApprovedRequest, Decision, FWKNOP_WINDOW, FwknopRow, FwknopUser, FwknopUsers,
    fwknop_request,
};
use crate::model::datagram::Datagram;
use crate::model::reason::{Drop, Rule};
use crate::model::service;
use crate::model::time::Timestamp;

impl Explainer {
    /// Whether a text is a packet of fwknop rather than one of ours in base64.
    pub(super) fn is_fwknop(&self, text: &[u8], ours: Option<&[u8]>) -> bool {
        if !postern_fwknop::looks_like(text) {
            return false;
        }
        let is_ours = ours.is_some_and(|bytes| self.knows_maker(bytes));
        !is_ours && (ours.is_none() || !self.gate.fwknop_users().is_empty())
    }

    /// Explains a packet of fwknop from this source to this address of the gate, or unknown ones.
    pub(super) fn fwknop(
        &mut self,
        now: Timestamp,
        payload: &[u8],
        source: Option<IpAddr>,
        destination: Option<IpAddr>,
    ) -> Account {
        let users = self.gate.fwknop_users();
        let row = users.find(payload);
        let user = row.ok().and_then(|row| users.get(row));
        let opened = user.map(|user| open(user, payload));
        let asked = opened.as_ref().and_then(|opened| opened.as_ref().ok());
        let at = source.or_else(|| self.source_for(user?, asked?, now));
        let to = destination.or_else(|| Some(first_host(user?.destination.first()?)));
        let to = to.unwrap_or(UNKNOWN_ADDRESS);
        let datagram = Datagram::new(at.unwrap_or(UNKNOWN_ADDRESS), to, 0, payload);
        let mark = Packet::parse(payload)
            .ok()
            .map(|packet| Mark(packet.mark().0));
        let before = mark.and_then(|mark| self.gate.seen(&mark));
        let decision = self.gate.handle_fwknop(now, &datagram, row);
        let user = match (row, Packet::parse(payload)) {
            (Ok(row), Ok(packet)) => self
                .fwknop_user_of(&decision, &users, row, &packet)
                .or(user),
            _ => user,
        };
        let mut account = self.account(now, decision, source, payload.len());
        account.window = FWKNOP_WINDOW;
        account.is_fwknop = true;
        let Some((user, opened)) = user.zip(opened) else {
            account.cause = self.no_fwknop_user(payload, &account);
            return account;
        };
        let Some(policy) = self.settings.policies.get(user.user) else {
            return account;
        };
        account.user = Some(policy.user.to_string());
        account.mark = mark;
        let candidate = fwknop_request::Candidate {
            user,
            policy,
            catalog: &self.settings.catalog,
        };
        let (at, from) = (account.at, datagram.source());
        let why = |rule, opened: &Opened| match rule {
            Rule::Destination => why_not_there(user, &policy.user, to),
            rule => self.why_not(rule, opened, &candidate, from, at),
        };
        account.cause = match (&account.verdict, &opened) {
            (Verdict::Admit(_), _) => Cause::Admitted,
            (Verdict::Refuse(rule), Ok(opened)) => Cause::Refused(why(*rule, opened)),
            (Verdict::Drop(Drop::Replay | Drop::Duplicate), _) => Cause::Replay { first: before },
            (Verdict::Drop(Drop::Fwknop(reason)), _) => Cause::Fwknop(*reason),
            (_, Ok(opened)) if !is_fresh(at, opened) => Cause::Clock,
            _ => Cause::Forgotten(self.gate.times().horizon),
        };
        let Ok(opened) = opened else { return account };
        let is_replay = matches!(account.cause, Cause::Replay { .. });
        if matches!(account.verdict, Verdict::Drop(_)) && !is_replay {
            let refused = candidate.approve(at, &opened.request, from, to).err();
            account.besides = refused.map(|rule| (rule, why(rule, &opened)));
        }
        let seconds = opened.request.timeout_s.unwrap_or_default();
        account.clipped = refusals::clipped_to(account.at, seconds, policy);
        account.asked = Some(match source {
            Some(source) => fwknop_request::asked(&opened.request, source),
            None => fwknop_request::asked_by_anyone(&opened.request),
        });
        account.fwknop = Some(Box::new(opened));
        account
    }

    /// The user of the decision among those who share the key.
    fn fwknop_user_of<'a>(
        &self,
        decision: &Decision,
        users: &'a FwknopUsers,
        row: FwknopRow,
        packet: &Packet<'_>,
    ) -> Option<&'a FwknopUser> {
        let name = match decision {
            Decision::Admit(Admission { request, .. }) => match request {
                ApprovedRequest::Open(open) => &open.user,
                ApprovedRequest::Close(close) => &close.user,
            },
            Decision::Refuse(refusal) => &refusal.user,
            Decision::Drop(_) => return None,
        };
        let policy = |user: &FwknopUser| self.settings.policies.get(user.user);
        let mut sharing = users.sharing(row, packet).map(|(user, _)| user);
        sharing.find(|user| policy(user).is_some_and(|policy| policy.user == *name))
    }

    fn no_fwknop_user(&self, payload: &[u8], account: &Account) -> Cause {
        let mut disabled = self.disabled_fwknop.iter();
        let disabled = disabled.find(|user| open(user, payload).is_ok());
        let disabled = disabled.and_then(|user| self.settings.disabled.get(user.user));
        match (disabled, &account.verdict) {
            (Some(policy), _) => Cause::Disabled(policy.user.to_string()),
            (None, Verdict::Drop(Drop::Fwknop(reason))) => Cause::Fwknop(*reason),
            _ => Cause::Fwknop(Reason::Mac),
        }
    }

    /// The first address that the policy allows for this packet, or the first of the user's networks.
    fn source_for(&self, user: &FwknopUser, opened: &Opened, now: Timestamp) -> Option<IpAddr> {
        let policy = self.settings.policies.get(user.user)?;
        let candidate = fwknop_request::Candidate {
            user,
            policy,
            catalog: &self.settings.catalog,
        };
        let networks = policy.from.iter().chain(&policy.networks);
        let mut addresses = networks.map(first_host);
        let first = addresses.next()?;
        let to = user.destination.first().map_or(UNKNOWN_ADDRESS, first_host);
        let allowed =
            |source: &IpAddr| candidate.approve(now, &opened.request, *source, to).is_ok();
        let found = std::iter::once(first).chain(addresses).find(allowed);
        Some(found.unwrap_or(first))
    }

    fn why_not(
        &self,
        rule: Rule,
        opened: &Opened,
        candidate: &fwknop_request::Candidate<'_>,
        source: IpAddr,
        at: Timestamp,
    ) -> String {
        let (policy, request) = (candidate.policy, &opened.request);
        let name = &policy.user;
        let allow = match request.allow {
            Allow::Source => source.to_string(),
            Allow::Address(address) => address.to_string(),
        };
        match rule {
            Rule::Quota => self.why_quota(policy, at),
            Rule::Expired | Rule::From => refusals::who_and_when(rule, policy, source),
            Rule::Networks => {
                let networks = service::list(&policy.networks);
                format!(
                    "{allow} is not in {networks}; knock from there, or add it to networks of {name}"
                )
            }
            Rule::GrantTo => {
                let kind = policy.grant_to.name();
                format!(
                    "{allow} is not what grant_to = \"{kind}\" lets in; use -s or -a of the client, or change it"
                )
            }
            Rule::Service => match &request.message {
                message if message.ports().len() > MAX_SERVICES => format!(
                    "it names {} ports, and a request may name {MAX_SERVICES}; ask for less",
                    message.ports().len()
                ),
                message => {
                    let services = service::list(&policy.services);
                    let ports = message.ports().iter().map(Port::to_string);
                    let ports = ports.collect::<Vec<_>>().join(", ");
                    format!(
                        "not all of {ports} is in {services}; ask for less, or add it to services of {name}"
                    )
                }
            },
            Rule::Nat => {
                let services = policy.services.iter();
                let forwards = services
                    .filter_map(|one| crate::model::catalog::forward_of(one, candidate.catalog));
                let forwards = refusals::list_or(&forwards.collect::<Vec<_>>(), "none");
                format!(
                    "the forwards of {name} are: {forwards}; ask for one of them, or add a service for it"
                )
            }
            Rule::Command => {
                let commands: Vec<String> = candidate
                    .user
                    .commands
                    .keys()
                    .map(|text| format!("{text:?}"))
                    .collect();
                let commands = refusals::list_or(&commands, "none");
                format!(
                    "the commands of {name} are: {commands}; send one of them, or add it to commands"
                )
            }
            Rule::Username => {
                let wanted = candidate.user.username.as_deref().unwrap_or_default();
                format!(
                    "it states {:?}, and must state {wanted:?}; set it in the client's .fwknoprc (SPOOF_USER)",
                    request.user
                )
            }
            rule => rule.sentence().to_owned(),
        }
    }
}

fn why_not_there(user: &FwknopUser, name: &str, destination: IpAddr) -> String {
    let networks = service::list(&user.destination);
    let cure = format!("send it there, or add the address to destination of {name}");
    format!("it was sent to {destination}, which is not in {networks}; {cure}")
}

fn is_fresh(at: Timestamp, opened: &Opened) -> bool {
    let made = Timestamp::from_millis(opened.request.timestamp_s.saturating_mul(1000));
    at.since(made).max(made.since(at)) <= FWKNOP_WINDOW
}

fn open(user: &FwknopUser, payload: &[u8]) -> Result<Opened, Reason> {
    user.open(&Packet::parse(payload)?)
}
