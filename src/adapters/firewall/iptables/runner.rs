//! Runs the restore and save programs of one family.

use std::path::Path;

use super::chains::INPUT;
use super::failure::{Effect, RunFailure, judge};
use super::generation::Generation;
use super::input;
use super::programs::{NftTables, Pair};
use super::save::{self, SaveError, Tables, printable};
use crate::adapters::firewall::FirewallError;
use crate::adapters::firewall::nftables::iptables_tables::ListedChain;
use crate::model::run::{Call, OUTPUT, Run};

/// The largest listing in bytes: four times the rules of the most grants, 250 bytes each, because a host has rules of its own.
const LISTING_MAX: usize = 32 << 20;

pub(super) struct Runner {
    run: Box<dyn Run + Send>,
    pub(super) generation: Generation,
    pub(super) nft_tables: Option<NftTables>,
    is_nft: Option<bool>,
}

impl Runner {
    pub(super) fn new(run: Box<dyn Run + Send>) -> Self {
        Self {
            run,
            generation: Generation::default(),
            nft_tables: None,
            is_nft: None,
        }
    }

    pub(super) fn is_nft(&mut self, pair: &Pair) -> bool {
        *self.is_nft.get_or_insert_with(|| {
            let call = Call {
                program: &pair.save,
                args: &["--version"],
                stdin: b"",
                most: OUTPUT,
            };
            let version = judge(&pair.save, self.run.run(&call));
            version.is_ok_and(|version| version.contains("nf_tables"))
        })
    }

    pub(super) fn nft_tables_of(&mut self, pair: &Pair) -> Option<NftTables> {
        let tables = self.nft_tables?;
        self.is_nft(pair).then_some(tables)
    }

    /// All tables that exist. A request for table nat by name would create it.
    pub(super) fn save(&mut self, pair: &Pair) -> Result<Tables, RunFailure> {
        self.save_with(pair, &[])
    }

    pub(super) fn save_own(&mut self, pair: &Pair, needed: &[&str]) -> Result<Tables, RunFailure> {
        let mut tables = Tables::default();
        for table in needed {
            let found = self.save_with(pair, &["-t", table])?;
            match *table {
                "nat" => tables.nat = found.nat,
                "raw" => tables.raw = found.raw,
                _ => tables.filter = found.filter,
            }
        }
        Ok(tables)
    }

    fn save_with(&mut self, pair: &Pair, args: &[&str]) -> Result<Tables, RunFailure> {
        let output = self.call(&pair.save, args, "", LISTING_MAX)?;
        let read = save::read(&output);
        let is_incompatible = match &read {
            Ok(tables) => tables.nat_error.is_some() || tables.raw_error.is_some(),
            Err(error) => matches!(error, SaveError::Incompatible(_)),
        };
        if is_incompatible && let Some(nft) = self.nft_tables_of(pair) {
            return self.list(pair, nft);
        }
        read.map_err(|error| unreadable(pair, &error))
    }

    /// What the save program would print of a table that holds rules that only nft can show.
    fn list(&mut self, pair: &Pair, nft: NftTables) -> Result<Tables, RunFailure> {
        let unread = |error| RunFailure::new(Effect::Refused, error);
        let mut text = String::new();
        for ListedChain { table, name, rules } in (nft.list)(pair.family()).map_err(unread)? {
            text += &format!("*{table}\n:{name} - [0:0]\n");
            let args = ["-t", table, "-S", &name];
            let is_own = name.starts_with(INPUT);
            let own = is_own.then(|| self.call(&pair.change(), &args, "", LISTING_MAX));
            match own {
                Some(Ok(shown)) => {
                    let shown = shown.lines().filter(|line| line.starts_with("-A "));
                    text.extend(shown.flat_map(|line| [line, "\n"]));
                }
                Some(Err(_)) | None => text.extend(rules.iter().map(|rule| {
                    let rule = rule.as_deref().unwrap_or("-m unknown");
                    format!("-A {name} {rule}\n")
                })),
            }
            text += "COMMIT\n";
        }
        save::read(&text).map_err(|error| unreadable(pair, &error))
    }

    pub(super) fn restore(&mut self, pair: &Pair, text: &str) -> Result<(), RunFailure> {
        let before = self.generation.now();
        let result = self.restore_and_check(pair, text, before);
        let after = self.generation.now();
        match result {
            Ok(()) => {
                let own = input::transactions(text);
                self.generation.advance(before, after, own);
            }
            Err(_) => self.generation.set_verified(None),
        }
        result
    }

    /// A program that claims success is not trusted if it printed something, or if the kernel's rules did not change.
    fn restore_and_check(
        &mut self,
        pair: &Pair,
        text: &str,
        before: Option<u32>,
    ) -> Result<(), RunFailure> {
        let output = self.call(&pair.restore, &["--noflush", "-w", "3"], text, OUTPUT)?;
        let output = printable(output.trim());
        if !output.is_empty() {
            let why = format!("printed \"{output}\" although it must print nothing");
            return Err(RunFailure::implausible(&pair.restore, &why));
        }
        if before.is_some() && before == self.generation.now() && input::changes_rules(text) {
            let why = "reported success, but the kernel's rules did not change";
            return Err(RunFailure::implausible(&pair.restore, why));
        }
        Ok(())
    }

    fn call(
        &mut self,
        program: &Path,
        args: &[&str],
        stdin: &str,
        most: usize,
    ) -> Result<String, RunFailure> {
        let call = Call {
            program,
            args,
            stdin: stdin.as_bytes(),
            most,
        };
        judge(program, self.run.run(&call))
    }
}

fn unreadable(pair: &Pair, error: &SaveError) -> RunFailure {
    let line = format!("{}: {error}", pair.save.display());
    RunFailure::new(Effect::Refused, FirewallError::Program(line))
}
