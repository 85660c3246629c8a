//! The driver against a script of outcomes: what it sends, and what it says of each change when a run fails.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::model::catalog::Forward;
use crate::model::grant::GrantId;
use crate::model::run::{Call, Ran, RunError};

mod numbered;

const TEN_O_CLOCK: Timestamp = Timestamp::from_millis(1_795_341_600_000);

pub(super) fn grant(id: u64, user: &str, allow: &str, services: &[&str]) -> Grant {
    Grant {
        id: GrantId(id),
        user: user.to_owned(),
        allow: allow.parse().unwrap(),
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        forwards: Vec::new(),
        until: TEN_O_CLOCK,
    }
}

pub(super) fn protection(services: &[&str]) -> Protection {
    Protection {
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        knock_ports: vec![62201],
        silence_knocks: true,
        hide_behind: true,
        ..Protection::default()
    }
}

pub(super) fn forward(at: &str, host: &str, port: Option<u16>, masquerade: bool) -> Forward {
    Forward::new(at.parse().unwrap(), host.parse().unwrap(), port, masquerade).unwrap()
}

const INSTALLED: &str = "*filter\n:INPUT ACCEPT [0:0]\n:POSTERN - [0:0]\n:POSTERN-GRANTS - [0:0]\n\
                         -A INPUT -j POSTERN\n-A POSTERN -j POSTERN-GRANTS\nCOMMIT\n";

type Answer = dyn FnMut(&str, &str) -> Option<Result<Ran, RunError>> + Send;

/// Answers as told; where it is told nothing, every run succeeds.
struct Script {
    log: Arc<Mutex<Vec<(String, String)>>>,
    answer: Arc<Mutex<Box<Answer>>>,
}

impl Run for Script {
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        let program = call
            .program
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let is_question = call.args == ["--version"];
        let input = if is_question {
            "--version".to_owned()
        } else {
            String::from_utf8(call.stdin.to_vec()).unwrap()
        };
        let answer = self.answer.lock().unwrap()(&program, &input);
        let stdout = if program.ends_with("save") {
            INSTALLED
        } else {
            ""
        };
        self.log.lock().unwrap().push((program, input));
        answer.unwrap_or_else(|| {
            Ok(Ran {
                status: Some(0),
                stdout: stdout.to_owned(),
                stderr: String::new(),
            })
        })
    }
}

/// A driver, what it ran since it was installed, and what will be answered.
struct World {
    driver: Iptables,
    log: Arc<Mutex<Vec<(String, String)>>>,
    answer: Arc<Mutex<Box<Answer>>>,
}

impl World {
    fn new(paths: Paths) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Mutex<Box<Answer>>> = Arc::new(Mutex::new(Box::new(|_, _| None)));
        let script = Script {
            log: Arc::clone(&log),
            answer: Arc::clone(&answer),
        };
        Self {
            driver: Iptables::new(Box::new(script), paths),
            log,
            answer,
        }
    }

    fn installed(live: &[Grant]) -> Self {
        let mut world = Self::new(paths());
        world
            .driver
            .install(&protection(&["tcp/22"]), live)
            .unwrap();
        world.ran();
        world
    }

    fn answers(
        &self,
        answer: impl FnMut(&str, &str) -> Option<Result<Ran, RunError>> + Send + 'static,
    ) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    fn ran(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn programs(&self) -> Vec<String> {
        self.ran().into_iter().map(|(program, _)| program).collect()
    }

    /// Which changes are done, and the first error.
    fn apply(&mut self, changes: &[Change]) -> (Vec<bool>, String) {
        let results = self.driver.apply(changes);
        let error = results
            .iter()
            .find_map(|result| result.as_ref().err())
            .map(ToString::to_string);
        (
            results.iter().map(Result::is_ok).collect(),
            error.unwrap_or_default(),
        )
    }
}

fn paths() -> Paths {
    let pair = |name: &str| Pair {
        restore: format!("/usr/sbin/{name}-restore").into(),
        save: format!("/usr/sbin/{name}-save").into(),
    };
    Paths {
        v4: pair("iptables"),
        v6: Some(pair("ip6tables")),
    }
}

fn exits(status: i32, stderr: &str) -> Option<Result<Ran, RunError>> {
    Some(Ok(Ran {
        status: Some(status),
        stdout: String::new(),
        stderr: stderr.to_owned(),
    }))
}

fn hangs() -> Option<Result<Ran, RunError>> {
    Some(Err(RunError::Deadline(Duration::from_secs(5))))
}

fn four(id: u64) -> Grant {
    grant(id, "al", &format!("192.0.2.{id}/32"), &["tcp/22"])
}

fn six(id: u64) -> Grant {
    grant(id, "al", &format!("2001:db8::{id}/128"), &["tcp/22"])
}

fn rule(id: u64) -> String {
    rules::grant_rules(&four(id), rules::Abilities { time: true })
        .unwrap()
        .remove(0)
}

#[test]
fn a_batch_is_one_run_for_each_family_that_has_changes() {
    let mut world = World::installed(&[four(1)]);
    let later = Grant {
        until: TEN_O_CLOCK.plus(Duration::from_secs(60)),
        ..four(1)
    };
    let batch = [
        Change::Open(four(2)),
        Change::Extend {
            old: four(1),
            new: later,
        },
        Change::Close(four(2)),
    ];
    assert_eq!(world.apply(&batch).0, [true; 3]);
    let later = rule(1)
        .replace("09:59:59", "10:00:59")
        .replace("1795341600000", "1795341660000");
    let input = format!(
        "*filter\n-A {0}\n-D {1}\n-A {later}\n-D {0}\nCOMMIT\n",
        rule(2),
        rule(1)
    );
    assert_eq!(world.ran(), [("iptables-restore".to_owned(), input)]);
    assert_eq!(
        world
            .apply(&[Change::Open(six(3)), Change::Open(four(4))])
            .0,
        [true; 2]
    );
    assert_eq!(world.programs(), ["iptables-restore", "ip6tables-restore"]);
}

#[test]
fn a_failing_firewall_is_never_reported_as_done() {
    for (answer, words) in [
        (
            exits(1, "\u{1}gar\u{fffd}bage"),
            "exit status 1: ?gar\u{fffd}bage",
        ),
        (
            exits(4, "Another app is currently holding the xtables lock."),
            "exit status 4",
        ),
        (
            exits(0, "").map(|_| {
                Ok(Ran {
                    status: None,
                    ..Ran::default()
                })
            }),
            "killed by a signal",
        ),
        (hangs(), "did not finish within 5s"),
        (
            Some(Err(RunError::Start("No such file or directory".to_owned()))),
            "apt-get install iptables",
        ),
    ] {
        let mut world = World::installed(&[four(1)]);
        let said = answer.clone();
        world.answers(move |_, _| said.clone());
        let later = Grant {
            until: TEN_O_CLOCK.plus(Duration::from_secs(60)),
            ..four(1)
        };
        let (done, error) = world.apply(&[
            Change::Open(four(2)),
            Change::Extend {
                old: four(1),
                new: later,
            },
            Change::Close(four(1)),
        ]);
        assert_eq!(done, [false; 3], "{words}");
        assert!(
            error.starts_with("/usr/sbin/iptables-") && error.contains(words),
            "{error}"
        );
        world.answers(|_, _| None);
        world.ran();
        assert_eq!(world.apply(&[Change::Close(four(1))]).0, [true], "{words}");
        let (_, input) = world.ran().pop().unwrap();
        assert!(
            !input.contains("-A POSTERN-GRANTS"),
            "what failed came back: {input}"
        );
    }
}

#[test]
fn the_one_change_that_the_firewall_refuses_does_not_take_the_others_with_it() {
    let mut world = World::installed(&[]);
    world.answers(|_, input| {
        if input.contains("192.0.2.2/32") {
            exits(2, "no sctp here")
        } else {
            None
        }
    });
    let (done, error) = world.apply(&[
        Change::Open(four(1)),
        Change::Open(four(2)),
        Change::Open(six(3)),
        Change::Open(four(4)),
    ]);
    assert_eq!(done, [true, false, true, true]);
    assert!(error.contains("no sctp here"), "{error}");
    world.answers(|_, _| None);
    world.ran();
    world.driver.apply(&[
        Change::Close(four(1)),
        Change::Close(four(2)),
        Change::Close(four(4)),
    ]);
    let input = format!("*filter\n-D {}\n-D {}\nCOMMIT\n", rule(1), rule(4));
    assert_eq!(
        world.ran(),
        [("iptables-restore".to_owned(), input)],
        "only what was opened is closed"
    );
}

#[test]
fn a_name_that_could_break_out_is_refused_before_anything_runs() {
    let mut world = World::installed(&[]);
    let evil = Grant {
        user: "a\" -j ACCEPT\n-F INPUT".to_owned(),
        ..four(1)
    };
    assert_eq!(
        world
            .apply(&[Change::Open(evil.clone()), Change::Open(four(2))])
            .0,
        [false, true]
    );
    assert!(
        world
            .ran()
            .iter()
            .all(|(_, input)| !input.contains("-F INPUT"))
    );
    assert!(world.driver.install(&protection(&[]), &[evil]).is_err());
    assert!(
        world
            .ran()
            .iter()
            .all(|(_, input)| !input.contains("-F INPUT"))
    );
}

#[test]
fn closing_what_is_already_gone_is_done_and_the_rest_is_written_anew() {
    let mut world = World::installed(&[four(1), four(2)]);
    world.answers(|_, input| {
        if input.contains("-D ") {
            exits(1, "line 2 failed: Bad rule")
        } else {
            None
        }
    });
    assert_eq!(world.apply(&[Change::Close(four(1))]).0, [true]);
    let ran = world.ran();
    assert_eq!(
        ran.iter()
            .map(|(program, _)| program.as_str())
            .collect::<Vec<_>>(),
        ["iptables-restore", "iptables-save", "iptables-restore"]
    );
    assert_eq!(
        ran[2].1,
        format!("*filter\n:POSTERN-GRANTS - [0:0]\n-A {}\nCOMMIT\n", rule(2))
    );
    assert_eq!(world.apply(&[Change::Close(four(1))]).0, [true]);
    assert!(
        world.ran().is_empty(),
        "the second time there is nothing to run"
    );
}

#[test]
fn chains_that_others_took_out_close_everything_and_open_nothing() {
    let mut world = World::installed(&[four(1)]);
    world.answers(|program, _| {
        let empty = Ran {
            status: Some(0),
            stdout: "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n".to_owned(),
            stderr: String::new(),
        };
        if program.ends_with("save") {
            Some(Ok(empty))
        } else {
            exits(1, "line 2 failed")
        }
    });
    let (done, error) = world.apply(&[Change::Close(four(1)), Change::Open(four(2))]);
    assert_eq!(done, [true, false]);
    assert!(error.contains("taken out of the firewall"), "{error}");
}

#[test]
fn after_a_killed_run_the_grants_are_put_back_as_they_were() {
    let mut world = World::installed(&[four(1)]);
    let mut runs = 0;
    world.answers(move |_, _| {
        runs += 1;
        if runs == 1 { hangs() } else { None }
    });
    assert_eq!(world.apply(&[Change::Open(four(2))]).0, [false]);
    let ran = world.ran();
    assert_eq!(
        ran.last().unwrap().1,
        format!("*filter\n:POSTERN-GRANTS - [0:0]\n-A {}\nCOMMIT\n", rule(1))
    );
    assert_eq!(world.apply(&[Change::Close(four(2))]).0, [true]);
    assert!(world.ran().is_empty());
}

#[test]
fn while_it_is_not_known_what_a_killed_run_left_even_closing_a_stranger_needs_a_run() {
    let mut world = World::installed(&[four(1)]);
    world.answers(|_, _| hangs());
    assert_eq!(world.apply(&[Change::Open(four(2))]).0, [false]);
    assert_eq!(world.apply(&[Change::Close(four(2))]).0, [false]);
    world.answers(|_, _| None);
    world.ran();
    assert_eq!(
        world
            .apply(&[Change::Close(four(2)), Change::Open(four(3))])
            .0,
        [true, true]
    );
    assert_eq!(
        world.ran()[1].1,
        format!(
            "*filter\n:POSTERN-GRANTS - [0:0]\n-A {}\n-A {}\nCOMMIT\n",
            rule(1),
            rule(3)
        )
    );
}

#[test]
fn missing_ipv6_programs_leave_ipv4_working_and_fail_ipv6_grants() {
    let find = |name: &str| (!name.starts_with("ip6")).then(|| Path::new("/usr/sbin").join(name));
    let paths = Iptables::locate(find).unwrap();
    assert!(paths.warning().unwrap().contains("IPv6"));
    let mut world = World::new(paths);
    world
        .driver
        .install(&protection(&["tcp/22"]), &[four(1)])
        .unwrap();
    let (done, error) = world.apply(&[Change::Open(six(1)), Change::Open(four(2))]);
    assert_eq!(done, [false, true]);
    assert!(
        error.contains("IPv6") && error.contains("apt-get install iptables"),
        "{error}"
    );
    assert_eq!(world.driver.remove(), Ok(()));
}

#[test]
fn a_kernel_without_ipv6_leaves_ipv4_working_and_fails_ipv6_grants() {
    let mut world = World::new(paths());
    let none = "ip6tables-restore v1.8.9 (legacy): can't initialize ip6tables table `filter': Address family not supported by protocol";
    world.answers(move |program, _| {
        if program.starts_with("ip6") {
            exits(3, none)
        } else {
            None
        }
    });
    world.driver.install(&protection(&["tcp/22"]), &[]).unwrap();
    assert_eq!(world.driver.kernel_expiry(), Ok(()));
    let (done, error) = world.apply(&[Change::Open(six(1)), Change::Open(four(2))]);
    assert_eq!(done, [false, true]);
    assert!(error.contains("this system has no IPv6"), "{error}");
    assert!(
        world.driver.install(&protection(&[]), &[six(1)]).is_err(),
        "a live IPv6 grant cannot be claimed open"
    );
    assert_eq!(world.driver.remove(), Ok(()));
}

#[test]
fn ipv6_that_is_there_but_fails_is_not_passed_over_in_silence() {
    let mut world = World::new(paths());
    world.answers(|program, _| {
        if program.starts_with("ip6") {
            exits(4, "xtables lock is held")
        } else {
            None
        }
    });
    let error = world
        .driver
        .install(&protection(&["tcp/22"]), &[])
        .unwrap_err();
    assert!(error.to_string().contains("ip6tables-"), "{error}");
}

#[test]
fn without_the_time_match_grants_have_no_end_of_their_own_and_this_is_said() {
    let mut world = World::new(paths());
    world.answers(|_, input| {
        if input.contains("-m time") {
            exits(2, "Couldn't load match `time'")
        } else {
            None
        }
    });
    assert!(
        world
            .driver
            .kernel_expiry()
            .unwrap_err()
            .contains("not installed")
    );
    world
        .driver
        .install(&protection(&["tcp/22"]), &[four(1)])
        .unwrap();
    let why = world.driver.kernel_expiry().unwrap_err();
    assert!(why.contains("Couldn't load match `time'"), "{why}");
    let ran = world.ran();
    assert!(ran.iter().any(|(_, input)| {
        input.contains("-A POSTERN-GRANTS -s 192.0.2.1/32 -p tcp -m tcp --dport 22 -m comment")
    }));
}

#[test]
fn nothing_is_applied_before_an_installation() {
    let mut world = World::new(paths());
    assert_eq!(
        world
            .apply(&[Change::Open(four(1)), Change::Close(four(1))])
            .0,
        [false, false]
    );
    assert!(world.ran().is_empty());
}

#[test]
fn a_target_without_forward_chains_is_refused_with_the_reason() {
    let mut world = World::installed(&[]);
    let behind = Grant {
        target: Some("10.0.0.5".parse().unwrap()),
        ..four(1)
    };
    let (done, error) = world.apply(&[Change::Open(behind)]);
    assert_eq!(done, [false]);
    assert!(error.contains("forwarding is not installed"), "{error}");
}

/// Table filter comes first, and is not undone by the kernel when table nat is refused.
#[test]
fn a_forward_that_table_nat_refuses_leaves_nothing_half_open_and_does_not_take_others_with_it() {
    let forwards = vec![forward("tcp/2222", "10.0.0.5", Some(22), true)];
    let mut world = World::new(paths());
    world
        .driver
        .install(
            &Protection {
                forwards: forwards.clone(),
                ..protection(&["tcp/2222"])
            },
            &[four(1)],
        )
        .unwrap();
    world.ran();
    let chains = ":POSTERN-FWD - [0:0]\n:POSTERN-FWD-GRANTS - [0:0]\n-A FORWARD -j POSTERN-FWD\n-A POSTERN-FWD -j POSTERN-FWD-GRANTS\nCOMMIT\n\
                  *nat\n:POSTERN-DNAT - [0:0]\n:POSTERN-SNAT - [0:0]\n-A PREROUTING -j POSTERN-DNAT\n-A POSTROUTING -j POSTERN-SNAT\nCOMMIT\n";
    let saved = INSTALLED.replace("COMMIT\n", chains);
    world.answers(move |program, input| {
        let stdout = saved.clone();
        match program {
            "iptables-save" => Some(Ok(Ran {
                status: Some(0),
                stdout,
                stderr: String::new(),
            })),
            _ if input.contains("-A POSTERN-DNAT") => exits(1, "no nat here"),
            _ => None,
        }
    });
    let through = Grant {
        forwards,
        services: Vec::new(),
        ..four(2)
    };
    let (done, error) = world.apply(&[
        Change::Open(four(3)),
        Change::Open(through),
        Change::Open(four(4)),
    ]);
    assert_eq!(done, [true, false, true]);
    assert!(error.contains("no nat here"), "{error}");
    let last = world
        .ran()
        .into_iter()
        .rfind(|(program, _)| program == "iptables-restore")
        .unwrap()
        .1;
    let expected = format!(
        "*filter\n:POSTERN-GRANTS - [0:0]\n:POSTERN-FWD-GRANTS - [0:0]\n-A {}\n-A {}\n-A {}\nCOMMIT\n*nat\n:POSTERN-DNAT - [0:0]\n:POSTERN-SNAT - [0:0]\nCOMMIT\n",
        rule(1),
        rule(3),
        rule(4)
    );
    assert_eq!(
        last, expected,
        "the last run leaves what was granted and nothing else"
    );
}

#[test]
fn an_extension_into_the_other_family_is_refused() {
    let mut world = World::installed(&[four(1)]);
    assert_eq!(
        world
            .apply(&[Change::Extend {
                old: four(1),
                new: six(1)
            }])
            .0,
        [false]
    );
    assert!(world.ran().is_empty());
}

#[test]
fn a_missing_program_is_named_with_the_package() {
    let error =
        Iptables::locate(|name| (name != "iptables-save").then(|| name.into())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "iptables-save is not installed; apt-get install iptables"
    );
}
