//! Tests that run with each firewall driver, or with the first that this machine has.

use libtest_mimic::Trial;

use crate::Machine;
use crate::Requirement::{self, Program};

/// Each firewall driver, and what it and the checks of it require.
const BACKENDS: [(&str, &[Requirement]); 2] = [
    (
        "iptables",
        &[
            Program("ip"),
            Program("iptables-restore"),
            Program("ip6tables-restore"),
            Program("nft"),
        ],
    ),
    ("nftables", &[Program("ip"), Program("nft")]),
];

/// The name of a test, what it requires, and the function, which gets the name of the driver.
pub type Test = (&'static str, &'static [Requirement], fn(&'static str));

/// Rows `REQUIREMENTS: module::function`; the test has the function's name.
#[macro_export]
macro_rules! table {
    ($($requirements:ident: $module:ident::$name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $requirements, $module::$name)),*]
    };
}

/// Trials of these tests: with every driver, with one driver, and with nftables alone.
pub fn by_backend(
    machine: &Machine,
    every: &[Test],
    once: &[Test],
    nftables: &[Test],
) -> Vec<Trial> {
    let trial = |(backend, requirements): (&'static str, &[Requirement]), test: &Test| {
        let (name, more, run) = *test;
        let all = [requirements, more].concat();
        machine.trial(format!("{name}::{backend}"), &all, move || run(backend))
    };
    let available = BACKENDS.iter().find(|(_, needs)| machine.meets(needs));
    let first = *available.unwrap_or(&BACKENDS[0]);
    let every = every
        .iter()
        .flat_map(|test| BACKENDS.map(|backend| trial(backend, test)));
    let once = once.iter().map(|test| trial(first, test));
    let nftables = nftables.iter().map(|test| trial(BACKENDS[1], test));
    every.chain(once).chain(nftables).collect()
}
