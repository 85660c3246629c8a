//! systemd as a service knows it: a notify socket and a watchdog.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;

use super::DRIVER;
use postern_harness::world::checks::kill;
use postern_harness::{Family, GateConfig, World, wait_for, wait_until};

#[derive(Clone)]
struct Systemd(Arc<Mutex<Vec<String>>>);

impl Systemd {
    fn listen(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        let words = Self(Arc::default());
        let heard = Arc::clone(&words.0);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len) = socket.recv(&mut bytes) {
                let text = std::str::from_utf8(&bytes[..len]).unwrap();
                assert!(text.ends_with('\n'), "{text:?}");
                let mut heard = heard.lock().unwrap();
                heard.extend(text.lines().map(str::to_owned));
            }
        });
        words
    }

    fn heard(&self) -> Vec<String> {
        let mut all = self.0.lock().unwrap().clone();
        all.retain(|word| word != "WATCHDOG=1");
        all
    }

    fn meals(&self) -> usize {
        let all = self.0.lock().unwrap();
        all.iter().filter(|word| *word == "WATCHDOG=1").count()
    }

    fn wait_for(&self, count: usize, start: &str) -> Vec<String> {
        wait_for(&format!("{count} × {start}"), || {
            let heard = self.heard();
            (heard.iter().filter(|word| word.starts_with(start)).count() >= count).then_some(heard)
        })
    }

    fn wait_for_meals(&self, more: usize) {
        let before = self.meals();
        wait_until("the watchdog to be fed", || self.meals() >= before + more);
    }
}

fn as_a_service(world: &mut World) -> Systemd {
    let systemd = Systemd::listen(world.folder());
    world.daemon.through = Some(format!(
        "NOTIFY_SOCKET={}/notify WATCHDOG_USEC=3000000 exec \"$@\"",
        world.folder().display()
    ));
    systemd
}

pub(crate) fn systemd_is_notified_of_start_reload_stop() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    let systemd = as_a_service(&mut world);
    world.daemon.start_process(&world.gate);
    assert_eq!(
        systemd.wait_for(2, "STATUS="),
        ["STATUS=starting", "READY=1", "STATUS=1 user, 0 grants open"]
    );
    // From then on it answers and opens.
    assert_eq!(world.daemon.status().users, 1);
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    systemd.wait_for(1, "STATUS=1 user, 1 grant open");

    world.daemon.signal(Signal::HUP);
    let heard = systemd.wait_for(2, "READY=1");
    let [reloading, time] = [&heard[4], &heard[5]];
    assert_eq!(reloading, "RELOADING=1");
    let (_, time) = time.split_once("MONOTONIC_USEC=").unwrap();
    let time: u64 = time.parse().unwrap();
    let up = fs::read_to_string("/proc/uptime").unwrap();
    let up: f64 = up.split('.').next().unwrap().parse().unwrap();
    assert!(time > 0 && time / 1_000_000 <= up as u64 + 1, "{time} {up}");
    // It is said when the new engine serves.
    world.daemon.expect_logged(2, &["the engine serves"]);

    fs::write(world.folder().join("posternd.toml"), "nonsense").unwrap();
    world.daemon.signal(Signal::HUP);
    systemd.wait_for(3, "READY=1");
    let heard = systemd.wait_for(2, "RELOADING=1");
    let reloads = heard.iter().filter(|word| *word == "RELOADING=1");
    assert_eq!(reloads.count(), 2);
    world
        .daemon
        .wait_for_lines(1, &["the new config is not used"]);

    world.daemon.stop();
    let heard = systemd.wait_for(1, "STOPPING=1");
    assert_eq!(heard.iter().rev().nth(1).unwrap(), "STOPPING=1");
}

pub(crate) fn failed_engine_is_never_ready() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    let systemd = as_a_service(&mut world);
    fs::create_dir(world.folder().join("state")).unwrap();
    fs::write(world.folder().join("state/marks.log"), "no store").unwrap();
    world.daemon.start_process(&world.gate);
    assert!(!world.daemon.wait().success());
    assert!(
        systemd.heard().iter().all(|word| word == "STATUS=starting"),
        "{:?}",
        systemd.heard()
    );
}

pub(crate) fn watchdog_is_notified_without_an_engine() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    let systemd = as_a_service(&mut world);
    world.start_again();
    let config = world.folder().join("posternd.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, "nonsense").unwrap();
    kill(world.daemon.engine());
    let status = "STATUS=knocks are not received now, 0 grants open; the log says why";
    systemd.wait_for(1, status);
    let said = ["ERROR", "no engine, knocks are not received"];
    world.daemon.wait_for_lines(1, &said);
    systemd.wait_for_meals(5);
    fs::write(&config, good).unwrap();
    systemd.wait_for(2, "STATUS=1 user, 0 grants open");
}

pub(crate) fn missing_notify_socket_hinders_nothing() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    world.daemon.through = Some("NOTIFY_SOCKET=/nonexistent/notify exec \"$@\"".to_owned());
    world.start_again();
    world.first.open("alice", Family::V4, &[]);
    world.daemon.stop();
    let said = ["WARN", "systemd cannot be notified"];
    world.daemon.expect_logged(1, &said);
}

pub(crate) fn missing_journal_leaves_standard_error() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    // Says, as systemd does, that standard error leads to the journal.
    let said = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)";
    world.daemon.through = Some(format!("mount -t tmpfs none /run && {said} exec \"$@\""));
    world.start_again();
    // Monitor and engine.
    let said = "the journal can't be reached, log lines go to standard error: ";
    world.daemon.wait_for_lines(2, &["WARN", said]);
    world.first.knock("alice", Family::V4, &[]);
    let opened = ["INFO", "open: grant 1", "user=\"alice\""];
    world.daemon.wait_for_lines(1, &opened);
}
