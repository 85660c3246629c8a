//! One-time codes (RFC 6238): is this code right now, and was it used before? proto/README.md section 6, step 9.
//!
//! RFC 6238 section 5.2 wants each code to count once. One `postern knock` sends the same code over IPv4 and IPv6.
//! So a code counts once for each family of the allow address. Wrong codes block the user for a while: a stolen
//! key must not let its thief guess codes. This memory is lost with the engine; marks still stop replays.

use std::cell::Cell;
use std::time::Duration;

use ipnet::IpNet;
use postern_proto::{Code, CodeKey, CodeStep};

use super::decision::ApprovedRequest;
use crate::model::reason::{CodeFault, Rule};
use crate::model::time::Timestamp;

const WRONG_MAX: u32 = 5;
/// Time after which one wrong code is forgotten. Three of a million codes are right: an even chance takes 160 days of guessing.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Codes {
    key: CodeKey,
    seen: Cell<Seen>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    step: Option<CodeStep>,
    v4: bool,
    v6: bool,
    clean: Timestamp,
}

/// The last check of step 9, so that a knock that the policy refuses uses up no code. Closing needs no code.
pub(super) fn check(
    codes: Option<&Codes>,
    now: Timestamp,
    code: Option<&Code>,
    approved: &ApprovedRequest,
) -> Result<(), Rule> {
    match (codes, approved) {
        (Some(codes), ApprovedRequest::Open(open)) => {
            codes.accept(now, code, open.allow).map_err(Rule::Code)
        }
        _ => Ok(()),
    }
}

impl Codes {
    pub(super) fn new(key: CodeKey) -> Self {
        Self {
            key,
            seen: Cell::default(),
        }
    }

    /// Accepts the code of this step, of the one before or of the one after, and marks it as used.
    fn accept(&self, now: Timestamp, code: Option<&Code>, allow: IpNet) -> Result<(), CodeFault> {
        let code = code.ok_or(CodeFault::Missing)?;
        let mut seen = self.seen.get();
        if seen.clean.since(now) > FORGIVEN_AFTER.saturating_mul(WRONG_MAX.saturating_sub(1)) {
            return Err(CodeFault::Blocked);
        }
        let steps = around(CodeStep::of(now.as_millis()));
        let right = steps
            .into_iter()
            .zip(self.key.right_at(code, steps))
            .filter_map(|(step, right)| right.then_some(step));
        let usable = right.clone().find(|step| seen.may_use(*step, allow));
        let verdict = match (right.clone().next(), usable) {
            (None, _) => {
                seen.clean = seen.clean.max(now).plus(FORGIVEN_AFTER);
                Err(CodeFault::Wrong)
            }
            (Some(_), None) => Err(CodeFault::Used),
            (Some(_), Some(step)) => {
                seen.use_up(step, allow);
                Ok(())
            }
        };
        self.seen.set(seen);
        verdict
    }
}

impl Seen {
    fn may_use(&self, step: CodeStep, allow: IpNet) -> bool {
        match self.step {
            Some(last) if step < last => false,
            Some(last) if step == last => !self.used(allow),
            _ => true,
        }
    }

    fn used(&self, allow: IpNet) -> bool {
        match allow {
            IpNet::V4(_) => self.v4,
            IpNet::V6(_) => self.v6,
        }
    }

    fn use_up(&mut self, step: CodeStep, allow: IpNet) {
        if self.step != Some(step) {
            (self.step, self.v4, self.v6) = (Some(step), false, false);
        }
        match allow {
            IpNet::V4(_) => self.v4 = true,
            IpNet::V6(_) => self.v6 = true,
        }
    }
}

/// The steps whose codes are right now: clocks differ, and typing takes time.
fn around(CodeStep(now): CodeStep) -> [CodeStep; 3] {
    [
        CodeStep(now.saturating_sub(1)),
        CodeStep(now),
        CodeStep(now.saturating_add(1)),
    ]
}
