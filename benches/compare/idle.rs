//! How often the processes of a gate wake up while nobody knocks.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::Plan;
use crate::figures::{print_table, row, write_csv};
use crate::subject::{Fwknopd, Subject};

const MINUTE: Duration = Duration::from_secs(60);
/// After the start, before the first look.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) fn measure(plan: &Plan) {
    let mut subjects = vec![
        Subject::limit(true),
        Subject::postern("nftables", 0),
        Subject::postern("iptables", 0),
    ];
    subjects.extend(
        [Fwknopd::Udp, Fwknopd::AsShipped]
            .into_iter()
            .filter_map(Subject::fwknopd),
    );
    sleep(SETTLE);
    let before: Vec<u64> = subjects.iter().map(wake_ups).collect();
    sleep(MINUTE);
    let mut rows = vec![row(&["idle", "wake-ups a minute"])];
    let mut lines = Vec::new();
    for (subject, before) in subjects.iter().zip(before) {
        let count = wake_ups(subject) - before;
        rows.push(vec![subject.name.clone(), count.to_string()]);
        lines.push(format!("\"{}\",{count}", subject.name));
    }
    write_csv(&plan.out, "idle.csv", "subject,wake_ups", &lines);
    print_table(&rows);
}

/// How often a thread of its processes has begun to wait.
fn wake_ups(subject: &Subject) -> u64 {
    let of_process = |pid: &u32| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks
            .map(|task| waits(&task.unwrap().path().join("status")))
            .sum::<u64>()
    };
    subject.processes().iter().map(of_process).sum()
}

fn waits(status: &std::path::Path) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.map_or(0, |count| count.trim().parse().unwrap())
}
