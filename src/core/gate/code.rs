//! One-time codes (RFC 6238): is this code right now, and was it used before? proto/README.md section 6, step 9.
//!
//! RFC 6238 section 5.2 wants each code to count once. One `postern knock` sends the same code over IPv4 and IPv6.
//! So a code counts once for each family of the allow address. Wrong codes block the user for a while: a stolen
//! key must not let its thief guess codes. The store keeps this memory, too.

use std::cell::Cell;
use std::time::Duration;

use ipnet::IpNet;
use postern_proto::{Code, CodeKey, CodeStep, Mark};
use sha2::{Digest, Sha256};

use super::decision::ApprovedRequest;
use crate::model::mark::UsedCodes;
use crate::model::reason::{CodeFault, Rule};
use crate::model::time::Timestamp;

const WRONG_MAX: u32 = 5;
/// Time after which one wrong code is forgotten. Three of a million codes are right: an even chance takes 160 days of guessing.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Codes {
    key: CodeKey,
    used: Cell<UsedCodes>,
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

/// Names the code that an approved request has just used, the same at each gate.
pub(super) fn used_up(
    codes: Option<&Codes>,
    user: &str,
    approved: &ApprovedRequest,
) -> Option<Mark> {
    let (Some(codes), ApprovedRequest::Open(open)) = (codes, approved) else {
        return None;
    };
    let mut hash = Sha256::new();
    hash.update(b"code");
    hash.update(codes.used().step?.to_be_bytes());
    hash.update([u8::from(open.allow.addr().is_ipv6())]);
    hash.update(user);
    Some(Mark::of(hash.finalize().into()))
}

impl Codes {
    pub(super) fn new(key: CodeKey) -> Self {
        Self {
            key,
            used: Cell::default(),
        }
    }

    pub(super) fn used(&self) -> UsedCodes {
        self.used.get()
    }

    pub(super) fn recall(&self, used: UsedCodes) {
        self.used.set(used);
    }

    /// Accepts the code of this step, of the one before or of the one after, and marks it as used.
    fn accept(&self, now: Timestamp, code: Option<&Code>, allow: IpNet) -> Result<(), CodeFault> {
        let code = code.ok_or(CodeFault::Missing)?;
        let mut used = self.used.get();
        if used.clean.since(now) > FORGIVEN_AFTER.saturating_mul(WRONG_MAX.saturating_sub(1)) {
            return Err(CodeFault::Blocked);
        }
        let steps = around(CodeStep::of(now.as_millis()));
        let right = steps
            .into_iter()
            .zip(self.key.right_at(code, steps))
            .filter_map(|(step, right)| right.then_some(step));
        let usable = right.clone().find(|step| may_use(used, *step, allow));
        let verdict = match (right.clone().next(), usable) {
            (None, _) => {
                used.clean = used.clean.max(now).plus(FORGIVEN_AFTER);
                Err(CodeFault::Wrong)
            }
            (Some(_), None) => Err(CodeFault::Used),
            (Some(_), Some(step)) => {
                use_up(&mut used, step, allow);
                Ok(())
            }
        };
        self.used.set(used);
        verdict
    }
}

fn may_use(used: UsedCodes, CodeStep(step): CodeStep, allow: IpNet) -> bool {
    let in_family = match allow {
        IpNet::V4(_) => used.v4,
        IpNet::V6(_) => used.v6,
    };
    match used.step {
        Some(last) if step < last => false,
        Some(last) if step == last => !in_family,
        _ => true,
    }
}

fn use_up(used: &mut UsedCodes, CodeStep(step): CodeStep, allow: IpNet) {
    if used.step != Some(step) {
        (used.step, used.v4, used.v6) = (Some(step), false, false);
    }
    match allow {
        IpNet::V4(_) => used.v4 = true,
        IpNet::V6(_) => used.v6 = true,
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
