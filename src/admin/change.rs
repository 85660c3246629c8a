//! Disables, enables and removes users, and reloads the running daemon.
//!
//! Postern closes only what some user may open. So removing the last user of a service needs a confirmation.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::config_files::{self, ConfigFiles, replace};
use super::reload::{ReloadResult, reload};
use crate::adapters::config::{Edit, KeyKind, edited};
use crate::model::exit::{ExitError, FAILED};
use crate::model::policies::Policies;
use crate::model::policy::Policy;
use crate::model::service::{self, Ports};
use crate::model::settings::Settings;

#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) file: PathBuf,
    pub(crate) is_new: bool,
    pub(crate) reload: Option<ReloadResult>,
    pub(crate) left: Option<PathBuf>,
}

/// Disables or enables a user. The key stays; services stay closed to everyone else.
/// Exit 1 if there is no such user in a file of his own; 78 for an invalid config.
pub(crate) fn disable(config: &Path, name: &str, disabled: bool) -> Result<Changed, ExitError> {
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
        Edit::Set("disabled", "true")
    } else {
        Edit::Remove("disabled")
    };
    let text = edited(file, &[change]).ok_or_else(|| by_hand(&path))?;
    files.check(&path, Some(&text))?;
    if files.user(name)?.disabled != disabled {
        return Err(by_hand(&path));
    }
    replace(&path, &text)?;
    Ok(changed(path, &files.settings, None))
}

/// Removes a user with file and key. With `unprotect`, services may then be open to everyone.
pub(crate) fn remove(config: &Path, name: &str, unprotect: bool) -> Result<Changed, ExitError> {
    let mut files = ConfigFiles::open(config)?;
    let (user, file) = files.own_file(name)?;
    let path = file.path.clone();
    let left = match &user.key {
        KeyKind::SharedFile(path) => Some(path.clone()),
        _ => None,
    };
    let policy = user.policy.clone();
    files.check(&path, None)?;
    let opened = no_longer_closed(&policy, &files.settings);
    if !opened.is_empty() && !unprotect {
        let what = format!("without {name} nobody may open {}", opened.join(", "));
        let what = format!("{what}, so posternd would no longer close it");
        let cure = format!("keep it closed with: posternd user disable {name}, or add --unprotect");
        return Err(ExitError::new(FAILED, format!("{what}; {cure}")));
    }
    config_files::remove(&path)?;
    Ok(changed(path, &files.settings, left))
}

fn changed(file: PathBuf, settings: &Settings, left: Option<PathBuf>) -> Changed {
    Changed {
        file,
        is_new: true,
        reload: Some(reload(&settings.gate.control_socket)),
        left,
    }
}

pub(super) fn by_hand(path: &Path) -> ExitError {
    let what = format!(
        "{} has an unusual form that cannot be changed here",
        path.display()
    );
    ExitError::new(FAILED, format!("{what}; edit it, then: posternd reload"))
}

fn no_longer_closed(user: &Policy, without: &Settings) -> Vec<String> {
    let alone = Settings {
        policies: vec![user.clone()].into(),
        disabled: Policies::default(),
        ..without.clone()
    }
    .protection();
    let others = without.protection();
    let at_gate = alone.services.iter();
    let at_gate = at_gate.filter(|ports| !service::covered(&others.services, **ports));
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
    at_gate.map(ToString::to_string).chain(behind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::config::bundle::Bundle;

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
            let bundle = Bundle::of_main("posternd.toml", text.clone() + &users);
            crate::adapters::config::load(&bundle).unwrap().settings
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
    fn services_of_the_removed_user_alone_are_named() {
        let alice = "services = [\"tcp/22\", \"web\"]\ntargets = [\"10.0.0.0/24\"]";
        let bob = "services = [\"tcp/20-30\"]\ntargets = [\"10.0.0.0/8\"]";
        let disabled = format!("{alice}\ndisabled = true");
        for (protect, others, named) in [
            (
                "services",
                "",
                "tcp/22, tcp/80, tcp/22 at 10.0.0.0/24, tcp/80 at 10.0.0.0/24",
            ),
            ("services", bob, "tcp/80, tcp/80 at 10.0.0.0/24"),
            ("services", &disabled, ""),
            ("none", "", ""),
        ] {
            assert_eq!(opened(protect, alice, others).join(", "), named);
        }
    }
}
