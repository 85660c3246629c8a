//! The driver with prepared results of programs and a journal in memory, under virtual time.

use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::core::fixture;
use crate::model::command_template::{Argument, CommandTemplate};
use crate::model::journal::memory::MemoryJournal;
use crate::model::run::{Call, Ran, RunError};

/// Programs that are only logged, and fail if the test says so.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    ran: Vec<String>,
    /// The outcome of each run whose line begins with this text.
    fails: Vec<(String, RunOutcome)>,
    listed: String,
    /// Must name a grant before its program runs.
    journal: MemoryJournal,
    unrecorded: Vec<String>,
}

type RunOutcome = Result<Ran, RunError>;

impl Run for Script {
    fn run(&mut self, call: &Call<'_>) -> RunOutcome {
        let mut log = self.0.lock().unwrap();
        let line = format!("{} {}", call.program.display(), call.args.join(" "));
        if line.starts_with("/open") {
            let id = call.args[0];
            let on_disk = log.journal.text.lock().unwrap().clone().unwrap_or_default();
            if !on_disk.contains(&format!("\"id\":{id},")) {
                log.unrecorded.push(line.clone());
            }
        }
        let mut fails = log.fails.iter();
        let fails = fails.find(|(start, _)| line.starts_with(start));
        let fails = fails.map(|(_, outcome)| outcome.clone());
        let stdout = log.listed.clone();
        log.ran.push(line);
        fails.unwrap_or(Ok(Ran {
            status: Some(0),
            stdout,
            ..Ran::default()
        }))
    }
}

struct World {
    driver: Command,
    script: Script,
    journal: MemoryJournal,
}

fn template(words: &[&str]) -> CommandTemplate {
    // `install` checks the files of the programs.
    let arguments = words[1..].iter().map(|text| Argument::read(text).unwrap());
    CommandTemplate::new(words[0].into(), arguments.collect())
}

impl World {
    fn new(list: bool) -> Self {
        Self::over(MemoryJournal::default(), list)
    }

    fn over(journal: MemoryJournal, list: bool) -> Self {
        let script = Script::default();
        script.0.lock().unwrap().journal = journal.clone();
        let programs = CommandPrograms {
            open: template(&["/open", "{id}", "{address}", "{service}", "{seconds}"]),
            close: template(&["/close", "{id}", "{address}", "{service}"]),
            list: list.then(|| template(&["/list"])),
            deadline: Duration::from_secs(5),
        };
        let (run, kept) = (Box::new(script.clone()), Box::new(journal.clone()));
        let mut driver = Command::open(programs, run, kept).unwrap();
        driver.tick(at(100));
        Self {
            driver,
            script,
            journal,
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.script.0.lock().unwrap()
    }

    /// The runs since the last call. Each grant must be on the disk before its programs run.
    fn ran(&self) -> Vec<String> {
        let mut log = self.log();
        assert!(log.unrecorded.is_empty(), "{:?}", log.unrecorded);
        std::mem::take(&mut log.ran)
    }

    fn fail(&self, start: &str, outcome: RunOutcome) {
        self.log().fails.push((start.to_owned(), outcome));
    }

    fn lists(&self, text: &str) {
        self.log().listed = text.to_owned();
    }

    fn verifies(&mut self, seconds: u64) -> bool {
        self.driver.tick(at(seconds));
        self.driver.verify().unwrap()
    }

    fn open(&mut self, grant: &Grant) -> Result<(), FirewallError> {
        self.driver.apply(&[Change::Open(grant.clone())]).remove(0)
    }

    fn extend(&mut self, old: &Grant, until: u64) -> Result<(), FirewallError> {
        let new = Grant {
            until: at(until),
            ..old.clone()
        };
        let old = old.clone();
        self.driver.apply(&[Change::Extend { old, new }]).remove(0)
    }

    fn close(&mut self, grant: &Grant) -> Result<(), FirewallError> {
        self.driver.apply(&[Change::Close(grant.clone())]).remove(0)
    }

    /// Id and end of each grant that a restarted driver finds.
    fn found(&self) -> Vec<(u64, u64)> {
        let again = Self::over(self.journal.clone(), false).driver.list();
        let seconds = |grant: &Grant| (grant.id.0, grant.until.as_millis() / 1000);
        again.unwrap().iter().map(seconds).collect()
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn grant(id: u64, host: u8, services: &[&str]) -> Grant {
    Grant {
        until: at(130),
        ..fixture::grant(id, "alice", &format!("192.0.2.{host}/32"), services)
    }
}

fn exits(status: i32, stderr: &str) -> RunOutcome {
    Ok(Ran {
        status: Some(status),
        stderr: stderr.to_owned(),
        ..Ran::default()
    })
}

fn hangs() -> RunOutcome {
    Err(RunError::Deadline(Duration::from_secs(5)))
}

const TWO: [&str; 2] = ["tcp/22", "udp/80-90"];
const CLOSED: [&str; 2] = ["/close 1 192.0.2.7 tcp/22", "/close 1 192.0.2.7 udp/80-90"];

#[test]
fn grant_is_on_disk_while_its_programs_run() {
    let mut world = World::new(false);
    let one = grant(1, 7, &TWO);
    let opened = |seconds| TWO.map(|ports| format!("/open 1 192.0.2.7 {ports} {seconds}"));
    world.open(&one).unwrap();
    let expected = (opened(30).into(), vec![(1, 130)]);
    assert_eq!((world.ran(), world.found()), expected);
    world.extend(&one, 160).unwrap();
    let found = (world.ran(), world.found());
    assert_eq!(found, (opened(60).into(), vec![(1, 160)]));
    world.close(&one).unwrap();
    assert_eq!(world.ran(), CLOSED);
    assert_eq!(world.found(), []);
    world.close(&one).unwrap();
    assert!(world.ran().is_empty(), "what is closed is closed");
    assert!(world.driver.kernel_expiry().is_err());
}

#[test]
fn failed_service_undoes_the_whole_grant() {
    let mut world = World::new(false);
    world.fail("/open 1 192.0.2.7 udp", exits(2, "no such set\nmore"));
    let both = [grant(1, 7, &TWO), grant(2, 8, &TWO)].map(Change::Open);
    let why = "/open failed with exit status 2: no such set".to_owned();
    let expected = [Err(FirewallError::Program(why)), Ok(())];
    assert_eq!(world.driver.apply(&both), expected);
    assert_eq!(world.ran()[2..4], CLOSED);
    assert_eq!(world.found(), [(2, 130)]);
}

#[test]
fn failed_undo_stays_overdue_after_a_crash() {
    let mut world = World::new(false);
    world.fail("/open 1 192.0.2.7 udp", exits(2, "no"));
    world.fail("/close", exits(3, "busy"));
    let said = world.open(&grant(1, 7, &TWO)).unwrap_err().to_string();
    assert!(
        said.contains("/open failed with exit status 2: no; and a part of it is open")
            && said.ends_with("/close failed with exit status 3: busy"),
        "{said}"
    );
    // Its end is in the past, so that its id is not used again.
    assert_eq!(world.found(), [(1, 0)]);
    let said = world.driver.verify().unwrap_err().to_string();
    assert!(said.contains("grant 1: alice, 192.0.2.7/32 to tcp/22, udp/80-90 is overdue and not closed: /close failed"), "{said}");

    let mut again = World::over(world.journal.clone(), false);
    again.fail("/close", exits(3, "busy"));
    again.driver.take_over(&[]).unwrap();
    assert!(again.driver.verify().is_err());
    again.log().fails.clear();
    assert_eq!(again.driver.verify(), Ok(true));
    assert_eq!(again.found(), []);
}

#[test]
fn failed_close_survives_a_crash() {
    let mut world = World::new(false);
    let one = grant(1, 7, &TWO);
    world.open(&one).unwrap();
    world.fail("/close 1 192.0.2.7 tcp", exits(1, "busy"));
    let why = "/close failed with exit status 1: busy".to_owned();
    assert_eq!(world.close(&one), Err(FirewallError::Program(why)));
    assert_eq!(world.ran().len(), 4, "the other service is closed");
    assert_eq!(world.found(), [(1, 0)]);
    assert!(world.driver.verify().unwrap(), "the ledger asks again");
    world.extend(&one, 160).unwrap();
    assert_eq!(world.found(), [(1, 160)]);
}

#[test]
fn failed_extension_keeps_the_old_end() {
    let mut world = World::new(false);
    let one = grant(1, 7, &TWO);
    world.open(&one).unwrap();
    world.fail("/open 1 192.0.2.7 udp", exits(1, ""));
    let failed = world.extend(&one, 160).unwrap_err().to_string();
    assert_eq!(failed, "/open failed with exit status 1");
    assert_eq!(world.found(), [(1, 130)]);
}

#[test]
fn late_program_ends_the_step() {
    let mut world = World::new(false);
    let grants = [1, 2, 3].map(|id| grant(id, u8::try_from(id).unwrap(), &["tcp/22"]));
    grants.iter().for_each(|one| world.open(one).unwrap());
    world.ran();
    world.fail("/close 1", hangs());
    let all = grants.clone().map(Change::Close);
    let results = world.driver.apply(&all);
    assert!(results.iter().all(Result::is_err), "{results:?}");
    assert_eq!(world.ran(), ["/close 1 192.0.2.1 tcp/22"]);
    let second = results[1].clone().unwrap_err().to_string();
    let late = "another program of this step passed its deadline";
    assert!(second.contains(late), "{second}");
    let results = world.driver.apply(&all);
    assert!(results.iter().map(Result::is_ok).eq([false, true, true]));
    let closed = [2, 3, 1].map(|id| format!("/close {id} 192.0.2.{id} tcp/22"));
    assert_eq!(world.ran(), closed);
}

#[test]
fn full_disk_opens_nothing_and_still_closes() {
    let mut world = World::new(false);
    world.open(&grant(1, 7, &TWO)).unwrap();
    world.ran();
    *world.journal.failing.lock().unwrap() = true;
    let (open, close) = (
        Change::Open(grant(2, 8, &TWO)),
        Change::Close(grant(1, 7, &TWO)),
    );
    let full = FirewallError::Journal("the disk is full".to_owned());
    let results = world.driver.apply(&[open, close]);
    assert_eq!(results, [Err(full.clone()), Ok(())]);
    assert_eq!(world.ran(), CLOSED);
    assert_eq!(world.driver.verify(), Err(full));
    assert_eq!(world.found(), [(1, 130)], "too many grants, never too few");
    *world.journal.failing.lock().unwrap() = false;
    assert_eq!(world.driver.verify(), Ok(true));
    assert_eq!(world.found(), []);
}

#[test]
fn shared_service_reopens_for_the_other_grant() {
    let mut world = World::new(false);
    let bob = Grant {
        user: "bob".to_owned(),
        until: at(150),
        ..grant(2, 7, &["tcp/20-30"])
    };
    world.open(&grant(1, 7, &TWO)).unwrap();
    world.open(&bob).unwrap();
    world.open(&grant(3, 8, &TWO)).unwrap();
    world.ran();
    world.close(&grant(1, 7, &TWO)).unwrap();
    let expected = [CLOSED[0], "/open 2 192.0.2.7 tcp/20-30 50", CLOSED[1]];
    assert_eq!(world.ran(), expected);
    world.open(&grant(1, 7, &TWO)).unwrap();
    world.ran();
    world.fail("/open 2", exits(1, ""));
    world.close(&grant(1, 7, &TWO)).unwrap();
    assert!(!world.driver.verify().unwrap(), "bob's may be closed");
    world.log().fails.clear();
    world.driver.take_over(&[bob, grant(3, 8, &TWO)]).unwrap();
    assert_eq!(world.driver.verify(), Ok(true));
}

#[test]
fn start_closes_stale_grants_and_checks_live_ones() {
    let mut world = World::new(false);
    let grants = [1, 2, 3].map(|id| grant(id, u8::try_from(id).unwrap(), &["tcp/22"]));
    grants.iter().for_each(|one| world.open(one).unwrap());

    let mut trusting = World::over(world.journal.clone(), false);
    assert_eq!(trusting.driver.list().unwrap(), grants);
    trusting.driver.take_over(&grants[1..]).unwrap();
    assert_eq!(trusting.ran(), ["/close 1 192.0.2.1 tcp/22"]);

    let mut asking = World::over(world.journal.clone(), true);
    asking.lists("3\n");
    assert_eq!(asking.driver.list().unwrap().len(), 2);
    asking.driver.take_over(&grants[1..]).unwrap();
    let ran = ["/list ", "/list ", "/open 2 192.0.2.2 tcp/22 30"];
    assert_eq!(asking.ran(), ran);
    asking.lists("2\n3\n");
    assert!(asking.verifies(120));
    asking.lists("2");
    assert!(asking.verifies(129), "not asked every second");
    assert!(asking.verifies(131), "the third's time is over");
    asking.extend(&grants[2], 200).unwrap();
    assert!(!asking.verifies(142), "somebody took it out");
    asking.lists("2\n3\n99\n");
    asking.driver.tick(at(160));
    let error = asking.driver.verify().unwrap_err().to_string();
    let unknown = "grant 99 is open, but not in the journal";
    assert!(error.contains(unknown), "{error}");
    asking.lists("two");
    let error = asking.driver.list().unwrap_err().to_string();
    let wrong = "it must print the {id} of each open grant";
    assert!(error.contains(wrong), "{error}");
}

#[test]
#[allow(clippy::disallowed_methods)]
fn protection_and_missing_programs_are_refused() {
    let mut world = World::new(false);
    let protection = |services: &[&str]| Protection {
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        ..Protection::default()
    };
    for (services, words) in [
        (&["tcp/22"][..], "cannot protect"),
        (&[], "/open: No such file"),
    ] {
        let installed = world.driver.install(&protection(services), &[]);
        let error = installed.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
