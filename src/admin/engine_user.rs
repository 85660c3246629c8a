//! The engine's own system user: found, or made with the host's program for that.
//!
//! Which programs there are differs from system to system; whoever has none gets the next best user and is told.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::run::{Call, OUTPUT, Ran, Run, RunError};

/// The engine's user on a host that Postern is set up on.
pub(super) const NAME: &str = "postern";

/// Who packets are read as where no user can be made.
pub(super) const NOBODY: &str = "nobody";

/// These programs lock and rewrite files that others may be using.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// How the engine's user came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineUser {
    /// It was there.
    There,
    /// It was made.
    Made,
    /// It is not there and can't be made, and why.
    Missing(String),
}

/// A way to make a user: programs to run one after another, all of which must succeed.
type Way = &'static [(&'static str, &'static [&'static str])];

/// Of shadow-utils, which nearly every distribution has; then of busybox.
const WAYS: [Way; 2] = [
    &[(
        "useradd",
        &[
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            "/nonexistent",
            "--shell",
            "/usr/sbin/nologin",
        ],
    )],
    &[
        ("addgroup", &["-S"]),
        (
            "adduser",
            &[
                "-S",
                "-D",
                "-H",
                "-h",
                "/nonexistent",
                "-s",
                "/sbin/nologin",
                "-G",
            ],
        ),
    ],
];

/// Finds this user or makes it. `find` says where a program is, `is_there` whether the system knows the user.
pub(super) fn ensure(
    name: &str,
    run: &mut dyn Run,
    find: impl Fn(&str) -> Option<PathBuf>,
    is_there: impl Fn(&str) -> bool,
) -> EngineUser {
    if is_there(name) {
        return EngineUser::There;
    }
    let mut refused = Vec::new();
    for way in WAYS {
        let Some(calls) = way
            .iter()
            .map(|(program, args)| Some((find(program)?, *args)))
            .collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let failed = calls.iter().find_map(|(program, args)| {
            // busybox's adduser wants the group's name before the user's, which is the same.
            let names: &[&str] = if args.last() == Some(&"-G") {
                &[name, name]
            } else {
                &[name]
            };
            let args = [args, names].concat();
            let ran = run.run(&Call {
                program,
                args: &args,
                stdin: b"",
                most: OUTPUT,
            });
            why(&ran).map(|why| format!("{} {why}", program.display()))
        });
        match failed {
            None if is_there(name) => return EngineUser::Made,
            None => refused.push(format!(
                "{} did not make it",
                way.first().map_or("", |(program, _)| program)
            )),
            Some(why) => refused.push(why),
        }
    }
    let none = || "there is no useradd or adduser on this host".to_owned();
    EngineUser::Missing(if refused.is_empty() {
        none()
    } else {
        refused.join("; ")
    })
}

/// Why a program did not do its work, in one line.
fn why(ran: &Result<Ran, RunError>) -> Option<String> {
    match ran {
        Ok(Ran {
            status: Some(0), ..
        }) => None,
        Ok(Ran { status, stderr, .. }) => {
            let status = status.map_or("a signal".to_owned(), |status| {
                format!("exit status {status}")
            });
            let said = stderr
                .lines()
                .next()
                .map(|line| format!(": {line}"))
                .unwrap_or_default();
            Some(format!("failed with {status}{said}"))
        }
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Runs nothing and remembers what it would have run; each program ends as `status` says.
    struct Script<'a> {
        ran: Vec<String>,
        status: fn(&str) -> i32,
        made: &'a Cell<bool>,
    }

    impl Run for Script<'_> {
        fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
            let program = call.program.file_name().unwrap().to_str().unwrap();
            self.ran.push(format!("{program} {}", call.args.join(" ")));
            let status = (self.status)(program);
            self.made
                .set(self.made.get() || status == 0 && program != "addgroup");
            Ok(Ran {
                status: Some(status),
                stderr: "cannot lock /etc/passwd\nmore".to_owned(),
                ..Ran::default()
            })
        }
    }

    fn outcome(programs: &[&str], status: fn(&str) -> i32) -> (EngineUser, Vec<String>) {
        let made = Cell::new(false);
        let mut script = Script {
            ran: Vec::new(),
            status,
            made: &made,
        };
        let find = |name: &str| {
            programs
                .contains(&name)
                .then(|| PathBuf::from("/usr/sbin").join(name))
        };
        let outcome = ensure("postern", &mut script, find, |_| made.get());
        (outcome, script.ran)
    }

    #[test]
    fn a_user_that_is_there_is_left_alone() {
        let made = Cell::new(true);
        let mut script = Script {
            ran: Vec::new(),
            status: |_| 0,
            made: &made,
        };
        assert_eq!(
            ensure("postern", &mut script, |_| Some("/x".into()), |_| true),
            EngineUser::There
        );
        assert_eq!(script.ran, [""; 0]);
    }

    #[test]
    fn the_hosts_own_program_makes_it_without_home_shell_or_password() {
        let (outcome, ran) = outcome(&["useradd", "adduser", "addgroup"], |_| 0);
        assert_eq!(outcome, EngineUser::Made);
        assert_eq!(
            ran,
            [
                "useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin postern"
            ]
        );
    }

    #[test]
    fn busybox_makes_group_and_user() {
        let (outcome, ran) = outcome(&["adduser", "addgroup"], |_| 0);
        assert_eq!(outcome, EngineUser::Made);
        assert_eq!(
            ran,
            [
                "addgroup -S postern",
                "adduser -S -D -H -h /nonexistent -s /sbin/nologin -G postern postern"
            ]
        );
    }

    #[test]
    fn where_it_is_refused_or_there_is_no_program_the_reason_is_one_line() {
        let (refused, ran) = outcome(&["useradd"], |_| 10);
        assert_eq!(
            refused,
            EngineUser::Missing(
                "/usr/sbin/useradd failed with exit status 10: cannot lock /etc/passwd".to_owned()
            )
        );
        assert_eq!(ran.len(), 1);
        let (half, ran) = outcome(&["addgroup", "adduser"], |program| {
            i32::from(program == "addgroup")
        });
        assert!(
            matches!(half, EngineUser::Missing(_)) && ran.len() == 1,
            "{ran:?}"
        );
        assert_eq!(
            outcome(&["adduser"], |_| 0).0,
            EngineUser::Missing("there is no useradd or adduser on this host".to_owned())
        );
    }
}
