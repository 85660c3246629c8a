//! systemd as a service knows it: a socket that takes words, and a watchdog.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::DRIVER;
use postern_harness::{Family, GateConfig, World, wait_for};

/// A socket in place of systemd's.
#[derive(Clone)]
struct Systemd(Arc<Mutex<Vec<String>>>);

impl Systemd {
    /// Listens on a socket in this folder.
    fn listen(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        let words = Self(Arc::default());
        let heard = Arc::clone(&words.0);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len) = socket.recv(&mut bytes) {
                let text = std::str::from_utf8(&bytes[..len]).unwrap();
                assert!(text.ends_with('\n'), "{text:?}");
                heard
                    .lock()
                    .unwrap()
                    .extend(text.lines().map(str::to_owned));
            }
        });
        words
    }

    /// Everything so far, but for what the watchdog was fed.
    fn heard(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|word| *word != "WATCHDOG=1")
            .cloned()
            .collect()
    }

    fn meals(&self) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|word| *word == "WATCHDOG=1")
            .count()
    }

    /// Waits until this was said so often.
    fn wait_for(&self, count: usize, start: &str) -> Vec<String> {
        wait_for(&format!("{count} × {start}"), || {
            let heard = self.heard();
            (heard.iter().filter(|word| word.starts_with(start)).count() >= count).then_some(heard)
        })
    }

    fn wait_for_meals(&self, more: usize) {
        let before = self.meals();
        wait_for("the watchdog to be fed", || {
            (self.meals() >= before + more).then_some(())
        });
    }
}

/// As a service of a systemd with a watchdog so short that a test can wait for it.
fn as_a_service(world: &mut World) -> Systemd {
    let systemd = Systemd::listen(world.folder());
    world.daemon.through = Some(format!(
        "NOTIFY_SOCKET={}/notify WATCHDOG_USEC=3000000 exec \"$@\"",
        world.folder().display()
    ));
    systemd
}

pub(crate) fn systemd_hears_start_reload_and_stop() {
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
    let time: u64 = time
        .strip_prefix("MONOTONIC_USEC=")
        .unwrap()
        .parse()
        .unwrap();
    let up = fs::read_to_string("/proc/uptime").unwrap();
    let up: f64 = up.split('.').next().unwrap().parse().unwrap();
    assert!(time > 0 && time / 1_000_000 <= up as u64 + 1, "{time} {up}");
    assert_eq!(
        world.daemon.logged(&["the engine serves"]).len(),
        2,
        "it is said when the new engine serves: {heard:?}"
    );

    fs::write(world.folder().join("posternd.toml"), "nonsense").unwrap();
    world.daemon.signal(Signal::HUP);
    systemd.wait_for(3, "READY=1");
    assert_eq!(
        systemd
            .wait_for(2, "RELOADING=1")
            .iter()
            .filter(|word| *word == "RELOADING=1")
            .count(),
        2
    );
    world
        .daemon
        .wait_for_lines(1, &["the new config is not used"]);

    world.daemon.stop();
    assert_eq!(
        systemd
            .wait_for(1, "STOPPING=1")
            .iter()
            .rev()
            .nth(1)
            .unwrap(),
        "STOPPING=1"
    );
}

pub(crate) fn failed_engine_is_never_ready() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    let systemd = as_a_service(&mut world);
    fs::create_dir(world.folder().join("state")).unwrap();
    fs::write(world.folder().join("state/marks.redb"), "no store").unwrap();
    world.daemon.start_process(&world.gate);
    assert!(!world.daemon.wait().success());
    assert!(
        systemd.heard().iter().all(|word| word == "STATUS=starting"),
        "{:?}",
        systemd.heard()
    );
}

/// The loop that decides about knocks is stuck: the monitor starts another engine, and the watchdog has no cause to bark.
pub(crate) fn hung_engine_is_replaced() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    let systemd = as_a_service(&mut world);
    world.start_again();
    systemd.wait_for_meals(5);
    let engine = world.daemon.engine();
    kill_process(Pid::from_raw(engine.cast_signed()).unwrap(), Signal::STOP).unwrap();
    world
        .daemon
        .wait_for_lines(1, &["ERROR", "the engine was ended: it does not answer"]);
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    assert_ne!(world.daemon.engine(), engine);
    systemd.wait_for_meals(5);
    world.first.knock("alice", Family::V4, &[]);
    world.first.expect_let_in(Family::V4);
}

/// One that is gone all too long is systemd's to mend, but a config that is wrong is not.
pub(crate) fn watchdog_is_fed_without_an_engine() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    let systemd = as_a_service(&mut world);
    world.start_again();
    let config = world.folder().join("posternd.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, "nonsense").unwrap();
    kill_process(
        Pid::from_raw(world.daemon.engine().cast_signed()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    systemd.wait_for(
        1,
        "STATUS=knocks are not heard now, 0 grants open; the log says why",
    );
    world
        .daemon
        .wait_for_lines(1, &["ERROR", "no engine, knocks are not heard"]);
    systemd.wait_for_meals(5);
    fs::write(&config, good).unwrap();
    systemd.wait_for(2, "STATUS=1 user, 0 grants open");
}

pub(crate) fn missing_notify_socket_hinders_nothing() {
    let mut world = World::prepare(&GateConfig::new(DRIVER));
    world.daemon.through = Some("NOTIFY_SOCKET=/nonexistent/notify exec \"$@\"".to_owned());
    world.start_again();
    world.first.knock("alice", Family::V4, &[]);
    world.first.expect_let_in(Family::V4);
    world.daemon.stop();
    assert_eq!(
        world
            .daemon
            .logged(&["WARN", "systemd cannot be notified"])
            .len(),
        1,
        "{}",
        world.daemon.log()
    );
}
