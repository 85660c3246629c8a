//! How long a knock takes to open the port: the limit program, Postern and fwknopd in turns.

use std::time::Duration;

use crate::Plan;
use crate::figures::{Figures, print_table, row, write_csv};
use crate::subject::{Fwknopd, Subject};

/// After a knock, so that what a gate does later does not meet the next knock.
const PAUSE: Duration = Duration::from_millis(3);

pub(crate) fn measure(plan: &Plan) {
    let mut subjects = vec![
        Subject::limit(true),
        Subject::limit(false),
        Subject::postern("nftables", 0),
        Subject::postern("iptables", 0),
        Subject::postern("iptables", 5_000),
        Subject::postern("iptables", 10_000),
    ];
    for kind in [Fwknopd::UdpIpset, Fwknopd::Udp, Fwknopd::AsShipped] {
        match Subject::fwknopd(kind) {
            Some(subject) => subjects.push(subject),
            None => println!("{kind:?}: fwknopd or ipset is not installed\n"),
        }
    }
    report(plan, "knocks", &mut subjects);
}

/// Whose turn it is. A subject finds the caches of the processor as the one before left them, so each second round goes backwards.
fn order(round: usize, turn: usize, subjects: usize) -> usize {
    let number = (round / 2 + turn) % subjects;
    if round.is_multiple_of(2) {
        number
    } else {
        subjects - 1 - number
    }
}

/// Measures knocks in turns. The first subject is what the others are compared with.
pub(crate) fn report(plan: &Plan, name: &str, subjects: &mut [Subject]) {
    let mut times = vec![Vec::new(); subjects.len()];
    let mut lines = Vec::new();
    let mut lost = vec![0; subjects.len()];
    for round in 0..plan.rounds {
        for turn in 0..subjects.len() {
            let number = order(round, turn, subjects.len());
            let subject = &mut subjects[number];
            let took = subject.time_to_open(u32::try_from(round + 1).unwrap());
            let took = took.map(|took| took.as_secs_f64() * 1e3);
            let millis = took.map_or("lost".to_owned(), |took| format!("{took:.4}"));
            lines.push(format!("\"{}\",{round},{millis}", subject.name));
            match took {
                Some(took) => times[number].push(took),
                None => lost[number] += 1,
            }
            std::thread::sleep(PAUSE);
        }
    }
    write_csv(
        &plan.out,
        &format!("{name}.csv"),
        "subject,round,milliseconds",
        &lines,
    );
    let head = [
        "knock → open port, ms",
        "5 %",
        "median",
        "95 %",
        "99 %",
        "ratio of the medians",
        "lost",
    ];
    let mut rows = vec![row(&head)];
    let first = Figures::of(&times[0]).median();
    for ((subject, times), lost) in subjects.iter().zip(&times).zip(lost) {
        let figures = Figures::of(times);
        let mut cells = vec![subject.name.clone()];
        cells.extend([5, 50, 95, 99].map(|percent| format!("{:.2}", figures.at(percent))));
        cells.push(format!("{:.2}", figures.median() / first));
        cells.push(format!("{lost} of {}", plan.rounds));
        rows.push(cells);
    }
    print_table(&rows);
}
