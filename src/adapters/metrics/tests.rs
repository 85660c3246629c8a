//! The text, line by line.

use super::*;
use crate::model::counters::ReasonCounters;
use crate::model::counters::{CaptureCounters, ClaimCounters, GrantCounters};
use crate::model::fleet::{FleetCounters, FleetStatus, MemberStatus};

fn snapshot() -> Snapshot {
    let mut counters = ReasonCounters::default();
    counters.admitted = 5;
    for reason in Reason::all() {
        (0..=reason.index()).for_each(|_| counters.count(reason));
    }
    let started = Timestamp::from_millis(1_760_000_000_500);
    let capture = |listening, received, dropped| CaptureCounters {
        listening,
        received,
        dropped,
    };
    let (heard, lost) = (capture(true, 11, Some(12)), capture(false, 13, None));
    let turnover = GrantCounters {
        opened: 4,
        extended: 3,
        closed: 2,
    };
    Snapshot {
        figures: Some(EngineCounters {
            started,
            users: 6,
            marks: 7,
            hints: 18,
            counters,
            captures: vec![heard, lost],
            claims: Some(ClaimCounters {
                won: 14,
                lost: 15,
                unknown: 16,
                answers: true,
            }),
            fleet: Some(Box::new(FleetStatus {
                lag_ms: Some(17),
                members: vec![member(2000, -21_500), member(7000, 90_000)],
                grants: 18,
                counters: FleetCounters {
                    taken: 19,
                    refused: [("seal".to_owned(), 20)].into(),
                    ..FleetCounters::default()
                },
                ..FleetStatus::default()
            })),
        }),
        captures: vec!["eth0".to_owned(), "a \"b\"\\\n".to_owned()],
        tally: MonitorCounters {
            started: Timestamp::from_millis(1_750_000_000_000),
            engines: 8,
            grants: 9,
            faults: 1,
            turnover,
            roster: Some(RosterCounters {
                version: 12,
                stale: Some(Timestamp::from_millis(1_750_000_000_500)),
                refused: std::array::from_fn(|at| 20 + at as u64),
                ..RosterCounters::default()
            }),
        },
    }
}

fn member(heard_ms: u64, age_ms: i64) -> MemberStatus {
    MemberStatus {
        member: "gate2".to_owned(),
        heard_ms,
        age_ms,
    }
}

fn samples(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .collect()
}

#[test]
fn every_reason_has_its_counter() {
    let text = snapshot().open_metrics();
    let samples = samples(&text);
    let (mut malformed, mut fwknop, mut codes) = (0, 0, 0);
    for reason in Reason::all() {
        let name = match reason {
            Reason::Drop(Drop::Malformed(rule)) => {
                format!("postern_malformed_total{{rule=\"{}\"}}", rule.as_str())
            }
            Reason::Drop(Drop::Fwknop(fault)) => {
                format!(
                    "postern_fwknop_dropped_total{{fault=\"{}\"}}",
                    fault.as_str()
                )
            }
            Reason::Drop(reason) => {
                format!("postern_dropped_total{{reason=\"{}\"}}", reason.name())
            }
            Reason::Refuse(Rule::Code(fault)) => {
                format!("postern_code_refused_total{{fault=\"{}\"}}", fault.name())
            }
            Reason::Refuse(rule) => format!("postern_refused_total{{rule=\"{}\"}}", rule.name()),
        };
        let count = reason.index() + 1;
        match reason {
            Reason::Drop(Drop::Malformed(_)) => malformed += count,
            Reason::Drop(Drop::Fwknop(_)) => fwknop += count,
            Reason::Refuse(Rule::Code(_)) => codes += count,
            _ => {}
        }
        let sample = (&*name, &*count.to_string());
        let told = samples.iter().filter(|told| **told == sample).count();
        assert_eq!(told, 1, "{name} {count} in\n{text}");
    }
    for (name, sum) in [
        ("postern_dropped_total{reason=\"malformed\"}", malformed),
        ("postern_dropped_total{reason=\"fwknop\"}", fwknop),
        ("postern_refused_total{rule=\"code\"}", codes),
    ] {
        assert!(samples.contains(&(name, &*sum.to_string())), "{text}");
    }
    let labels = ["{reason=", "{rule=", "{fault="].map(|label| text.matches(label).count());
    let of_rosters = crate::model::roster::RosterFault::ALL.len();
    assert_eq!(
        labels.iter().sum::<usize>(),
        Reason::COUNT + 3 + of_rosters + 1
    );
    // A monitoring system refuses two of one name.
    let names: std::collections::BTreeSet<&str> = samples.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), samples.len(), "{text}");
}

#[test]
fn every_other_counter_is_present() {
    let text = snapshot().open_metrics();
    let samples = samples(&text);
    let build = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    for (name, value) in [
        (&*format!("build_info{build}"), "1"),
        ("start_time_seconds", "1750000000.0"),
        ("engine_start_time_seconds", "1760000000.5"),
        ("engine_serving", "1"),
        ("engine_starts_total", "8"),
        ("grants", "9"),
        ("grants_opened_total", "4"),
        ("grants_extended_total", "3"),
        ("grants_closed_total", "2"),
        ("roster_version", "12"),
        ("roster_stale_time_seconds", "1750000000.5"),
        ("roster_refused_total{reason=\"older\"}", "28"),
        ("fleet_lag_seconds", "0.017"),
        ("coordinator_answers", "1"),
        ("fleet_clock_difference_seconds", "21.5"),
        ("fleet_grants", "18"),
        ("fleet_current", "1"),
        ("fleet_taken_total", "19"),
        ("fleet_refused_total{reason=\"seal\"}", "20"),
        ("users", "6"),
        ("marks", "7"),
        ("hint_rows", "18"),
        ("admitted_total", "5"),
        (r#"capture_listening{capture="eth0"}"#, "1"),
        (r#"capture_received_total{capture="eth0"}"#, "11"),
        (r#"capture_dropped_total{capture="eth0"}"#, "12"),
        (r#"capture_listening{capture="a \"b\"\\\n"}"#, "0"),
        (r#"capture_received_total{capture="a \"b\"\\\n"}"#, "13"),
    ] {
        let name = format!("postern_{name}");
        assert!(samples.contains(&(&*name, value)), "{name} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    // An unknown value is not printed.
    assert_eq!(text.matches("\npostern_capture_dropped_total{").count(), 1);
    assert!(
        text.contains("# TYPE postern_admitted counter\n")
            && text.contains("# UNIT postern_start_time_seconds seconds\n"),
        "{text}"
    );
}

#[test]
fn both_formats_have_the_same_samples() {
    let (new, old) = (snapshot().open_metrics(), snapshot().prometheus());
    assert_eq!(samples(&new), samples(&old));
    assert!(
        old.contains("# TYPE postern_admitted_total counter\n") && !old.contains("# EOF"),
        "{old}"
    );
}

#[test]
fn engine_counters_are_absent_without_an_engine() {
    let text = Snapshot {
        figures: None,
        ..snapshot()
    }
    .prometheus();
    assert!(
        samples(&text).contains(&("postern_engine_serving", "0")),
        "{text}"
    );
    for name in [
        "capture",
        "admitted",
        "dropped",
        "refused",
        "malformed",
        "users",
        "marks",
    ] {
        let name = format!("postern_{name}");
        assert!(!text.contains(&name), "{name} in\n{text}");
    }
    assert!(samples(&text).contains(&("postern_grants", "9")), "{text}");
}
