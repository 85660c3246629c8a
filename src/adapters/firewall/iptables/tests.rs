//! The driver against prepared results: what it runs, and what it reports for each change if a run fails.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::adapters::firewall::{Change, FirewallDriver, FirewallError};
use crate::core::fixture;
use crate::model::catalog::Forward;
use crate::model::grant::Grant;
use crate::model::run::{Call, Ran, Run, RunError};
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

const TEN_O_CLOCK: Timestamp = Timestamp::from_millis(1_795_341_600_000);

pub(super) fn grant(id: u64, user: &str, allow: &str, services: &[&str]) -> Grant {
    Grant {
        until: TEN_O_CLOCK,
        ..fixture::grant(id, user, allow, services)
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

const INSTALLED: &str = "*filter\n:INPUT ACCEPT [0:0]\n:POSTERN - [0:0]\n:POSTERN-GRANTS - [0:0]\n:POSTERN-MARK - [0:0]\n\
                         -A INPUT -j POSTERN\n-A POSTERN -m mark --mark 0x2400/0x3c00 -j MARK --set-xmark 0x0/0x3c00\n-A POSTERN -m conntrack ! --ctstate ESTABLISHED -j POSTERN-GRANTS\n-A POSTERN -p tcp --syn -j POSTERN-GRANTS\n\
                         -A POSTERN -m mark --mark 0x2400/0x3c00 -j RETURN\n-A POSTERN -p udp -j RETURN\n-A POSTERN -p udp -j DROP\n\
                         -A POSTERN-MARK -j MARK --set-xmark 0x2400/0x3c00\nCOMMIT\n";

type Outcome = Result<Ran, RunError>;
type Answer = Box<dyn FnMut(&str, &str) -> Option<Outcome> + Send>;

/// Answers by program and input; without an answer a run succeeds.
#[derive(Clone)]
struct Script {
    log: Arc<Mutex<Vec<(String, String)>>>,
    answer: Arc<Mutex<Answer>>,
}

impl Run for Script {
    fn run(&mut self, call: &Call<'_>) -> Outcome {
        let program = call.program.file_name().unwrap().to_str().unwrap();
        let input = match call.args {
            ["--version"] => "--version",
            _ => std::str::from_utf8(call.stdin).unwrap(),
        };
        let mut log = self.log.lock().unwrap();
        log.push((program.to_owned(), input.to_owned()));
        let answer = self.answer.lock().unwrap()(program, input);
        let is_save = program.ends_with("save");
        answer.unwrap_or_else(|| prints(if is_save { INSTALLED } else { "" }))
    }
}

struct World {
    driver: Iptables,
    script: Script,
}

impl World {
    fn new() -> Self {
        let all = |name: &str| Some(Path::new("/usr/sbin").join(name));
        Self::with(Paths::locate(all).unwrap())
    }

    fn with(paths: Paths) -> Self {
        let script = Script {
            log: Arc::default(),
            answer: Arc::new(Mutex::new(Box::new(|_, _| None))),
        };
        let driver = Iptables::new(Box::new(script.clone()), paths);
        Self { driver, script }
    }

    fn installed(live: &[Grant]) -> Self {
        let mut world = Self::new();
        world.install(&["tcp/22"], live).unwrap();
        world.ran();
        world
    }

    fn install(&mut self, services: &[&str], live: &[Grant]) -> Result<(), FirewallError> {
        self.driver.install(&protection(services), live)
    }

    fn answers(&self, answer: impl FnMut(&str, &str) -> Option<Outcome> + Send + 'static) {
        *self.script.answer.lock().unwrap() = Box::new(answer);
    }

    /// Program and input of each run since the last call.
    fn ran(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.script.log.lock().unwrap())
    }

    fn programs(&self) -> Vec<String> {
        self.ran().into_iter().map(|(program, _)| program).collect()
    }

    /// Which changes are done, and the first error.
    fn apply(&mut self, changes: &[Change]) -> (Vec<bool>, String) {
        let results = self.driver.apply(changes);
        let error = results.iter().find_map(|result| result.as_ref().err());
        let error = error.map_or(String::new(), ToString::to_string);
        (results.iter().map(Result::is_ok).collect(), error)
    }
}

fn exits(status: i32, stderr: &str) -> Outcome {
    Ok(Ran {
        status: Some(status),
        stderr: stderr.to_owned(),
        ..Ran::default()
    })
}

fn prints(stdout: &str) -> Outcome {
    Ok(Ran {
        status: Some(0),
        stdout: stdout.to_owned(),
        ..Ran::default()
    })
}

fn hangs() -> Outcome {
    Err(RunError::Deadline(Duration::from_secs(5)))
}

fn four(id: u64) -> Grant {
    grant(id, "al", &format!("192.0.2.{id}/32"), &["tcp/22"])
}

fn six(id: u64) -> Grant {
    grant(id, "al", &format!("2001:db8::{id}/128"), &["tcp/22"])
}

fn extended(grant: &Grant) -> Change {
    let (old, mut new) = (grant.clone(), grant.clone());
    new.until = TEN_O_CLOCK.plus(Duration::from_secs(60));
    Change::Extend { old, new }
}

fn rule(id: u64) -> String {
    let form = rules::Form {
        ends: true,
        ..rules::Form::default()
    };
    rules::grant_rules(&four(id), form).unwrap().remove(0)
}

/// An input that empties the grant chain with `empty` and writes these grants.
fn rewritten(empty: &str, ids: &[u64]) -> String {
    let rules: String = ids.iter().map(|id| format!("-A {}\n", rule(*id))).collect();
    format!("*filter\n{empty}\n{rules}COMMIT\n")
}

const DECLARED: &str = ":POSTERN-GRANTS - [0:0]";

#[test]
fn failed_run_is_never_reported_as_done() {
    let missing = Err(RunError::Start("No such file or directory".to_owned()));
    for (outcome, words) in [
        (exits(1, "\u{1}gar\u{fffd}bage"), "1: ?gar\u{fffd}bage"),
        (exits(4, "Another app holds the xtables lock."), "status 4"),
        (Ok(Ran::default()), "killed by a signal"),
        (hangs(), "did not finish within 5s"),
        (missing, "apt-get install iptables"),
    ] {
        let mut world = World::installed(&[four(1)]);
        world.answers(move |_, _| Some(outcome.clone()));
        let (open, close) = (Change::Open(four(2)), Change::Close(four(1)));
        let (done, error) = world.apply(&[open, extended(&four(1)), close]);
        assert_eq!(done, [false; 3], "{words}");
        assert!(error.starts_with("/usr/sbin/iptables-"), "{error}");
        assert!(error.contains(words), "{error}");
        world.answers(|_, _| None);
        world.ran();
        assert_eq!(world.apply(&[Change::Close(four(1))]).0, [true], "{words}");
        let (_, input) = world.ran().pop().unwrap();
        assert!(!input.contains("-A POSTERN-GRANTS"), "came back: {input}");
    }
}

#[test]
fn refused_change_fails_alone() {
    let mut world = World::installed(&[]);
    world.answers(|_, input| {
        let is_refused = input.contains("192.0.2.2/32");
        is_refused.then(|| exits(2, "no sctp here"))
    });
    let batch = [four(1), four(2), six(3), four(4)].map(Change::Open);
    let (done, error) = world.apply(&batch);
    assert_eq!(done, [true, false, true, true]);
    assert!(error.contains("no sctp here"), "{error}");
    world.answers(|_, _| None);
    world.ran();
    world.apply(&[four(1), four(2), four(4)].map(Change::Close));
    let input = format!("*filter\n-D {}\n-D {}\nCOMMIT\n", rule(1), rule(4));
    assert_eq!(world.ran(), [("iptables-restore".to_owned(), input)]);
}

#[test]
fn unsafe_user_name_reaches_no_program() {
    let mut world = World::installed(&[]);
    let mut unsafe_name = four(1);
    unsafe_name.user = "a\" -j ACCEPT\n-F INPUT".to_owned();
    let open = Change::Open(unsafe_name.clone());
    let (old, new) = (four(3), six(3));
    let batch = [open, extended(&old), Change::Extend { old, new }];
    assert_eq!(world.apply(&batch).0, [false, true, false]);
    assert!(world.install(&[], &[unsafe_name]).is_err());
    let ran = world.ran();
    assert!(ran.iter().all(|(_, input)| !input.contains("-F INPUT")));
}

#[test]
fn removed_chains_close_all_and_open_nothing() {
    let mut world = World::installed(&[four(1)]);
    world.answers(|program, _| {
        if program.ends_with("save") {
            Some(prints("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"))
        } else {
            Some(exits(1, "line 2 failed"))
        }
    });
    let (done, error) = world.apply(&[Change::Close(four(1)), Change::Open(four(2))]);
    assert_eq!(done, [true, false]);
    assert!(error.contains("removed Postern's chains"), "{error}");
}

#[test]
fn killed_run_is_undone() {
    let mut world = World::installed(&[four(1)]);
    let mut runs = 0;
    world.answers(move |_, _| {
        runs += 1;
        (runs == 1).then(hangs)
    });
    assert_eq!(world.apply(&[Change::Open(four(2))]).0, [false]);
    assert_eq!(world.ran().pop().unwrap().1, rewritten(DECLARED, &[1]));
    assert_eq!(world.apply(&[Change::Close(four(2))]).0, [true]);
    assert_eq!(world.ran(), [], "nothing is left to close");

    world.answers(|_, _| Some(hangs()));
    assert_eq!(world.apply(&[Change::Open(four(2))]).0, [false]);
    // The result of the killed run is unknown.
    assert_eq!(world.apply(&[Change::Close(four(2))]).0, [false]);
    world.answers(|_, _| None);
    world.ran();
    let batch = [Change::Close(four(2)), Change::Open(four(3))];
    assert_eq!(world.apply(&batch).0, [true, true]);
    assert_eq!(world.ran()[1].1, rewritten(DECLARED, &[1, 3]));
}

#[test]
fn missing_ipv6_leaves_ipv4_working() {
    let v4_only = |name: &str| (!name.starts_with("ip6")).then(|| name.into());
    let paths = Paths::locate(v4_only).unwrap();
    assert!(paths.warning().unwrap().contains("IPv6"));
    let mut no_programs = World::with(paths);
    let mut no_family = World::new();
    no_family.answers(|program, _| {
        let error =
            "can't initialize ip6tables table `filter': Address family not supported by protocol";
        program.starts_with("ip6").then(|| exits(3, error))
    });
    for (world, words) in [
        (&mut no_programs, "apt-get install iptables"),
        (&mut no_family, "this system has no IPv6"),
    ] {
        world.install(&["tcp/22"], &[four(1)]).unwrap();
        assert_eq!(world.driver.kernel_expiry(), Ok(()));
        let batch = [Change::Open(six(1)), Change::Open(four(2))];
        let (done, error) = world.apply(&batch);
        assert_eq!(done, [false, true]);
        assert!(error.contains("IPv6") && error.contains(words), "{error}");
        let installed = world.install(&[], &[six(1)]);
        assert!(installed.is_err(), "a live grant cannot be called open");
        assert_eq!(world.driver.remove(), Ok(()));
    }
    let no_save = |name: &str| (name != "iptables-save").then(|| name.into());
    let expected = "iptables-save is not installed; apt-get install iptables";
    assert_eq!(Paths::locate(no_save).unwrap_err().to_string(), expected);
}

#[test]
fn failing_ipv6_is_not_skipped() {
    let mut world = World::new();
    world.answers(|program, _| {
        let is_ipv6 = program.starts_with("ip6");
        is_ipv6.then(|| exits(4, "xtables lock is held"))
    });
    let error = world.install(&["tcp/22"], &[]).unwrap_err().to_string();
    assert!(error.contains("ip6tables-"), "{error}");
}

#[test]
fn missing_time_match_is_reported() {
    let mut world = World::new();
    world.answers(|_, input| {
        let is_probe = input.contains("-m time");
        is_probe.then(|| exits(2, "Couldn't load match `time'"))
    });
    let before = world.driver.kernel_expiry().unwrap_err().to_string();
    assert!(before.contains("not installed"), "{before}");
    assert_eq!(world.install(&["tcp/22"], &[four(1)]), Ok(()));
    let why = world.driver.kernel_expiry().unwrap_err().to_string();
    assert!(
        why.contains("libxt_time.so of iptables is missing"),
        "{why}"
    );
    let rule = "-A POSTERN-GRANTS -s 192.0.2.1/32 -p tcp -m tcp --dport 22 -m comment";
    assert!(world.ran().iter().any(|(_, input)| input.contains(rule)));
}

#[test]
fn change_without_its_chains_is_refused() {
    let mut world = World::new();
    let batch = [Change::Open(four(1)), Change::Close(four(1))];
    assert_eq!(world.apply(&batch).0, [false, false]);
    assert_eq!(world.ran(), []);
    let mut world = World::installed(&[]);
    let mut behind = four(1);
    behind.target = Some("10.0.0.5".parse().unwrap());
    let (done, error) = world.apply(&[Change::Open(behind)]);
    assert_eq!(done, [false]);
    assert!(error.contains("forwarding is not installed"), "{error}");
}

/// Table filter comes first, and the kernel does not undo it if it refuses table nat.
#[test]
fn refused_forward_leaves_nothing_half_open() {
    let mut through = grant(2, "al", "192.0.2.2/32", &[]);
    through.forwards = vec![forward("tcp/2222", "10.0.0.5", Some(22), true)];
    let protection = Protection {
        forwards: through.forwards.clone(),
        ..protection(&["tcp/2222"])
    };
    let mut world = World::new();
    world.driver.install(&protection, &[four(1)]).unwrap();
    world.ran();
    let chains = ":POSTERN-FWD - [0:0]\n:POSTERN-FWD-GRANTS - [0:0]\n-A FORWARD -j POSTERN-FWD\n-A POSTERN-FWD -j POSTERN-FWD-GRANTS\nCOMMIT\n\
                  *nat\n:POSTERN-DNAT - [0:0]\n:POSTERN-SNAT - [0:0]\n-A PREROUTING -j POSTERN-DNAT\n-A POSTROUTING -j POSTERN-SNAT\nCOMMIT\n";
    let saved = INSTALLED.replace("COMMIT\n", chains);
    world.answers(move |program, input| {
        let is_refused = input.contains("-A POSTERN-DNAT");
        (program == "iptables-save")
            .then(|| prints(&saved))
            .or_else(|| is_refused.then(|| exits(1, "no nat here")))
    });
    let (done, error) = world.apply(&[four(3), through, four(4)].map(Change::Open));
    assert_eq!(done, [true, false, true]);
    assert!(error.contains("no nat here"), "{error}");
    let mut ran = world.ran().into_iter();
    let last = ran.rfind(|(program, _)| program == "iptables-restore");
    let empty = format!("{DECLARED}\n:POSTERN-FWD-GRANTS - [0:0]");
    let nat = "*nat\n:POSTERN-DNAT - [0:0]\n:POSTERN-SNAT - [0:0]\nCOMMIT\n";
    assert_eq!(last.unwrap().1, rewritten(&empty, &[1, 3, 4]) + nat);
}

#[test]
fn ends_are_rounded_up_to_seconds() {
    for (until, end) in [(0, 0), (999, 1000), (1000, 1000), (1001, 2000)] {
        let end = Timestamp::from_millis(end);
        assert_eq!(World::new().driver.end(Timestamp::from_millis(until)), end);
    }
}

/// A world whose kernel counts transactions, with a number that tests can change.
fn with_generation_id(version: &'static str) -> (World, Arc<AtomicU32>) {
    let number = Arc::new(AtomicU32::new(7));
    let (asked, counted) = (Arc::clone(&number), Arc::clone(&number));
    let mut world = World::new();
    world.driver = world
        .driver
        .with_generation_id(Box::new(move || Some(asked.load(Ordering::Relaxed))));
    world.answers(move |_, input| {
        if version.contains("nf_tables") {
            let count = u32::try_from(input.matches("COMMIT").count()).unwrap();
            counted.fetch_add(count, Ordering::Relaxed);
        }
        (input == "--version").then(|| prints(version))
    });
    (world, number)
}

#[test]
fn check_runs_programs_only_after_a_change() {
    for (version, runs) in [("v1.8.9 (nf_tables)", 0), ("v1.8.9 (legacy)", 2)] {
        let (mut world, number) = with_generation_id(version);
        world.install(&[], &[]).unwrap();
        world.ran();
        assert_eq!(world.driver.verify(), Ok(true));
        assert_eq!(world.programs().len(), 2, "the first check");
        assert_eq!(world.driver.verify(), Ok(true));
        assert_eq!(world.programs().len(), runs, "{version}");
        assert_eq!(world.apply(&[Change::Open(four(1))]).0, [true]);
        assert_eq!(world.apply(&[Change::Close(four(1))]).0, [true]);
        world.ran();
        assert_eq!(world.driver.verify(), Ok(true));
        assert_eq!(world.programs().len(), runs, "{version}: own changes");
        number.fetch_add(1, Ordering::Relaxed);
        assert_eq!(world.driver.verify(), Ok(true));
        assert_eq!(world.programs().len(), 2, "somebody changed something");
    }
}

#[test]
fn implausible_success_is_a_failure() {
    let (mut world, _) = with_generation_id("(nf_tables)");
    world.install(&[], &[]).unwrap();
    world.answers(|program, _| program.ends_with("restore").then(|| prints("\u{1}yes")));
    let (done, error) = world.apply(&[Change::Open(four(1))]);
    assert!(!done[0] && error.contains("printed \"?yes\""), "{error}");
    world.answers(|_, _| None);
    let (done, error) = world.apply(&[Change::Open(four(1)), Change::Open(four(2))]);
    assert_eq!(done, [false, false]);
    assert!(error.contains("did not change"), "{error}");
}
