//! Runs the restore and save programs of one family.

use std::path::Path;

use super::failure::{Effect, RunFailure, judge};
use super::generation::Generation;
use super::input;
use super::programs::Pair;
use super::save::{self, Tables, printable};
use crate::adapters::firewall::FirewallError;
use crate::model::run::{Call, OUTPUT, Run};

/// The largest listing in bytes: four times the rules of the most grants, 250 bytes each, because a host has rules of its own.
const LISTING_MAX: usize = 32 << 20;

pub(super) struct Runner {
    run: Box<dyn Run + Send>,
    pub(super) generation: Generation,
}

impl Runner {
    pub(super) fn new(run: Box<dyn Run + Send>) -> Self {
        Self {
            run,
            generation: Generation::default(),
        }
    }

    pub(super) fn is_nft(&mut self, pair: &Pair) -> bool {
        self.call(&pair.save, &["--version"], "", OUTPUT)
            .is_ok_and(|version| version.contains("nf_tables"))
    }

    /// All tables that exist. A request for table nat by name would create it.
    pub(super) fn save(&mut self, pair: &Pair) -> Result<Tables, RunFailure> {
        self.save_with(pair, &[])
    }

    pub(super) fn save_own(&mut self, pair: &Pair, nat: bool) -> Result<Tables, RunFailure> {
        let mut tables = self.save_with(pair, &["-t", "filter"])?;
        if nat {
            tables.nat = self.save_with(pair, &["-t", "nat"])?.nat;
        }
        Ok(tables)
    }

    fn save_with(&mut self, pair: &Pair, args: &[&str]) -> Result<Tables, RunFailure> {
        let output = self.call(&pair.save, args, "", LISTING_MAX)?;
        save::read(&output).map_err(|error| {
            let line = format!("{}: {error}", pair.save.display());
            RunFailure::new(Effect::Refused, FirewallError::Program(line))
        })
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
