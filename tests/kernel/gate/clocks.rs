//! Hosts whose clock is set only after posternd has started, such as boards without a battery.

use std::time::{SystemTime, UNIX_EPOCH};

use postern_harness::clock::{set_clock, with_own_clock};
use postern_harness::{FAMILIES, Family, GateConfig, World};

pub(crate) fn gate_heals_when_the_clock_is_set(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend).quiet());
    world.daemon.through = Some(with_own_clock(world.folder()));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let in_1970 = 1000 - i64::try_from(since_1970.as_secs()).unwrap();
    let (unset, healed) = (
        ["WARN", "the system's clock says 1970-01-01"],
        ["INFO", "knocks are admitted again"],
    );
    for start in 1..=2 {
        set_clock(world.folder(), in_1970);
        world.start_again();
        world.daemon.wait_for_lines(1, &unset);
        if start == 1 {
            let knock = world.first.packet("alice", Family::V4, &[]);
            world.first.send(Family::V4, &knock);
            world.daemon.wait_for_count("drop unknown-hint", 1);
        } else {
            let reset = world.daemon.at_gate(&world.gate, &["reset-clock"]);
            assert!(!reset.status.success());
        }
        set_clock(world.folder(), 0);
        world.daemon.wait_for_lines(1, &healed);
        for family in FAMILIES {
            world.first.open("alice", family, &["--for", "2m"]);
        }
        let status = world.at_gate(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert!(status["uptime_ms"].as_u64().unwrap() < 600_000, "{status}");
        assert_eq!(status["clock_ahead_ms"], 0, "start {start}: {status}");
        world.daemon.expect_logged(0, &["ERROR"]);
        world.daemon.asked(&["close", "--all"]);
        world.daemon.stop();
    }
}
