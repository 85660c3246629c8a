//! Users disabled, enabled and removed: each has a file of his own, and the running daemon is told.
//!
//! What nobody may open any more is no longer closed by Postern. So the last user of a service is not removed without a word.

use std::fs;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::config_files::{ConfigFiles, replace};
use super::reload::{Outcome, reload};
use crate::adapters::config::{Change, KeyKind, edited};
use crate::model::exit::{ExitError, FAILED};
use crate::model::policy::Policy;
use crate::model::service::{self, Ports};
use crate::model::settings::Settings;

/// What came of it.
#[derive(Debug)]
pub struct Changed {
    /// The user's file.
    pub file: PathBuf,
    /// False where the user was so already, and nothing was written.
    pub is_new: bool,
    /// What became of the reload; `None` where nothing was written.
    pub reload: Option<Outcome>,
    /// A key file that only this user had and that is still there.
    pub left: Option<PathBuf>,
}

/// Disables a user, or enables one again. The key is kept; services stay closed for everyone else.
///
/// # Errors
/// Exit 1 where there is no such user, or not in a file of his own; 78 for a config that is wrong.
pub fn disable(config: &Path, name: &str, disabled: bool) -> Result<Changed, ExitError> {
    let mut files = ConfigFiles::open(config)?;
    let (user, file) = files.own_file(name)?;
    let path = file.path.clone();
    if user.disabled == disabled {
        return Ok(Changed {
            file: path,
            is_new: false,
            reload: None,
            left: None,
        });
    }
    let change = if disabled {
        Change::Set("disabled", "true")
    } else {
        Change::Take("disabled")
    };
    let text = edited(file, &[change]).ok_or_else(|| by_hand(&path))?;
    files.judge(&path, Some(&text))?;
    if files.user(name)?.disabled != disabled {
        return Err(by_hand(&path));
    }
    replace(&path, &text)?;
    let reload = reload(&files.settings.gate.control_socket);
    Ok(Changed {
        file: path,
        is_new: true,
        reload: Some(reload),
        left: None,
    })
}

/// Removes a user, file and key. `unprotect` says that services may be open to everyone then.
///
/// # Errors
/// As [`disable`]; exit 1 also where a service would be closed for nobody any more.
pub fn remove(config: &Path, name: &str, unprotect: bool) -> Result<Changed, ExitError> {
    let mut files = ConfigFiles::open(config)?;
    let (user, file) = files.own_file(name)?;
    let path = file.path.clone();
    let left = match &user.key {
        KeyKind::SharedFile(path) => Some(path.clone()),
        _ => None,
    };
    let policy = user.policy.clone();
    files.judge(&path, None)?;
    let opened = no_longer_closed(&policy, &files.settings);
    if !opened.is_empty() && !unprotect {
        let what = format!(
            "without {name} nobody may open {}, so posternd would not close it any more",
            opened.join(", ")
        );
        let cure = format!(
            "take only the right away with: posternd user disable {name}, or say --unprotect"
        );
        return Err(ExitError::new(FAILED, format!("{what}; {cure}")));
    }
    fs::remove_file(&path).map_err(|error| {
        ExitError::new(
            FAILED,
            format!("{} can't be removed: {error}", path.display()),
        )
    })?;
    let reload = reload(&files.settings.gate.control_socket);
    Ok(Changed {
        file: path,
        is_new: true,
        reload: Some(reload),
        left,
    })
}

/// Where a text is so unusual that the change did not come to what it should.
pub(super) fn by_hand(path: &Path) -> ExitError {
    ExitError::new(
        FAILED,
        format!(
            "{} is written in a way that only a person can change; edit it there, then: posternd reload",
            path.display()
        ),
    )
}

/// What this user could open and these settings, in which the user is missing, do not close for everyone else.
fn no_longer_closed(user: &Policy, without: &Settings) -> Vec<String> {
    let alone = Settings {
        policies: vec![user.clone()],
        disabled: Vec::new(),
        ..without.clone()
    }
    .protection();
    let others = without.protection();
    let at_gate = alone
        .services
        .iter()
        .filter(|ports| !service::covered(&others.services, **ports))
        .map(ToString::to_string);
    let hidden = if alone.hide_behind {
        alone.behind.as_slice()
    } else {
        &[]
    };
    let is_hidden = |network: &IpNet, ports: Ports| {
        others.behind.iter().any(|(wider, range)| {
            wider.contains(network) && service::covered(std::slice::from_ref(range), ports)
        })
    };
    let behind = hidden
        .iter()
        .filter(|(network, ports)| !is_hidden(network, *ports))
        .map(|(network, ports)| format!("{ports} at {network}"));
    at_gate.chain(behind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::config::bundle::{Bundle, BundleFile};

    /// What is open without alice, who may open these, at a gate where others may open those.
    fn opened(protect: &str, alice: &str, others: &str) -> Vec<String> {
        let text = format!(
            "[gate]\nname = \"g\"\n[firewall]\nprotect = \"{protect}\"\n[service.web]\nports = [\"tcp/80\"]\n"
        );
        let key = |byte: u8| {
            postern_proto::SharedKey::from_bytes([byte; 32])
                .to_base64()
                .to_string()
        };
        let user = |byte, name: &str, lines: &str| {
            format!(
                "[[user]]\nname = \"{name}\"\nkey = \"{}\"\n{lines}\n",
                key(byte)
            )
        };
        let load = |users: String| {
            let main = Some(BundleFile {
                path: "posternd.toml".into(),
                text: (text.clone() + &users).into(),
            });
            crate::adapters::config::load(&Bundle {
                main,
                ..Bundle::default()
            })
            .unwrap()
            .settings
        };
        let alone = load(user(1, "alice", alice));
        let without = load(if others.is_empty() {
            String::new()
        } else {
            user(2, "bob", others)
        });
        no_longer_closed(&alone.policies[0], &without)
    }

    #[test]
    fn what_only_the_removed_user_could_open_is_named() {
        let alice = "services = [\"tcp/22\", \"web\"]\ntargets = [\"10.0.0.0/24\"]";
        assert_eq!(
            opened("services", alice, ""),
            [
                "tcp/22",
                "tcp/80",
                "tcp/22 at 10.0.0.0/24",
                "tcp/80 at 10.0.0.0/24"
            ]
        );
        assert_eq!(
            opened(
                "services",
                alice,
                "services = [\"tcp/20-30\"]\ntargets = [\"10.0.0.0/8\"]"
            ),
            ["tcp/80", "tcp/80 at 10.0.0.0/24"]
        );
        assert_eq!(
            opened("services", alice, &format!("{alice}\ndisabled = true")),
            [""; 0]
        );
        assert_eq!(opened("none", alice, ""), [""; 0]);
    }
}
