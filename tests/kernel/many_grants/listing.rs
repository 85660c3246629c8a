//! What the kernel itself lists while grants end: when it will stop letting packets through, and what still stands after that.
//!
//! Read from the programs' own output, not by the driver under test.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use postern::model::grant::GrantId;
use postern::model::time::Timestamp;

use super::{All, LATE};
use postern_harness::now;
use postern_harness::world::replaced_programs;
use postern_harness::{World, run, text};

/// Between a look at the clock and the kernel's own, and its ticks.
const BLUR: Duration = Duration::from_millis(50);

/// What the looks have shown.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    count: u32,
    seen: BTreeSet<GrantId>,
    /// The longest time after its end at which a look that began then still found an entry.
    longest: Duration,
}

/// An entry of a grant.
struct Entry {
    id: GrantId,
    /// When the kernel stops letting packets through: not before, and not after.
    end: (Timestamp, Timestamp),
}

impl Looks {
    pub(crate) fn look(&mut self, world: &World, backend: &str, all: &All) {
        let before = now();
        let entries = if backend == "iptables" {
            rules(world)
        } else {
            elements(world, before)
        };
        self.count += 1;
        for Entry {
            id,
            end: (earliest, latest),
        } in entries
        {
            let told = all
                .get(&id)
                .unwrap_or_else(|| panic!("grant {id:?} was never reported"));
            assert!(
                latest >= told.until,
                "{told:?}: the kernel ends it at {latest}, which is too early"
            );
            assert!(
                earliest <= told.until.plus(LATE),
                "{told:?}: the kernel ends it at {earliest}, which is too late"
            );
            self.seen.insert(id);
            self.longest = self.longest.max(before.since(told.until));
        }
    }
}

/// `-A POSTERN-GRANTS … -m time --datestop 2026-11-26T10:58:39 -m comment --comment "postern id=1 user=alice until=…" -j ACCEPT`: it
/// lets packets through while the second that it names lasts.
fn rules(world: &World) -> Vec<Entry> {
    let listed = ["iptables-save", "ip6tables-save"].map(|name| {
        text(&run(
            &world.gate,
            "sh",
            &[
                "-c",
                "exec \"$0\" \"$@\"",
                replaced_programs::REAL,
                name,
                "-t",
                "filter",
            ],
        ))
    });
    let entry = |line: &str| {
        let word = |name: &str| Some(line.split_once(name)?.1.split(' ').next()?.to_owned());
        let stop: jiff::Timestamp = format!("{}Z", word("--datestop ")?).parse().ok()?;
        let end = Timestamp::from_millis(u64::try_from(stop.as_millisecond()).ok()? + 1000);
        Some(Entry {
            id: GrantId(word("postern id=")?.parse().ok()?),
            end: (end, end),
        })
    };
    let lines = listed
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| line.starts_with("-A POSTERN-GRANTS "));
    lines
        .map(|line| entry(line).unwrap_or_else(|| panic!("a rule without an end: {line}")))
        .collect()
}

/// `10.128.0.1 . tcp . 2223 timeout 14s expires 13s996ms comment "1 alice 2026-11-26T10:58:48.504Z"`.
fn elements(world: &World, before: Timestamp) -> Vec<Entry> {
    let listed = text(&run(
        &world.gate,
        "nft",
        &["list", "table", "inet", "postern"],
    ));
    let after = now();
    let entry = |element: &str| {
        let word = |name: &str| Some(element.split_once(name)?.1.split(' ').next()?.to_owned());
        let left = duration(&word(" expires ")?)?;
        let id = word(" comment \"")?.parse().ok()?;
        Some(Entry {
            id: GrantId(id),
            end: (before.plus(left), after.plus(left + BLUR)),
        })
    };
    let elements = listed
        .split([',', '\n'])
        .filter(|part| part.contains(" . tcp . "));
    elements
        .map(|element| {
            entry(element).unwrap_or_else(|| panic!("an element without an end: {element}"))
        })
        .collect()
}

/// `13s996ms`, as nft says it.
fn duration(text: &str) -> Option<Duration> {
    let mut left = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let number: u64 = number.parse().ok()?;
        let length = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        left += match &unit[..length] {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        rest = &unit[length..];
    }
    Some(left)
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (looks, seen, longest) = (self.count, self.seen.len(), self.longest.as_millis());
        write!(
            f,
            "{looks} listings by the kernel with {seen} of them, none later than {longest} ms after its end"
        )
    }
}
