//! What spares runs of programs, and what a run is not believed.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn many_closings_write_the_rest_anew_for_to_find_each_rule_takes_long() {
    let mut world = World::installed(&(1..=40).map(four).collect::<Vec<_>>());
    let closings =
        |ids: std::ops::RangeInclusive<u64>| ids.map(four).map(Change::Close).collect::<Vec<_>>();
    assert!(world.apply(&closings(1..=15)).0.iter().all(|done| *done));
    assert_eq!(world.ran()[0].1.matches("-D ").count(), 15);
    let mut batch = closings(16..=39);
    batch.push(Change::Open(four(50)));
    assert!(world.apply(&batch).0.iter().all(|done| *done));
    let input = format!(
        "*filter\n-F POSTERN-GRANTS\n-A {}\n-A {}\nCOMMIT\n",
        rule(40),
        rule(50)
    );
    assert_eq!(world.ran(), [("iptables-restore".to_owned(), input)]);
}

#[test]
fn ends_fall_on_whole_seconds_never_before_the_time_and_less_than_a_second_after() {
    let world = World::new(paths());
    for (until, end) in [
        (0, 0),
        (999, 1000),
        (1000, 1000),
        (1_795_341_600_001, 1_795_341_601_000),
    ] {
        assert_eq!(
            world.driver.end(Timestamp::from_millis(until)),
            Timestamp::from_millis(end)
        );
    }
}

/// The nft variant's rules have a number, which says without any run that nobody changed them.
#[test]
fn a_look_runs_programs_only_after_somebody_else_changed_something() {
    let number = Arc::new(AtomicU32::new(7));
    for (version, looks) in [
        ("iptables-restore v1.8.9 (nf_tables)", 0),
        ("iptables-restore v1.8.9 (legacy)", 2),
    ] {
        let mut world = World::new(paths());
        let asked = Arc::clone(&number);
        world.driver = world
            .driver
            .with_number(Box::new(move || Some(asked.load(Ordering::Relaxed))));
        let counted = Arc::clone(&number);
        world.answers(move |program, input| {
            if version.contains("nf_tables") {
                counted.fetch_add(
                    u32::try_from(input.matches("COMMIT").count()).unwrap(),
                    Ordering::Relaxed,
                );
            }
            let stdout = match (program.ends_with("save"), input) {
                (_, "--version") => version.to_owned(),
                (true, _) => {
                    INSTALLED.replace("-A POSTERN -j", "-A POSTERN -p udp -j DROP\n-A POSTERN -j")
                }
                _ => String::new(),
            };
            Some(Ok(Ran {
                status: Some(0),
                stdout,
                stderr: String::new(),
            }))
        });
        world.driver.install(&protection(&[]), &[]).unwrap();
        world.ran();
        assert_eq!(world.driver.verify(), Ok(true));
        assert_eq!(
            world.programs().len(),
            2,
            "the first look sees to it that all stands"
        );
        assert_eq!(world.driver.verify(), Ok(true));
        assert_eq!(world.programs().len(), looks, "{version}");
        number.fetch_add(1, Ordering::Relaxed);
        assert_eq!(world.driver.verify(), Ok(true));
        assert_eq!(world.programs().len(), 2, "somebody changed something");
    }
}

#[test]
fn a_run_that_says_done_is_not_believed_where_it_says_more_or_where_nothing_has_changed() {
    let number = Arc::new(AtomicU32::new(7));
    let mut world = World::new(paths());
    let asked = Arc::clone(&number);
    world.driver = world
        .driver
        .with_number(Box::new(move || Some(asked.load(Ordering::Relaxed))));
    let mood = Arc::new(Mutex::new(""));
    let (counted, told) = (Arc::clone(&number), Arc::clone(&mood));
    world.answers(move |program, input| {
        let mood = *told.lock().unwrap();
        counted.fetch_add(u32::from(mood != "lies"), Ordering::Relaxed);
        let stdout = match (program.ends_with("restore"), input) {
            (_, "--version") => "(nf_tables)",
            (true, _) if mood == "babbles" => "\u{1}yes",
            (true, _) => "",
            (false, _) => INSTALLED,
        };
        Some(Ok(Ran {
            status: Some(0),
            stdout: stdout.to_owned(),
            stderr: "# a warning".to_owned(),
        }))
    });
    world.driver.install(&protection(&[]), &[]).unwrap();
    for (now, words) in [
        ("babbles", "said \"?yes\""),
        ("lies", "have not changed"),
        ("", ""),
    ] {
        *mood.lock().unwrap() = now;
        let (done, error) = world.apply(&[Change::Open(four(1))]);
        assert_eq!(done, [now.is_empty()], "{now}");
        assert!(error.contains(words), "{error}");
    }
}
