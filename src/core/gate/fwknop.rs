//! The decision on one packet of fwknop: the steps of `judge`, in the same order, on fwknop's format (fwknop/README.md).

use postern_fwknop::{Packet, Reason};
use postern_proto::Mark;

use super::decision::{Admission, ApprovedRequest, Decision, Rejection};
use super::fwknop_keys::{FWKNOP_WINDOW, FwknopRow, FwknopUser, FwknopUsers};
use super::fwknop_request::{self, Candidate};
use super::judge::Gate;
use super::replay;
use crate::model::datagram::Datagram;
use crate::model::mark::MarkRecord;
use crate::model::reason::{Drop, Rule};
use crate::model::time::Timestamp;

impl Gate {
    /// The keys of users who knock with fwknop's clients, to look for the user on another thread.
    pub fn fwknop_users(&self) -> FwknopUsers {
        self.fwknop.clone()
    }

    /// Whether a datagram is a packet of fwknop, if it is anybody's. No knock of ours is.
    pub fn may_be_fwknop(&self, datagram: &Datagram) -> bool {
        self.fwknop.may_be(datagram.payload())
    }

    /// Decides on a packet of fwknop and counts the reason. `found` is what [`FwknopUsers::find`] said of it.
    pub fn handle_fwknop(
        &mut self,
        now: Timestamp,
        datagram: &Datagram,
        found: Result<FwknopRow, Reason>,
    ) -> Decision {
        let now = self.replay.clock(now);
        let judged = found
            .map_err(|reason| Drop::Fwknop(reason).into())
            .and_then(|row| self.judge_fwknop(now, datagram, row));
        self.decide(judged)
    }

    /// Decides on a copy of a packet that was decided before. No key is tried for it, so that copies take no time from
    /// packets of others.
    pub fn handle_fwknop_copy(&mut self, now: Timestamp, datagram: &Datagram) -> Option<Decision> {
        let now = self.replay.clock(now);
        let packet = Packet::parse(datagram.payload()).ok()?;
        let reason = self.copy(now, Mark(packet.mark().0)).err()?;
        Some(self.decide(Err(reason.into())))
    }

    fn judge_fwknop(
        &mut self,
        now: Timestamp,
        datagram: &Datagram,
        row: FwknopRow,
    ) -> Result<Admission, Rejection> {
        // Steps 1 to 3: length, form and mac, which was found to be this user's.
        let packet = Packet::parse(datagram.payload()).map_err(Drop::Fwknop)?;
        let users = self.fwknop.clone();
        let user = users.get(row).ok_or(Drop::Fwknop(Reason::Mac))?;
        let verified = user.key.verify(&packet).map_err(Drop::Fwknop)?;

        // Steps 7 and 8, early for a copy of an earlier packet.
        let mark = Mark(packet.mark().0);
        self.copy(now, mark)?;

        // Steps 4 and 5: cipher and fields. Only the canonical text opens, so the mark has one packet. The key of a user
        // who shares only the key of the mac may not open it.
        let opened = user.key.open(&verified);
        let mut sharing = users.sharing(row, &packet).peekable();
        let Some((user, opened)) = sharing.peek() else {
            return Err(Drop::Fwknop(opened.err().unwrap_or(Reason::Key)).into());
        };
        let (user, request) = (*user, opened.request.clone());

        // Step 7: window. Step 8: mark.
        let timestamp = Timestamp::from_millis(request.timestamp_s.saturating_mul(1000));
        let member = self.users.member(user.user);
        let policy = member.map(|member| member.policy);
        let policy = policy.ok_or(Drop::Fwknop(Reason::Mac))?;
        let (number, name, window) = (user.user, &policy.user, FWKNOP_WINDOW);
        self.clocks.note(number, name, now, timestamp, window);
        self.replay.fresh(number, now, timestamp, window)?;
        let record = MarkRecord {
            mark,
            timestamp,
            admitted: now,
        };
        self.replay.unseen(&record)?;

        // Step 9: policy, of each user with this key until one allows the request. Step 10: quota, of that one.
        let source = datagram.source();
        let approve = |user: &FwknopUser| {
            let policy = self.users.member(user.user).map(|member| member.policy);
            let candidate = Candidate {
                user,
                policy: policy.ok_or(Rule::User)?,
                catalog: &self.catalog,
            };
            let approved = candidate.approve(now, &request, source, datagram.destination());
            approved.map(ApprovedRequest::Open)
        };
        let mut turns = sharing.map(|(user, _)| (user.user, approve(user)));
        let first = (user.user, Err(Rule::User));
        let first = turns.next().unwrap_or(first);
        let (decided, approved) = match &first {
            (_, Ok(_)) => first,
            (_, Err(_)) => turns
                .find(|(_, approved)| approved.is_ok())
                .unwrap_or(first),
        };
        let asked = || fwknop_request::asked(&request, source);
        self.settle(decided, &record, approved, asked)
    }

    /// An error if the mark is known: a key decrypted the same packet before, whether it was admitted or refused.
    fn copy(&self, now: Timestamp, mark: Mark) -> Result<(), Drop> {
        match self.replay.known(&mark) {
            Some(known) if now.since(known.timestamp) > FWKNOP_WINDOW => Err(Drop::TooOld),
            Some(known) => Err(replay::again(known.admitted, now)),
            None => Ok(()),
        }
    }
}
