//! A unit of systemd for one run of a hook: the arguments of `systemd-run`.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Runs a hook outside the limits of posternd's own unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookUnit {
    /// The system user; `None`: root.
    pub user: Option<String>,
}

impl HookUnit {
    /// The arguments of `systemd-run` for a program with these arguments. It passes output and exit status on. systemd ends the
    /// program after this time, even if nobody waits for it any more.
    pub(crate) fn arguments(
        &self,
        limit: Duration,
        program: &Path,
        arguments: &[String],
    ) -> Vec<String> {
        let options = ["--quiet", "--collect", "--wait", "--pipe"].map(str::to_owned);
        let mut all = options.to_vec();
        // An administrator limits all hooks by this slice.
        all.push("--slice=postern-hooks.slice".to_owned());
        all.push("--service-type=exec".to_owned());
        all.push("--description=A hook of Postern".to_owned());
        all.push(format!("--property=RuntimeMaxSec={}", limit.as_secs()));
        all.push("--property=KillSignal=SIGKILL".to_owned());
        let user = self.user.iter();
        all.extend(user.map(|user| format!("--property=User={user}")));
        all.push("--".to_owned());
        all.push(program.to_string_lossy().into_owned());
        // systemd puts the values of variables in place of $NAME.
        all.extend(arguments.iter().map(|one| one.replace('$', "$$")));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_a_hook_stay_as_they_are() {
        let unit = HookUnit {
            user: Some("backup".to_owned()),
        };
        let hook = ["-x", "--", "a $HOME; b", ""].map(str::to_owned);
        let limit = Duration::from_secs(9);
        let all = unit.arguments(limit, Path::new("/bin/hook"), &hook);
        let end = all.iter().position(|one| one == "--").unwrap();
        assert!(all[..end].iter().all(|one| one.starts_with("--")));
        assert!(all[..end].contains(&"--property=User=backup".to_owned()));
        let expected = ["--", "/bin/hook", "-x", "--", "a $$HOME; b", ""];
        assert_eq!(all[end..], expected);
    }
}
