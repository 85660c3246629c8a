//! Faults of the replay store's disk: full, read-only, failing, slow, damaged. No grant opens before its mark is durable, open grants
//! stay, and knocks work again once the disk does.
//!
//! A small tmpfs covers the state directory in the daemon's mount namespace. System calls on the real file fail or wait.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::inject::Injector;
use super::plan;
use postern_harness::world::checks::{USER, expect_opened_once, kill, openings};
use postern_harness::{FAMILIES, Family, World, wait_until};

const FILE: &str = "marks.log";

fn on_small_disk(backend: &str, size: &str) -> World {
    let mut world = World::prepare(&plan(backend));
    let state = world.folder().join("state");
    fs::create_dir(&state).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size={size},mode=700 tmpfs {}",
        state.display()
    );
    world.daemon.through = Some(format!("{mount} && exec \"$@\""));
    world.start_again();
    open_alices_grant(&world);
    world
}

fn open_alices_grant(world: &World) {
    world.first.open("alice", Family::V6, &["--for", "10m"]);
}

fn state(world: &World) -> PathBuf {
    let here = world.folder().join("state");
    PathBuf::from(format!(
        "/proc/{}/root{}",
        world.daemon.pid(),
        here.display()
    ))
}

fn is_stored(world: &World, packet: &[u8]) -> bool {
    let (opened, refused) = (openings(world), refusals(world));
    world.first.send(Family::V4, packet);
    wait_until("a verdict", || {
        openings(world) > opened || refusals(world) > refused
    });
    openings(world) > opened
}

/// How many knocks were refused because their mark was not stored.
fn refusals(world: &World) -> usize {
    world
        .daemon
        .logged(&["WARN", USER, "refused: ", "rule=\"store\""])
        .len()
}

fn said(world: &World, fault: &str) -> Vec<String> {
    world.daemon.logged(&[FILE, fault, "; "])
}

fn expect_deaf(world: &World, fault: &str) {
    wait_until("the fault in one line", || !said(world, fault).is_empty());
    wait_until_only_alices_grant_is_open(world);
    let before = openings(world);
    world.first.knock(USER, Family::V4, &[]);
    world.first.expect_shut_out(Family::V4);
    world.first.expect_let_in(Family::V6);
    assert_eq!(openings(world), before);
}

fn wait_until_only_alices_grant_is_open(world: &World) {
    wait_until("every other grant to end", || world.rules().len() == 1);
}

/// The store has its room from the first start on, so knocks go on and none is forgotten.
pub(crate) fn full_disk_stops_no_knock(backend: &'static str) {
    let world = on_small_disk(backend, "3m");
    let filler = state(&world).join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    let mut stored = Vec::new();
    for _ in 0..20 {
        let packet = world.first.packet(USER, Family::V4, &["--for", "2s"]);
        assert!(is_stored(&world, &packet), "{}", world.daemon.log());
        stored.push(packet);
    }
    // A full disk can be started from as well.
    kill(world.daemon.engine());
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    let next = world.first.packet(USER, Family::V4, &["--for", "2s"]);
    expect_well_again(&world, &stored, &next);
}

/// Before the first start there is no room yet.
pub(crate) fn full_disk_stops_the_first_start(backend: &'static str) {
    let mut world = World::prepare(&plan(backend));
    let state = world.folder().join("state");
    fs::create_dir(&state).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=1m,mode=700 tmpfs {}",
        state.display()
    );
    world.daemon.through = Some(format!("{mount} && exec \"$@\""));
    world.daemon.start_process(&world.gate);
    assert_eq!(
        world.daemon.wait().code(),
        Some(74),
        "{}",
        world.daemon.log()
    );
    let said = world
        .daemon
        .logged(&[FILE, "it cannot be created", "No space left on device"]);
    assert_eq!(said.len(), 1, "{}", world.daemon.log());
    for family in FAMILIES {
        world.second.expect_shut_out(family);
    }
}

pub(crate) fn read_only_disk_opens_nothing(backend: &'static str) {
    let world = on_small_disk(backend, "16m");
    let packet = world.first.packet(USER, Family::V4, &["--for", "2s"]);
    assert!(is_stored(&world, &packet));
    // The kernel cannot remount a file system that is open for writing, so the engine is killed first.
    world.daemon.signal(Signal::STOP);
    kill(world.daemon.engine());
    wait_until("the disk to be read-only", || remount(&world, "ro"));
    world.daemon.signal(Signal::CONT);
    expect_deaf(&world, "Read-only file system");
    assert!(remount(&world, "rw"));
    let refused = world.first.packet(USER, Family::V4, &["--for", "2s"]);
    expect_well_again(&world, &[packet], &refused);
}

fn remount(world: &World, how: &str) -> bool {
    let mut command = std::process::Command::new("nsenter");
    command
        .arg(format!("--mount=/proc/{}/ns/mnt", world.daemon.pid()))
        .args(["mount", "-o", &format!("remount,{how}")]);
    command
        .arg(world.folder().join("state"))
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
        .success()
}

pub(crate) fn failed_write_or_sync_opens_nothing(backend: &'static str) {
    let world = World::start(&plan(backend));
    open_alices_grant(&world);
    let syncs = ["EIO", "ENOSPC", "EROFS", "EDQUOT"].map(|error| ("fdatasync", error));
    let writes = ["EIO", "ENOSPC"].map(|error| ("pwrite64", error));
    for (count, (call, error)) in (1..).zip(syncs.into_iter().chain(writes)) {
        let packet = world.first.packet(USER, Family::V4, &["--for", "2s"]);
        let injector = Injector::engine(&world, call, &format!("error={error}:when=1"));
        assert!(
            !is_stored(&world, &packet),
            "{call}, {error}: opened without its mark"
        );
        assert_eq!(refusals(&world), count, "{error}: one line a knock");
        world
            .daemon
            .wait_for_lines(count + 1, &["the engine serves"]);
        drop(injector);
        expect_well_again(&world, &[], &packet);
    }
    assert!(!said(&world, "Input/output error").is_empty());
}

pub(crate) fn slow_sync_delays_the_grant(backend: &'static str) {
    let world = World::start(&plan(backend));
    let packet = world.first.packet(USER, Family::V4, &["--for", "1m"]);
    let injector = Injector::engine(&world, "fdatasync", "delay_enter=10s:when=1");
    let start = Instant::now();
    world.first.send(Family::V4, &packet);
    world.daemon.wait_for_admitted(1);
    world.first.expect_shut_out(Family::V4);
    world.daemon.wait_for_lines(1, &["open: grant", USER]);
    assert!(start.elapsed() > Duration::from_secs(10), "before its mark");
    world.first.expect_let_in(Family::V4);
    drop(injector);
    assert!(!expect_opened_once(&world, Family::V4, &packet, 1));
}

/// A store damaged before a start: posternd refuses in one line, protection and grants stay. A store damaged under an engine: the next
/// engine does not serve until the file is restored.
pub(crate) fn damaged_store_stops_the_engine(backend: &'static str) {
    let mut world = World::start(&plan(backend));
    open_alices_grant(&world);
    let packet = world.first.packet(USER, Family::V4, &["--for", "2s"]);
    assert!(is_stored(&world, &packet));
    let file = world.folder().join("state").join(FILE);
    world.daemon.stop();
    let whole = fs::read(&file).unwrap();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(8192)
        .unwrap();
    world.daemon.start_process(&world.gate);
    let status = world.daemon.wait();
    assert_eq!(status.code(), Some(74), "{}", world.daemon.log());
    let said = world
        .daemon
        .logged(&[FILE, "move the file away and start again"]);
    assert_eq!(said.len(), 1, "{}", world.daemon.log());
    world.first.expect_let_in(Family::V6);
    for family in FAMILIES {
        world.second.expect_shut_out(family);
    }
    put_back(&file, &whole);
    world.start_again();
    assert!(!expect_opened_once(&world, Family::V4, &packet, 1));

    world.daemon.signal(Signal::STOP);
    kill(world.daemon.engine());
    let whole = fs::read(&file).unwrap();
    put_back(&file, &vec![0xff; whole.len()]);
    world.daemon.signal(Signal::CONT);
    expect_deaf(&world, "the replay store is damaged");
    put_back(&file, &whole);
    let next = world.first.packet(USER, Family::V4, &["--for", "2s"]);
    expect_well_again(&world, &[packet], &next);
}

fn put_back(file: &std::path::Path, bytes: &[u8]) {
    let store = fs::File::options().write(true).open(file).unwrap();
    store.set_len(bytes.len() as u64).unwrap();
    store.write_all_at(bytes, 0).unwrap();
}

/// A knock opens, admitted packets are refused as replays, and refused packets are admitted at most once.
fn expect_well_again(world: &World, stored: &[Vec<u8>], refused: &[u8]) {
    wait_until("the engine to serve", || {
        world.daemon.ask(&["status"]).status.success()
    });
    world.first.open(USER, Family::V4, &["--for", "2s"]);
    for packet in stored.iter().rev().take(3) {
        assert!(!expect_opened_once(world, Family::V4, packet, 1));
    }
    expect_opened_once(world, Family::V4, refused, 0);
    wait_until_only_alices_grant_is_open(world);
    world.first.expect_let_in(Family::V6);
    world.first.expect_shut_out(Family::V4);
}
