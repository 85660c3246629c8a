//! The way of one knock, counted: which thread makes which system calls, from the packet to the report.

use super::inject::Injector;
use super::plan;
use postern_harness::world::checks::USER;
use postern_harness::{Family, World, wait_for};

/// Calls that a thread makes now and then, whatever it does.
const MEMORY: [&str; 4] = ["brk", "mmap", "munmap", "madvise"];

/// A call, by its thread.
#[derive(Debug)]
struct Call<'a> {
    thread: &'a str,
    name: &'a str,
    line: &'a str,
}

/// In a line of strace: the thread, the time, the call. A call that is resumed was begun in an earlier line.
fn calls(log: &str) -> Vec<Call<'_>> {
    let call = |line| {
        let mut words = str::split_whitespace(line);
        let (thread, _, call) = (words.next()?, words.next()?, words.next()?);
        let (name, _) = call.split_once('(')?;
        let is_call = !MEMORY.contains(&name);
        is_call.then_some(Call { thread, name, line })
    };
    log.lines().filter_map(call).collect()
}

/// What the thread of this call did before it, since it last waited for something to read.
fn way_to(log: &str, name: &str, has: &str) -> Option<Vec<String>> {
    let calls = calls(log);
    let end = calls
        .iter()
        .position(|call| call.name == name && call.line.contains(has))?;
    let own = calls[..=end]
        .iter()
        .filter(|call| call.thread == calls[end].thread);
    let own: Vec<String> = own.map(|call| call.name.to_owned()).collect();
    let wait = own.iter().rposition(|name| name.ends_with("poll"));
    Some(own[wait.map_or(0, |wait| wait + 1)..].to_vec())
}

fn trace(world: &World, pid: u32, name: &str, has: &str) -> Vec<String> {
    world.first.open(USER, Family::V6, &["--for", "1m"]);
    let injector = Injector::watch(world, pid);
    world.first.knock(USER, Family::V4, &["--for", "1m"]);
    wait_for("the call", || way_to(&injector.log(), name, has))
}

/// Calls of locks between the two threads, which depend on who is faster.
fn without_locks(way: Vec<String>) -> Vec<String> {
    way.into_iter().filter(|name| name != "futex").collect()
}

/// Before the order is sent, the other thread has announced it.
pub(crate) fn one_thread_takes_a_knock_to_its_order(backend: &'static str) {
    let world = World::start(&plan(backend));
    let engine = world.daemon.engine();
    let way = trace(&world, engine, "sendto", r#"{\"open\":"#);
    let expected = ["recvmmsg", "pwrite64", "fdatasync", "sendto"];
    assert_eq!(without_locks(way), expected);
}

/// The log line is written before the report. On a slow machine the order comes later than the monitor waits for it, or with its
/// announcement. Then more calls look for orders.
pub(crate) fn monitor_opens_with_few_calls(backend: &'static str) {
    let rest = ["sendto", "recvfrom", "write", "sendmsg"];
    let ways = (0..20).map(|_| {
        let world = World::start(&plan(backend));
        let monitor = world.daemon.pid();
        trace(&world, monitor, "sendmsg", r#"{\"opened\":"#)
    });
    let mut looks = ways.map(|way| {
        let looks = way.iter().take_while(|name| *name == "recvmsg").count();
        assert_eq!(way[looks..], rest);
        assert!(looks <= 3, "{looks} looks for an order");
        looks
    });
    assert!(looks.any(|looks| looks == 1));
}
