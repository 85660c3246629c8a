//! What becomes of each setting of fwknopd and knockd. `docs/from-fwknop-and-knockd.md` has the same rows; a test compares.

mod access;
mod fwknopd;
mod knockd;

pub(super) use access::ACCESS;
pub(super) use fwknopd::{BY_HAND, FWKNOPD};
pub(super) use knockd::{KNOCKD, UCI};

use crate::model::foreign::{Row, Verdict};

const fn convert(name: &'static str, becomes: &'static str) -> Row {
    row(name, Verdict::Convert, becomes, "", "")
}

const fn ignore(name: &'static str, why: &'static str) -> Row {
    row(name, Verdict::Ignore, "", why, "")
}

const fn narrow(
    name: &'static str,
    becomes: &'static str,
    why: &'static str,
    cure: &'static str,
) -> Row {
    row(name, Verdict::Narrow, becomes, why, cure)
}

const fn refuse(name: &'static str, why: &'static str, cure: &'static str) -> Row {
    row(name, Verdict::Refuse, "", why, cure)
}

const fn row(
    name: &'static str,
    verdict: Verdict,
    becomes: &'static str,
    why: &'static str,
    cure: &'static str,
) -> Row {
    Row {
        name,
        verdict,
        becomes,
        why,
        cure,
    }
}
