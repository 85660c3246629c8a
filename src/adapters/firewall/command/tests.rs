//! The driver over scripted programs and a journal in memory, under virtual time.

use std::sync::{Arc, Mutex};

use super::*;
use crate::model::command_template::{Argument, CommandTemplate};
use crate::model::journal::memory::MemoryJournal;
use crate::model::run::{Call, Ran, RunError};

/// Programs that do nothing but be written down, and fail where the test says so.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Played>>);

#[derive(Default)]
struct Played {
    ran: Vec<String>,
    /// What each run that begins with this text comes to.
    fails: Vec<(String, RunOutcome)>,
    listed: String,
    /// Whether the journal on the disk named the grant when its program ran.
    journal: MemoryJournal,
    unnoted: Vec<String>,
}

type RunOutcome = Result<Ran, RunError>;

impl Run for Script {
    fn run(&mut self, call: &Call<'_>) -> RunOutcome {
        let mut played = self.0.lock().unwrap();
        let line = format!("{} {}", call.program.display(), call.args.join(" "));
        if line.starts_with("/open") {
            let id = call.args[0];
            let on_disk = played
                .journal
                .text
                .lock()
                .unwrap()
                .clone()
                .unwrap_or_default();
            if !on_disk.contains(&format!("\"id\":{id},")) {
                played.unnoted.push(line.clone());
            }
        }
        let fails = played
            .fails
            .iter()
            .find(|(start, _)| line.starts_with(start))
            .map(|(_, outcome)| outcome.clone());
        let stdout = played.listed.clone();
        played.ran.push(line);
        fails.unwrap_or(Ok(Ran {
            status: Some(0),
            stdout,
            stderr: String::new(),
        }))
    }
}

struct Scene {
    driver: Command,
    script: Script,
    keep: MemoryJournal,
}

fn template(words: &[&str]) -> CommandTemplate {
    // The programs' files are looked at when the driver installs.
    CommandTemplate::new(
        words[0].into(),
        words[1..]
            .iter()
            .map(|text| Argument::read(text).unwrap())
            .collect(),
    )
}

impl Scene {
    fn new(list: bool) -> Self {
        Self::over(MemoryJournal::default(), list)
    }

    fn over(keep: MemoryJournal, list: bool) -> Self {
        let script = Script::default();
        script.0.lock().unwrap().journal = keep.clone();
        let programs = CommandPrograms {
            open: template(&["/open", "{id}", "{address}", "{service}", "{seconds}"]),
            close: template(&["/close", "{id}", "{address}", "{service}"]),
            list: list.then(|| template(&["/list"])),
            deadline: Duration::from_secs(5),
        };
        let mut driver =
            Command::open(programs, Box::new(script.clone()), Box::new(keep.clone())).unwrap();
        driver.tick(at(100));
        Self {
            driver,
            script,
            keep,
        }
    }

    /// What ran since this was last asked.
    fn ran(&self) -> Vec<String> {
        let mut played = self.script.0.lock().unwrap();
        assert_eq!(
            played.unnoted,
            Vec::<String>::new(),
            "a program ran before its grant was on the disk"
        );
        std::mem::take(&mut played.ran)
    }

    fn fail(&self, start: &str, outcome: RunOutcome) {
        self.script
            .0
            .lock()
            .unwrap()
            .fails
            .push((start.to_owned(), outcome));
    }

    fn mend(&self) {
        self.script.0.lock().unwrap().fails.clear();
    }

    fn lists(&self, text: &str) {
        self.script.0.lock().unwrap().listed = text.to_owned();
    }

    fn open(&mut self, grant: &Grant) -> Result<(), FirewallError> {
        self.driver.apply(&[Change::Open(grant.clone())]).remove(0)
    }

    fn close(&mut self, grant: &Grant) -> Result<(), FirewallError> {
        self.driver.apply(&[Change::Close(grant.clone())]).remove(0)
    }

    /// What a driver finds that starts now.
    fn found(&self) -> Vec<(u64, u64)> {
        let mut again = Self::over(self.keep.clone(), false);
        again
            .driver
            .list()
            .unwrap()
            .iter()
            .map(|grant| (grant.id.0, grant.until.as_millis() / 1000))
            .collect()
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn grant(id: u64, host: u8, services: &[&str]) -> Grant {
    Grant {
        id: GrantId(id),
        user: "alice".to_owned(),
        allow: format!("192.0.2.{host}/32").parse().unwrap(),
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        forwards: Vec::new(),
        until: at(130),
    }
}

fn exits(status: i32, stderr: &str) -> RunOutcome {
    Ok(Ran {
        status: Some(status),
        stdout: String::new(),
        stderr: stderr.to_owned(),
    })
}

fn hangs() -> RunOutcome {
    Err(RunError::Deadline(Duration::from_secs(5)))
}

const TWO: &[&str] = &["tcp/22", "udp/80-90"];

#[test]
fn a_grant_runs_one_program_a_service_and_is_on_the_disk_from_before_the_first_until_after_the_last()
 {
    let mut scene = Scene::new(false);
    let one = grant(1, 7, TWO);
    scene.open(&one).unwrap();
    assert_eq!(
        scene.ran(),
        [
            "/open 1 192.0.2.7 tcp/22 30",
            "/open 1 192.0.2.7 udp/80-90 30"
        ]
    );
    assert_eq!(scene.found(), [(1, 130)]);
    let new = Grant {
        until: at(160),
        ..one.clone()
    };
    assert_eq!(
        scene.driver.apply(&[Change::Extend {
            old: one,
            new: new.clone()
        }]),
        [Ok(())]
    );
    assert_eq!(
        scene.ran(),
        [
            "/open 1 192.0.2.7 tcp/22 60",
            "/open 1 192.0.2.7 udp/80-90 60"
        ]
    );
    assert_eq!(scene.found(), [(1, 160)]);
    scene.close(&new).unwrap();
    assert_eq!(
        scene.ran(),
        ["/close 1 192.0.2.7 tcp/22", "/close 1 192.0.2.7 udp/80-90"]
    );
    assert_eq!(scene.found(), []);
    scene.close(&new).unwrap();
    assert_eq!(
        scene.ran(),
        Vec::<String>::new(),
        "what is closed is closed"
    );
    assert!(scene.driver.kernel_expiry().is_err());
}

#[test]
fn a_service_that_does_not_open_takes_the_whole_grant_back() {
    let mut scene = Scene::new(false);
    scene.fail("/open 1 192.0.2.7 udp", exits(2, "no such set\nmore"));
    let results = scene.driver.apply(&[
        Change::Open(grant(1, 7, TWO)),
        Change::Open(grant(2, 8, TWO)),
    ]);
    assert_eq!(
        results,
        [
            Err(FirewallError::Program(
                "/open failed with exit status 2: no such set".to_owned()
            )),
            Ok(())
        ]
    );
    assert_eq!(
        scene.ran()[..4],
        [
            "/open 1 192.0.2.7 tcp/22 30",
            "/open 1 192.0.2.7 udp/80-90 30",
            "/close 1 192.0.2.7 tcp/22",
            "/close 1 192.0.2.7 udp/80-90"
        ]
    );
    assert_eq!(scene.found(), [(2, 130)]);
}

#[test]
fn what_can_not_be_taken_back_is_owed_over_a_crash_until_its_close_works() {
    let mut scene = Scene::new(false);
    scene.fail("/open 1 192.0.2.7 udp", exits(2, "no"));
    scene.fail("/close", exits(3, "busy"));
    let said = scene.open(&grant(1, 7, TWO)).unwrap_err().to_string();
    assert!(
        said.contains("/open failed with exit status 2: no; and what was opened")
            && said.ends_with("/close failed with exit status 3: busy"),
        "{said}"
    );
    assert_eq!(
        scene.found(),
        [(1, 0)],
        "found as one whose time is over, so that its number is not given again"
    );
    let said = scene.driver.verify().unwrap_err().to_string();
    assert!(said.contains("grant 1: alice, 192.0.2.7/32 to tcp/22, udp/80-90 should be closed and is not: /close failed"), "{said}");

    let mut again = Scene::over(scene.keep.clone(), false);
    again.fail("/close", exits(3, "busy"));
    again.driver.take_over(&[]).unwrap();
    assert!(again.driver.verify().is_err());
    again.mend();
    assert_eq!(again.driver.verify(), Ok(true));
    assert_eq!(again.found(), []);
}

#[test]
fn a_close_that_was_asked_for_and_failed_is_not_forgotten_by_a_crash_and_a_renewal_opens_again() {
    let mut scene = Scene::new(false);
    let one = grant(1, 7, TWO);
    scene.open(&one).unwrap();
    scene.fail("/close 1 192.0.2.7 tcp", exits(1, "busy"));
    assert_eq!(
        scene.close(&one),
        Err(FirewallError::Program(
            "/close failed with exit status 1: busy".to_owned()
        ))
    );
    assert_eq!(
        scene.ran().len(),
        4,
        "the other service is closed all the same"
    );
    assert_eq!(scene.found(), [(1, 0)]);
    assert_eq!(
        scene.driver.verify(),
        Ok(true),
        "the ledger asks again by itself"
    );
    let new = Grant {
        until: at(160),
        ..one.clone()
    };
    assert_eq!(
        scene.driver.apply(&[Change::Extend { old: one, new }]),
        [Ok(())]
    );
    assert_eq!(scene.found(), [(1, 160)]);
}

#[test]
fn an_extension_that_fails_leaves_the_grant_with_its_old_end() {
    let mut scene = Scene::new(false);
    let one = grant(1, 7, TWO);
    scene.open(&one).unwrap();
    scene.fail("/open 1 192.0.2.7 udp", exits(1, ""));
    let new = Grant {
        until: at(160),
        ..one.clone()
    };
    assert_eq!(
        scene.driver.apply(&[Change::Extend { old: one, new }]),
        [Err(FirewallError::Program(
            "/open failed with exit status 1".to_owned()
        ))]
    );
    assert_eq!(scene.found(), [(1, 130)]);
}

#[test]
fn one_program_that_hangs_ends_the_step_and_comes_last_in_the_next() {
    let mut scene = Scene::new(false);
    let grants = [1, 2, 3].map(|id| grant(id, u8::try_from(id).unwrap(), &["tcp/22"]));
    grants.iter().for_each(|one| scene.open(one).unwrap());
    scene.ran();
    scene.fail("/close 1", hangs());
    let all = grants.clone().map(Change::Close);
    let results = scene.driver.apply(&all);
    assert!(results.iter().all(Result::is_err), "{results:?}");
    assert_eq!(scene.ran(), ["/close 1 192.0.2.1 tcp/22"]);
    assert!(
        results[1]
            .clone()
            .unwrap_err()
            .to_string()
            .contains("another program of this step took too long")
    );
    let results = scene.driver.apply(&all);
    assert_eq!(
        results.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [false, true, true]
    );
    assert_eq!(
        scene.ran(),
        [
            "/close 2 192.0.2.2 tcp/22",
            "/close 3 192.0.2.3 tcp/22",
            "/close 1 192.0.2.1 tcp/22"
        ]
    );
}

#[test]
fn a_disk_that_is_full_opens_nothing_and_closes_all_the_same() {
    let mut scene = Scene::new(false);
    scene.open(&grant(1, 7, TWO)).unwrap();
    scene.ran();
    *scene.keep.failing.lock().unwrap() = true;
    let results = scene.driver.apply(&[
        Change::Open(grant(2, 8, TWO)),
        Change::Close(grant(1, 7, TWO)),
    ]);
    assert_eq!(
        results,
        [
            Err(FirewallError::Journal("the disk is full".to_owned())),
            Ok(())
        ]
    );
    assert_eq!(
        scene.ran(),
        ["/close 1 192.0.2.7 tcp/22", "/close 1 192.0.2.7 udp/80-90"]
    );
    assert_eq!(
        scene.driver.verify(),
        Err(FirewallError::Journal("the disk is full".to_owned()))
    );
    assert_eq!(scene.found(), [(1, 130)], "too much, never too little");
    *scene.keep.failing.lock().unwrap() = false;
    assert_eq!(scene.driver.verify(), Ok(true));
    assert_eq!(scene.found(), []);
}

#[test]
fn a_door_that_two_grants_share_is_opened_again_when_the_first_is_closed() {
    let mut scene = Scene::new(false);
    let bob = Grant {
        user: "bob".to_owned(),
        until: at(150),
        ..grant(2, 7, &["tcp/20-30"])
    };
    scene.open(&grant(1, 7, TWO)).unwrap();
    scene.open(&bob).unwrap();
    scene.open(&grant(3, 8, TWO)).unwrap();
    scene.ran();
    scene.close(&grant(1, 7, TWO)).unwrap();
    assert_eq!(
        scene.ran(),
        [
            "/close 1 192.0.2.7 tcp/22",
            "/open 2 192.0.2.7 tcp/20-30 50",
            "/close 1 192.0.2.7 udp/80-90"
        ]
    );
    scene.open(&grant(1, 7, TWO)).unwrap();
    scene.ran();
    scene.fail("/open 2", exits(1, ""));
    scene.close(&grant(1, 7, TWO)).unwrap();
    assert_eq!(scene.driver.verify(), Ok(false), "bob's door may be shut");
    scene.mend();
    scene.driver.take_over(&[bob, grant(3, 8, TWO)]).unwrap();
    assert_eq!(scene.driver.verify(), Ok(true));
}

#[test]
fn at_the_start_what_may_not_stay_is_closed_and_what_may_is_believed_to_be_open_or_asked_for() {
    let mut scene = Scene::new(false);
    let grants = [1, 2, 3].map(|id| grant(id, u8::try_from(id).unwrap(), &["tcp/22"]));
    grants.iter().for_each(|one| scene.open(one).unwrap());

    let mut believing = Scene::over(scene.keep.clone(), false);
    assert_eq!(believing.driver.list().unwrap(), grants);
    believing.driver.take_over(&grants[1..]).unwrap();
    assert_eq!(believing.ran(), ["/close 1 192.0.2.1 tcp/22"]);

    let mut asking = Scene::over(scene.keep.clone(), true);
    asking.lists("3\n");
    assert_eq!(asking.driver.list().unwrap().len(), 2);
    asking.driver.take_over(&grants[1..]).unwrap();
    assert_eq!(
        asking.ran(),
        ["/list ", "/list ", "/open 2 192.0.2.2 tcp/22 30"]
    );
    asking.lists("2\n3\n");
    asking.driver.tick(at(120));
    assert_eq!(asking.driver.verify(), Ok(true));
    asking.lists("2");
    asking.driver.tick(at(129));
    assert_eq!(asking.driver.verify(), Ok(true), "not asked every second");
    asking.driver.tick(at(131));
    assert_eq!(asking.driver.verify(), Ok(true), "the third's time is over");
    let longer = Grant {
        until: at(200),
        ..grants[2].clone()
    };
    asking.driver.apply(&[Change::Extend {
        old: grants[2].clone(),
        new: longer,
    }]);
    asking.driver.tick(at(142));
    assert_eq!(asking.driver.verify(), Ok(false), "somebody took it out");
    asking.lists("2\n3\n99\n");
    asking.driver.tick(at(160));
    assert!(
        asking
            .driver
            .verify()
            .unwrap_err()
            .to_string()
            .contains("grant 99 is open, but the journal does not know it")
    );
    asking.lists("two");
    assert!(
        asking
            .driver
            .list()
            .unwrap_err()
            .to_string()
            .contains("it must print the {id} of each open grant")
    );
}

#[test]
fn removing_closes_all_that_the_journal_knows() {
    let mut scene = Scene::new(false);
    scene.open(&grant(1, 7, TWO)).unwrap();
    scene.open(&grant(2, 7, TWO)).unwrap();
    scene.ran();
    scene.fail("/close 2", exits(1, "busy"));
    assert!(scene.driver.remove().is_err());
    assert_eq!(scene.found(), [(2, 0)]);
    scene.mend();
    scene.driver.remove().unwrap();
    assert_eq!(
        (scene.found(), Command::left(Box::new(scene.keep.clone()))),
        (vec![], Ok(0))
    );
}

#[test]
#[allow(clippy::disallowed_methods)]
fn protection_is_refused_and_so_is_a_program_that_others_could_change() {
    let mut scene = Scene::new(false);
    let protection = |services: &[&str]| Protection {
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        knock_ports: vec![62201],
        silence_knocks: true,
        behind: Vec::new(),
        hide_behind: false,
        forwards: Vec::new(),
    };
    assert!(
        scene
            .driver
            .install(&protection(&["tcp/22"]), &[])
            .unwrap_err()
            .to_string()
            .contains("cannot protect")
    );
    assert!(
        scene
            .driver
            .install(&protection(&[]), &[])
            .unwrap_err()
            .to_string()
            .starts_with("/open: No such file")
    );
}

#[test]
fn a_damaged_journal_is_refused_with_the_way_out() {
    let mut scene = Scene::new(false);
    scene.open(&grant(1, 7, TWO)).unwrap();
    let whole = scene.keep.text.lock().unwrap().clone().unwrap();
    for damaged in [
        whole.replace("alice", "bob"),
        whole[..whole.len() - 3].to_owned(),
        String::new(),
    ] {
        *scene.keep.text.lock().unwrap() = Some(damaged);
        let programs = scene.driver.programs.clone();
        let said = Command::open(
            programs,
            Box::new(Script::default()),
            Box::new(scene.keep.clone()),
        )
        .err()
        .unwrap()
        .to_string();
        assert!(
            said.starts_with("/m/journal: the journal of open grants is damaged: ")
                && said.contains("close by hand"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1);
    }
}
