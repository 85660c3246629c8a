//! Hooks in their real thread, with scripted programs and a journal in memory.

use std::sync::{Arc, Condvar, Mutex};

use super::*;
use crate::adapters::firewall::memory::MemoryDriver;
use crate::core::fixture::{request, settings};
use crate::core::order::{Order, Report, Selection};
use crate::daemon::monitor::executor::Executor;
use crate::model::command_template::{Argument, CommandTemplate};
use crate::model::journal::memory::MemoryJournal;
use crate::model::run::{Call, Ran, RunError};

#[derive(Clone, Default)]
struct Script(Arc<(Mutex<Played>, Condvar)>);

#[derive(Default)]
struct Played {
    ran: Vec<String>,
    is_held: bool,
    status: i32,
}

impl Run for Script {
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        let (played, changed) = &*self.0;
        let mut played = played.lock().unwrap();
        let line = format!("{} {}", call.program.display(), call.args.join(" "));
        played.ran.push(line);
        changed.notify_all();
        while played.is_held {
            played = changed.wait(played).unwrap();
        }
        Ok(Ran {
            status: Some(played.status),
            ..Ran::default()
        })
    }
}

impl Script {
    fn set(&self, change: impl FnOnce(&mut Played)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn wait_for(&self, count: usize) -> Vec<String> {
        let (played, changed) = &*self.0;
        let (played, limit) = (played.lock().unwrap(), Duration::from_secs(30));
        let waited = changed.wait_timeout_while(played, limit, |played| played.ran.len() < count);
        waited.unwrap().0.ran.clone()
    }
}

fn config() -> Settings {
    let mut settings = settings(&[("alice", &["tcp/1-1000"])]);
    let arguments = ["{user}", "{service}"].map(|text| Argument::read(text).unwrap());
    let template = |program: &str| CommandTemplate::new(program.into(), arguments.to_vec());
    for (name, ports, on_open) in [
        ("ssh", &["tcp/22"][..], true),
        ("web", &["tcp/80", "tcp/443"], false),
    ] {
        let ports = ports.iter().map(|text| text.parse().unwrap());
        let service = settings.catalog.entry(name.to_owned()).or_default();
        service.ports = ports.collect();
        service.on_open = on_open.then(|| template("/open"));
        service.on_close = Some(template("/close"));
    }
    settings
}

const END_ALL: Order = Order::End {
    ticket: 2,
    which: Selection::All,
};
const BOTH: [&str; 2] = ["/open alice tcp/22", "/close alice tcp/22"];

struct Scene {
    executor: Executor,
    script: Script,
    keep: MemoryJournal,
    clock: Steady,
}

impl Scene {
    fn new() -> Self {
        Self::over(MemoryDriver::default(), MemoryJournal::default())
    }

    fn over(firewall: MemoryDriver, keep: MemoryJournal) -> Self {
        let (clock, script) = (Steady::new(), Script::default());
        let driver = Box::new(firewall);
        let mut executor = Executor::open(&config(), driver, None, clock.now()).unwrap();
        let (played, kept) = (script.clone(), keep.clone());
        let backing = move || -> Result<Backing, HookError> {
            Ok((Box::new(played.clone()), Box::new(kept.clone())))
        };
        let hooks = Hooks::start(&config(), executor.grants(), true, clock, backing).unwrap();
        executor.attach(hooks);
        Self {
            executor,
            script,
            keep,
            clock,
        }
    }

    fn open(&mut self, host: u8, services: &[&str], seconds: u64) -> bool {
        let request = request("alice", &format!("192.0.2.{host}/32"), services, seconds);
        let reports = self.serve(vec![Order::Open { ticket: 1, request }]);
        matches!(reports[..], [Report::Opened { .. }])
    }

    fn serve(&mut self, orders: Vec<Order>) -> Vec<Report> {
        self.executor.serve(self.clock.now(), orders)
    }

    fn close_all(&mut self) {
        self.serve(vec![END_ALL]);
    }
}

#[test]
fn hook_runs_once_for_each_entry() {
    let mut scene = Scene::new();
    // A renewal opens nothing.
    assert!(scene.open(1, &["tcp/22"], 30) && scene.open(1, &["tcp/22"], 60));
    assert!(scene.open(2, &["tcp/443"], 30) && scene.open(3, &["tcp/80-500"], 30));
    scene.close_all();
    let mut ran = scene.script.wait_for(4);
    assert_eq!(ran[0], "/open alice tcp/22");
    ran.sort();
    let expected = ["22", "443", "80"].map(|port| format!("/close alice tcp/{port}"));
    assert_eq!(ran[..3], expected);
    scene.executor.leave_open(scene.clock.now());
    assert_eq!(scene.script.wait_for(4).len(), 4);
}

#[test]
fn on_close_runs_however_a_grant_ends() {
    for how in ["time", "reload", "remove"] {
        let mut scene = Scene::new();
        assert!(scene.open(1, &["tcp/22"], 1));
        let (now, bob) = (scene.clock.now(), settings(&[("bob", &["tcp/22"])]));
        match how {
            "time" => drop(
                scene
                    .executor
                    .serve(now.plus(Duration::from_secs(1)), vec![]),
            ),
            "reload" => scene.executor.reload(&bob, now).unwrap(),
            _ => scene.executor.remove().unwrap(),
        }
        assert_eq!(scene.script.wait_for(2), BOTH, "{how}");
    }
}

#[test]
fn grant_of_one_batch_runs_both_hooks() {
    let mut scene = Scene::new();
    let request = request("alice", "192.0.2.1/32", &["tcp/22"], 30);
    let reports = scene.serve(vec![Order::Open { ticket: 1, request }, END_ALL]);
    let both = matches!(
        reports[..],
        [Report::Opened { .. }, Report::Closed { count: 1, .. }]
    );
    assert!(both, "{reports:?}");
    assert_eq!(scene.script.wait_for(2), BOTH);
}

#[test]
fn failed_open_runs_no_hook() {
    let firewall = MemoryDriver::default();
    let mut scene = Scene::over(firewall.clone(), MemoryJournal::default());
    assert!(!scene.open(1, &["udp/22"], 30) && !scene.open(1, &["tcp/22"], 1_000_000));
    firewall.with(|state| state.failing = Some("no".to_owned()));
    assert!(!scene.open(1, &["tcp/22"], 30));
    scene.executor.leave_open(scene.clock.now());
    assert_eq!(scene.script.wait_for(0), Vec::<String>::new());
}

#[test]
fn hanging_hook_delays_no_order() {
    let mut scene = Scene::new();
    scene.script.set(|played| played.is_held = true);
    let count = QUEUE + 200;
    for n in 0..count {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap());
        let request = request("alice", &format!("{address}/32"), &["tcp/22"], 60);
        let reports = scene.serve(vec![Order::Open { ticket: 1, request }]);
        assert!(matches!(reports[..], [Report::Opened { .. }]), "{n}");
    }
    // The first hook hangs, and the executor did everything else.
    assert_eq!(scene.script.wait_for(1).len(), 1);
    scene.close_all();
    assert_eq!(scene.executor.grants().count(), 0);
    scene.script.set(|played| played.is_held = false);
    let balance = |ran: &[String]| {
        let of = |start: &str| ran.iter().filter(|line| line.starts_with(start)).count();
        (of("/open"), of("/close"))
    };
    let (mut opened, mut closed) = (0, 1);
    for _ in 0..3000 {
        scene.executor.check_firewall(scene.clock.now());
        (opened, closed) = balance(&scene.script.wait_for(0));
        if opened == closed && opened >= QUEUE {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(
        opened == closed && (QUEUE..=QUEUE + 2).contains(&opened),
        "{opened} opened, {closed} closed"
    );
}

#[test]
fn on_close_runs_after_a_crash() {
    let firewall = MemoryDriver::default();
    let mut scene = Scene::over(firewall.clone(), MemoryJournal::default());
    assert!(scene.open(1, &["tcp/22"], 600) && scene.open(2, &["tcp/80-500"], 600));
    scene.script.wait_for(1);
    // The web's programs are recorded after ssh's hook has run.
    for _ in 0..3000 {
        let kept = scene.keep.text.lock().unwrap().clone().unwrap_or_default();
        if kept.contains("tcp/443\"") {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let keep = MemoryJournal::default();
    *keep.text.lock().unwrap() = scene.keep.text.lock().unwrap().clone();
    let is_web = |grant: &Grant| grant.services[0].to_string() != "tcp/22";
    firewall.with(|state| state.open.retain(is_web));
    let mut after = Scene::over(firewall, keep.clone());
    assert_eq!(after.script.wait_for(1), ["/close alice tcp/22"]);
    after.close_all();
    let web = ["/close alice tcp/80", "/close alice tcp/443"];
    assert_eq!(after.script.wait_for(3)[1..], web);
    after.executor.leave_open(after.clock.now());
    let rest = keep.text.lock().unwrap().clone().unwrap();
    assert_eq!(rest.lines().count(), 1, "{rest}");
}

#[test]
fn failing_on_close_is_retried() {
    let mut scene = Scene::new();
    scene.script.set(|played| played.status = 1);
    assert!(scene.open(1, &["tcp/22"], 600));
    assert_eq!(scene.script.wait_for(1).len(), 1);
    assert_eq!(scene.executor.grants().count(), 1, "it changes no grant");
    scene.close_all();
    assert_eq!(scene.script.wait_for(2)[1], "/close alice tcp/22");
    scene.script.set(|played| played.status = 0);
    assert_eq!(scene.script.wait_for(3), [BOTH[0], BOTH[1], BOTH[1]]);
}

#[test]
fn reload_may_bring_the_first_hook() {
    let clock = Steady::new();
    let plain = settings(&[("alice", &["tcp/1-1000"])]);
    let driver = Box::new(MemoryDriver::default());
    let mut executor = Executor::open(&plain, driver, None, clock.now()).unwrap();
    let (script, asked) = (Script::default(), Arc::new(Mutex::new(0)));
    let (played, counted) = (script.clone(), asked.clone());
    let backing = move || -> Result<Backing, HookError> {
        *counted.lock().unwrap() += 1;
        Ok((Box::new(played.clone()), Box::new(MemoryJournal::default())))
    };
    let hooks = Hooks::start(&plain, executor.grants(), false, clock, backing).unwrap();
    executor.attach(hooks);
    let mut scene = Scene {
        executor,
        script,
        keep: MemoryJournal::default(),
        clock,
    };
    assert!(scene.open(1, &["tcp/22"], 60));
    scene.executor.reload(&plain, clock.now()).unwrap();
    // A gate without hooks needs no directory and no thread.
    assert_eq!(*asked.lock().unwrap(), 0);
    scene.executor.reload(&config(), clock.now()).unwrap();
    assert!(scene.open(2, &["tcp/22"], 60));
    scene.close_all();
    assert_eq!(scene.script.wait_for(2), BOTH);
    scene.executor.leave_open(clock.now());
    assert_eq!(scene.script.wait_for(0).len(), 2, "not for older grants");
}
