//! Hosts whose clock is set only after posternd has started, such as boards without a battery.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use postern_harness::{FAMILIES, Family, GateConfig, World};

/// Adds the seconds in a file to the wall clock of each program that the dynamic linker starts.
const CLOCK: &str = r#"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset = MAP_FAILED;

__attribute__((constructor)) static void begin(void) {
    int file = open(OFFSET, O_RDONLY);
    offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_REALTIME && offset != MAP_FAILED)
        time->tv_sec += *offset;
    return (int)failed;
}
"#;

fn set_clock(world: &World, offset: i64) {
    use std::os::unix::fs::FileExt;
    let mut options = fs::File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options.open(world.folder().join("offset")).unwrap();
    file.write_all_at(&offset.to_ne_bytes(), 0).unwrap();
}

/// posternd with a wall clock of its own.
fn with_own_clock(world: &mut World) {
    let here = world.folder().display().to_string();
    fs::write(world.folder().join("clock.c"), CLOCK).unwrap();
    let mut compiler = Command::new("cc");
    let flags = ["-shared", "-fPIC", "-o"].map(str::to_owned);
    let files = [format!("{here}/clock.so"), format!("{here}/clock.c")];
    let compiler = compiler.args(flags).args(files);
    let compiled = compiler.arg(format!("-DOFFSET=\"{here}/offset\"")).status();
    assert!(compiled.unwrap().success());
    let own_etc = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work && mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc";
    let preload = format!("echo {here}/clock.so >/etc/ld.so.preload");
    world.daemon.through = Some(format!("{own_etc} && {preload} && exec \"$@\""));
}

pub(crate) fn gate_heals_when_the_clock_is_set(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend).quiet());
    with_own_clock(&mut world);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let in_1970 = 1000 - i64::try_from(since_1970.as_secs()).unwrap();
    let (unset, healed) = (
        ["WARN", "the system's clock says 1970-01-01"],
        ["INFO", "knocks are admitted again"],
    );
    for start in 1..=2 {
        set_clock(&world, in_1970);
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
        set_clock(&world, 0);
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
