//! How the executor asks for connections to be ended: once a batch, for those that are closed, and never at the price of a close.

use std::time::Duration;

use postern::adapters::conntrack::Connection;
use postern::adapters::conntrack::memory::MemoryConntrack;
use postern::adapters::firewall::memory::MemoryDriver;
use postern::core::order::{Order, Report, Selection};
use postern::daemon::monitor::executor::Executor;
use postern::model::time::Timestamp;

use crate::{request, settings};

const NOW: Timestamp = Timestamp::from_millis(1_795_341_600_000);

fn executor(alice: &str) -> (Executor, MemoryDriver, MemoryConntrack) {
    let (backend, kernel) = (MemoryDriver::default(), MemoryConntrack::default());
    let executor = Executor::open(
        &settings("", alice),
        Box::new(backend.clone()),
        Some(Box::new(kernel.clone())),
        NOW,
    )
    .unwrap();
    (executor, backend, kernel)
}

fn open(executor: &mut Executor, kernel: &MemoryConntrack, users: &[&str], count: u8) {
    for host in 0..count {
        for user in users {
            executor.serve(
                NOW,
                vec![Order::Open {
                    ticket: 1,
                    request: request(user, &format!("192.0.2.{host}/32"), &["tcp/22"]),
                }],
            );
        }
        let source = std::net::IpAddr::from([192, 0, 2, host]);
        kernel.with(|state| {
            state.open.push(Connection {
                protocol: 6,
                source,
                target: None,
                port: 22,
            })
        });
    }
}

const ASK: &str = "end_connections = true";

pub fn connections_of_a_batch_of_grants_are_ended_in_one_call_whoever_ended_them() {
    for order in [
        Some(Order::End {
            ticket: 2,
            which: Selection::All,
        }),
        None,
    ] {
        let (mut executor, _, kernel) = executor(ASK);
        open(&mut executor, &kernel, &["alice"], 200);
        assert_eq!(
            kernel.with(|state| state.batches),
            0,
            "opening ends nothing"
        );
        let later = if order.is_some() {
            NOW
        } else {
            NOW.plus(Duration::from_secs(600))
        };
        executor.serve(later, order.into_iter().collect());
        assert_eq!(
            kernel.with(|state| (state.batches, state.open.len())),
            (1, 0)
        );
    }
}

pub fn a_grant_that_did_not_ask_or_did_not_close_ends_nothing() {
    let (mut unasked, _, kernel) = executor("");
    open(&mut unasked, &kernel, &["alice", "bob"], 2);
    unasked.serve(
        NOW,
        vec![Order::End {
            ticket: 2,
            which: Selection::All,
        }],
    );
    assert_eq!(
        kernel.with(|state| (state.batches, state.open.len())),
        (0, 2)
    );

    let (mut executor, backend, kernel) = executor(ASK);
    open(&mut executor, &kernel, &["alice"], 2);
    backend.with(|state| state.failing = Some("busy".to_owned()));
    executor.serve(
        NOW,
        vec![Order::End {
            ticket: 2,
            which: Selection::All,
        }],
    );
    assert_eq!(
        kernel.with(|state| (state.batches, state.open.len())),
        (0, 2),
        "the door is still open"
    );
    backend.with(|state| state.failing = None);
    executor.serve(NOW.plus(Duration::from_secs(600)), Vec::new());
    assert_eq!(
        kernel.with(|state| (state.batches, state.open.len())),
        (1, 0)
    );
}

pub fn connections_that_another_users_grant_covers_stay() {
    let (mut executor, _, kernel) = executor(ASK);
    open(&mut executor, &kernel, &["alice", "bob"], 1);
    executor.serve(
        NOW,
        vec![Order::End {
            ticket: 2,
            which: Selection::User("alice".to_owned()),
        }],
    );
    assert_eq!(kernel.with(|state| state.open.len()), 1);
}

pub fn a_kernel_that_ends_no_connections_keeps_no_door_open_and_no_gate_from_starting() {
    let (backend, kernel) = (MemoryDriver::default(), MemoryConntrack::default());
    kernel.with(|state| state.failing = Some("no conntrack here".to_owned()));
    let mut executor = Executor::open(
        &settings("", ASK),
        Box::new(backend.clone()),
        Some(Box::new(kernel.clone())),
        NOW,
    )
    .unwrap();
    open(&mut executor, &kernel, &["alice"], 3);
    let reports = executor.serve(
        NOW,
        vec![Order::End {
            ticket: 2,
            which: Selection::All,
        }],
    );
    assert_eq!(
        reports,
        [Report::Closed {
            ticket: 2,
            count: 3
        }]
    );
    assert!(backend.with(|state| state.open.is_empty()));
    assert_eq!(kernel.with(|state| state.batches), 1);
}

pub fn protected_ports_are_adopted_at_the_start_and_again_only_where_they_change() {
    let (mut executor, _, kernel) = executor("");
    let adopted = || kernel.with(|state| std::mem::take(&mut state.adopted));
    let ports = settings("", "").protection().services;
    assert_eq!(
        adopted(),
        [ports.clone(), ports],
        "before the protection, and for those that came about meanwhile"
    );
    executor.reload(&settings("", ASK), NOW).unwrap();
    assert!(adopted().is_empty());
}

pub fn grants_that_the_last_run_left_behind_and_that_are_over_take_their_connections_along() {
    let (mut first, backend, kernel) = executor(ASK);
    open(&mut first, &kernel, &["alice"], 2);
    let later = NOW.plus(Duration::from_secs(600));
    drop(
        Executor::open(
            &settings("", ASK),
            Box::new(backend),
            Some(Box::new(kernel.clone())),
            later,
        )
        .unwrap(),
    );
    assert_eq!(
        kernel.with(|state| (state.batches, state.open.len())),
        (1, 0)
    );
}
