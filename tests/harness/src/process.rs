//! What the kernel tells about a process, and signals to it.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.collect()
}

pub fn is_engine(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0engine\0"))
}

/// Its resident memory, in kB.
pub fn memory(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// Its resident memory without the pages of files, in kB.
pub fn own_memory(pid: u32) -> u64 {
    status(pid, "RssAnon:")
}

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut words = status.split_whitespace().skip_while(|word| *word != field);
    words.nth(1).unwrap().parse().unwrap()
}

/// The processor time that it has used.
pub fn processor_time(pid: u32) -> Duration {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = line.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2);
    // the kernel counts in hundredths of a second there
    Duration::from_millis(ticks.map(|one| one.parse::<u64>().unwrap() * 10).sum())
}

/// How many descriptors it has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Sends a signal, unless the process is gone already.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}
