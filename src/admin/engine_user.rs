//! Finds or makes the engine's system user, with the host's own programs.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::run::{Call, OUTPUT, Ran, Run, RunError};

pub(super) const NAME: &str = "postern";

pub(super) const NOBODY: &str = "nobody";

/// These programs may wait for locks of others.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineUser {
    Exists,
    Made,
    Missing(String),
}

type Recipe = &'static [(&'static str, &'static str)];

/// Of shadow-utils, which nearly every distribution has; then of busybox.
const RECIPES: [Recipe; 2] = [
    &[(
        "useradd",
        "--system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin",
    )],
    &[
        ("addgroup", "-S"),
        ("adduser", "-S -D -H -h /nonexistent -s /sbin/nologin -G"),
    ],
];

pub(super) fn ensure(
    name: &str,
    run: &mut dyn Run,
    find: impl Fn(&str) -> Option<PathBuf>,
    exists: impl Fn(&str) -> bool,
) -> EngineUser {
    if exists(name) {
        return EngineUser::Exists;
    }
    let mut refused = Vec::new();
    for recipe in RECIPES {
        let calls = recipe
            .iter()
            .map(|(program, args)| Some((find(program)?, *args)));
        let Some(calls) = calls.collect::<Option<Vec<_>>>() else {
            continue;
        };
        let failed = calls.iter().find_map(|(program, args)| {
            // adduser of busybox takes the group's name before the user's name; both are the same.
            let names = if args.ends_with("-G") { 2 } else { 1 };
            let names = std::iter::repeat_n(name, names);
            let args: Vec<&str> = args.split(' ').chain(names).collect();
            let ran = run.run(&Call {
                program,
                args: &args,
                stdin: b"",
                most: OUTPUT,
            });
            failure(&ran).map(|why| format!("{} {why}", program.display()))
        });
        match failed {
            None if exists(name) => return EngineUser::Made,
            None => {
                let program = recipe.first().map_or("", |(program, _)| program);
                refused.push(format!("{program} did not create the user"));
            }
            Some(why) => refused.push(why),
        }
    }
    EngineUser::Missing(if refused.is_empty() {
        "there is no useradd or adduser on this host".to_owned()
    } else {
        refused.join("; ")
    })
}

fn failure(ran: &Result<Ran, RunError>) -> Option<String> {
    match ran {
        Ok(Ran {
            status: Some(0), ..
        }) => None,
        Ok(Ran { status, stderr, .. }) => {
            let status = status.map(|status| format!("exit status {status}"));
            let status = status.unwrap_or_else(|| "a signal".to_owned());
            let said = stderr.lines().next().map(|line| format!(": {line}"));
            let said = said.unwrap_or_default();
            Some(format!("failed with {status}{said}"))
        }
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

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
    fn a_user_that_exists_is_left_alone() {
        let made = Cell::new(true);
        let mut script = Script {
            ran: Vec::new(),
            status: |_| 0,
            made: &made,
        };
        let found = ensure("postern", &mut script, |_| Some("/x".into()), |_| true);
        assert_eq!(found, EngineUser::Exists);
        assert_eq!(script.ran, [""; 0]);
    }

    #[test]
    fn user_is_made_with_the_programs_of_the_host() {
        let useradd = "useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin postern";
        let addgroup = "addgroup -S postern";
        let adduser = "adduser -S -D -H -h /nonexistent -s /sbin/nologin -G postern postern";
        for (programs, ran) in [
            (&["useradd", "adduser", "addgroup"][..], &[useradd][..]),
            (&["adduser", "addgroup"], &[addgroup, adduser]),
        ] {
            let (outcome, all) = outcome(programs, |_| 0);
            assert_eq!(outcome, EngineUser::Made);
            assert_eq!(all, ran);
        }
        let failing = |program: &str| i32::from(program != "adduser") * 10;
        let failed = "failed with exit status 10: cannot lock /etc/passwd";
        let (without_group, ran) = outcome(&["addgroup", "adduser"], failing);
        let why = format!("/usr/sbin/addgroup {failed}");
        assert_eq!(without_group, EngineUser::Missing(why));
        assert_eq!(ran, [addgroup]);
        let none = "there is no useradd or adduser on this host".to_owned();
        let expected = (EngineUser::Missing(none), vec![]);
        assert_eq!(outcome(&["adduser"], failing), expected);
    }
}
