//! The rules of legacy iptables, through its save program.
//!
//! The kernel reports no change of them. The programs that change them hold a lock file, so its use tells of most
//! changes. For the others the rules are read now and then, at a bounded cost.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::iptables_save;
use super::nf_tables::{Scope, TRANSLATING_CHAINS_MAX};
use super::programs::{Tools, variant};
use crate::adapters::clock;
use crate::adapters::files::{self, LockWatch};
use crate::adapters::firewall::xtables_module;
use crate::core::host_rules::{Chain, Ruleset, Sought};
use crate::model::address::Family;
use crate::model::run::Call;

/// Limit for a listing in bytes.
pub(crate) const MAX_LISTING: usize = 128 << 20;

/// They name the tables of legacy iptables.
const NAMES: [(Family, &str); 2] = [
    (Family::V4, "/proc/net/ip_tables_names"),
    (Family::V6, "/proc/net/ip6_tables_names"),
];

/// The programs hold it while they change rules.
const LOCK: &str = "/run/xtables.lock";

/// Between two reads without a sign of a change: these, and never less than this many times the time of a read.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const PAUSE_TIMES: u32 = 100;

/// `None` if no program has made the lock file yet.
pub(crate) fn watch_lock() -> Option<LockWatch> {
    let path = Path::new(LOCK);
    path.exists().then(|| LockWatch::start(path).ok())?
}

/// The chains as they were read last.
pub(super) struct Legacy {
    pub(super) chains: Vec<Chain>,
    /// `None` if there is no lock file yet.
    watch: Option<LockWatch>,
    /// Of the tables and rules, without counters.
    fingerprint: u64,
    next: Option<Instant>,
    /// The tables that translate addresses are too large to read them again.
    has_large_nat: bool,
}

impl Legacy {
    pub(super) fn new() -> Self {
        Self {
            chains: Vec::new(),
            watch: watch_lock(),
            fingerprint: 0,
            next: None,
            has_large_nat: false,
        }
    }

    /// Reads the rules if they may have changed. Returns whether they have.
    pub(super) fn refresh(
        &mut self,
        scope: Scope,
        sought: Option<&Sought>,
        tools: &mut Tools<'_>,
    ) -> Result<bool, String> {
        let tables: Vec<(Family, Vec<String>)> = tables().collect();
        if tables.is_empty() {
            (self.next, self.fingerprint) = (None, 0);
            let had_chains = !self.chains.is_empty();
            self.chains.clear();
            return Ok(had_chains);
        }
        if self.watch.is_none() {
            self.watch = watch_lock();
        }
        let was_locked = self.watch.as_ref().is_some_and(LockWatch::take);
        let is_due = |at: Instant| clock::instant() >= at;
        if !was_locked && !self.next.is_none_or(is_due) {
            return Ok(false);
        }
        let start = clock::instant();
        let skips_nat = self.has_large_nat && scope == Scope::Filters;
        let texts = read(skips_nat, &tables, tools).inspect_err(|_| self.next = None)?;
        let took = clock::elapsed(start);
        let pause = took.saturating_mul(PAUSE_TIMES);
        self.next = start.checked_add(pause.clamp(PAUSE_MIN, PAUSE_MAX));
        let mut hasher = DefaultHasher::new();
        for (_, _, text) in &texts {
            fingerprint(text, &mut hasher);
        }
        if self.fingerprint == hasher.finish() {
            return Ok(false);
        }
        self.fingerprint = hasher.finish();
        let mut chains: Vec<Chain> = texts
            .iter()
            .flat_map(|(family, changer, text)| iptables_save::read(changer, *family, text))
            .collect();
        let is_nat = |chain: &&Chain| chain.table.name == "nat";
        self.has_large_nat |= chains.iter().filter(is_nat).count() > TRANSLATING_CHAINS_MAX;
        if self.has_large_nat && scope == Scope::Filters {
            chains.retain(|chain| !is_nat(&chain));
        }
        let rules = Ruleset { chains };
        let rules = match sought {
            Some(sought) => rules.reached_by(sought),
            None => rules,
        };
        self.chains = rules.chains;
        Ok(true)
    }

    /// The next call of `refresh` reads.
    pub(super) fn read_at_once(&mut self) {
        self.next = None;
    }

    /// The next call of `refresh` reads, and takes over what it sees.
    pub(super) fn distrust(&mut self) {
        (self.next, self.fingerprint) = (None, 0);
    }
}

/// The families with legacy tables, and the names of these.
pub(crate) fn tables() -> impl Iterator<Item = (Family, Vec<String>)> {
    NAMES.into_iter().filter_map(|(family, path)| {
        let names = files::read_system(Path::new(path)).ok()?;
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        (!names.is_empty()).then_some((family, names))
    })
}

/// The program that changes the rules of each family, and the rules as its sibling prints them.
fn read(
    skips_nat: bool,
    tables: &[(Family, Vec<String>)],
    tools: &mut Tools<'_>,
) -> Result<Vec<(Family, String, String)>, String> {
    let mut texts = Vec::new();
    for (family, names) in tables {
        let program = family.pick("iptables", "ip6tables");
        let failed = |why: String| format!("cannot read the legacy rules of {program}: {why}");
        let missing = || failed(format!("{program}-legacy-save is not installed"));
        let changer = variant(tools.find, program, "legacy").ok_or_else(missing)?;
        let path: PathBuf = (tools.find)(&format!("{changer}-save")).ok_or_else(missing)?;
        // A program could create tables that the kernel does not have, so it gets the names of those that are there.
        let has_nat = names.iter().any(|name| name == "nat");
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        let parts: Vec<Option<&str>> = if skips_nat && has_nat {
            let filters = parts.into_iter().filter(|name| *name != "nat");
            filters.map(Some).collect()
        } else {
            vec![None]
        };
        let mut text = String::new();
        for part in parts {
            let args = part.map(|table| ["-t", table]);
            let args = args.as_ref().map_or(&[][..], |args| args);
            let listed = output(tools, &path, args);
            text += &listed.map_err(|why| failed(format!("{}: {why}", path.display())))?;
        }
        texts.push((*family, changer, text));
    }
    Ok(texts)
}

fn output(tools: &mut Tools<'_>, program: &Path, args: &[&str]) -> Result<String, String> {
    let call = Call {
        program,
        args,
        stdin: b"",
        most: MAX_LISTING,
    };
    let ran = tools.run.run(&call).map_err(|error| error.to_string())?;
    if ran.status == Some(0) {
        Ok(ran.stdout)
    } else {
        let module = xtables_module::missing(&ran.stderr);
        let first = ran.stderr.lines().next().unwrap_or("it failed");
        Err(module.unwrap_or_else(|| first.to_owned()))
    }
}

/// Leaves out times and counters.
fn fingerprint(text: &str, hasher: &mut impl Hasher) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let line = match line.strip_prefix(':') {
            Some(chain) => chain.split('[').next().unwrap_or_default(),
            None => line,
        };
        hasher.write(line.as_bytes());
        hasher.write_u8(b'\n');
    }
}
