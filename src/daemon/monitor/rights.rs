//! The rights that the monitor needs, and the user that the engine becomes.

use std::path::Path;

use caps::{CapSet, Capability};

use crate::adapters::files;
use crate::model::exit::{CONFIG, ExitError, PERMISSION};
use crate::model::settings::CaptureKind;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunAs {
    /// User and group; `None` if this user namespace has no other one.
    pub ids: Option<(u32, u32)>,
    pub note: Option<String>,
}

/// Checks that this process may change the firewall.
pub(crate) fn check() -> Result<(), ExitError> {
    require(Capability::CAP_NET_ADMIN, "to change the firewall", "")
}

/// Checks that this process may be the monitor of a gate that captures so.
pub(crate) fn check_monitor(capture: CaptureKind) -> Result<(), ExitError> {
    check()?;
    if capture != CaptureKind::Packet {
        return Ok(());
    }
    let or_else = ", or write capture = { nflog = 5 } in [gate]";
    require(Capability::CAP_NET_RAW, "to capture knocks", or_else)
}

fn require(capability: Capability, what_for: &str, or_else: &str) -> Result<(), ExitError> {
    if caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false) {
        return Ok(());
    }
    Err(ExitError::new(
        PERMISSION,
        format!(
            "{capability} is missing, which posternd needs {what_for}; run it as root{or_else}"
        ),
    ))
}

pub(crate) fn run_as(name: &str) -> Result<RunAs, ExitError> {
    let user = nix::unistd::User::from_name(name).ok().flatten();
    let user = user.ok_or_else(|| {
        ExitError::new(CONFIG, format!("run_as: there is no user \"{name}\"; make one with: useradd --system --no-create-home {name}"))
    })?;
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    if uid == 0 {
        let what = "run_as: the engine must not run as root; name an unprivileged user";
        return Err(ExitError::new(CONFIG, what));
    }
    if mapped("/proc/self/uid_map", uid) && mapped("/proc/self/gid_map", gid) {
        return Ok(RunAs {
            ids: Some((uid, gid)),
            note: None,
        });
    }
    Ok(RunAs {
        ids: None,
        note: Some(format!(
            "this user namespace has no user \"{name}\": the engine keeps the monitor's user, without capabilities"
        )),
    })
}

/// Whether this id exists in this user namespace. A row of the map has the first id inside, the first id outside, and a count.
fn mapped(map: &str, id: u32) -> bool {
    let Ok(rows) = files::read_system(Path::new(map)) else {
        return true;
    };
    rows.lines().any(|row| {
        let numbers = row.split_whitespace();
        let mut numbers = numbers.filter_map(|number| number.parse::<u64>().ok());
        match (numbers.next(), numbers.nth(1)) {
            (Some(first), Some(count)) => {
                (first..first.saturating_add(count)).contains(&u64::from(id))
            }
            _ => false,
        }
    })
}
