//! One family's side of the firewall: its programs, what they can do, and what Postern put there.
//!
//! Owns the runs of `iptables-restore` and `iptables-save`, installation and removal. Batches of changes are in `batch`.

use std::path::Path;

use super::fault::{Fault, Kind, judge, unbelieved};
use super::grants;
use super::input::{self, Needs, New};
use super::list::{self, Tables};
use super::rules::{Abilities, Family, NEW};
use super::standing::Standing;
use super::watch::Runner;
use super::{Eraser, Pair};
use crate::adapters::firewall::FirewallError;
use crate::model::grant::Grant;
use crate::model::run::{Call, OUTPUT};
use crate::model::settings::Protection;

/// Most bytes of a listing: some four times what all the rules that Postern makes take, at 250 bytes each, for a host has rules of its own.
const LISTING: usize = 32 << 20;

/// One family of the firewall.
pub(super) struct Side {
    pub(super) family: Family,
    programs: Option<Pair>,
    /// Why there is nothing of this family to drive.
    absent: Option<String>,
    pub(super) abilities: Abilities,
    /// Tables that this driver made; the firewall itself remembers those of an earlier run.
    new: New,
    /// Why grants have no end of their own in this family's kernel rules.
    pub(super) undated: Option<String>,
    pub(super) standing: Option<Standing>,
    /// A run was ended from outside: the firewall may hold more or less than `standing` says.
    pub(super) is_doubtful: bool,
    /// Transactions of this batch so far; `None` where one failed, and how much of it was done is not known.
    pub(super) transactions: Option<u32>,
}

impl Side {
    pub(super) fn new(family: Family, programs: Option<Pair>) -> Self {
        let absent = programs.is_none().then(|| {
            "ip6tables-restore and ip6tables-save are not installed; apt-get install iptables"
                .to_owned()
        });
        Self {
            family,
            programs,
            absent,
            abilities: Abilities::default(),
            new: New::default(),
            undated: None,
            standing: None,
            is_doubtful: false,
            transactions: None,
        }
    }

    /// Puts everything of this family in place. A family that this system does not have is passed over, unless grants of it should be open.
    pub(super) fn install(
        &mut self,
        run: &mut Runner,
        protection: &Protection,
        live: &[&Grant],
    ) -> Result<(), FirewallError> {
        if self.programs.is_some() {
            match self.put_in_place(run, protection, live) {
                Ok(()) => return Ok(()),
                Err(fault) if self.is_no_family(&fault) => {
                    self.absent = Some(format!(
                        "this system has no {}: {}",
                        self.family.name(),
                        fault.line
                    ));
                    self.standing = None;
                }
                Err(fault) => {
                    return Err(fault.error());
                }
            }
        }
        if live.is_empty() {
            Ok(())
        } else {
            Err(self.nothing_here())
        }
    }

    fn put_in_place(
        &mut self,
        run: &mut Runner,
        protection: &Protection,
        live: &[&Grant],
    ) -> Result<(), Fault> {
        if self.standing.is_none() {
            // To try a match out makes the table, so what is missing is seen first.
            self.new = New::before(&self.save(run)?);
        }
        self.probe(run)?;
        let tables = self.save(run)?;
        let text = input::installation(
            self.family,
            &tables,
            protection,
            live,
            self.abilities,
            self.new,
        )
        .map_err(refused)?;
        self.put(run, &text)?;
        let needs = Needs::of(self.family, protection, live);
        self.standing = Some(Standing::new(self.family, protection, live, needs));
        self.absent = None;
        self.is_doubtful = false;
        // So that a change of a rule that leads where it did is seen. Where this listing fails, the next one is taken for right.
        let _ = self.stands(run);
        Ok(())
    }

    /// Finds out whether the programs work and which matches this kernel has, and leaves nothing behind.
    pub(super) fn try_out(
        &mut self,
        run: &mut Runner,
        erase: &mut Eraser,
    ) -> Result<(), FirewallError> {
        let Some(before) = self.tables(run)? else {
            return Ok(());
        };
        self.new = New {
            nat: false,
            ..New::before(&before)
        };
        match self.probe(run) {
            Ok(()) => {}
            Err(fault) if self.is_no_family(&fault) => self.absent = Some(fault.line),
            Err(fault) => return Err(fault.error()),
        }
        if self.new.filter
            && self
                .tables(run)?
                .is_some_and(|tables| tables.filter.has(NEW))
        {
            self.put(run, &input::unmarking())
                .map_err(|fault| fault.error())?;
        }
        self.erase_bare(run, self.new, erase)
    }

    /// Deletes those of the new tables in which nothing stands any more. iptables has no command for it, and only the nft variant
    /// needs it: with the legacy one a table stays until the next boot.
    fn erase_bare(
        &self,
        run: &mut Runner,
        new: New,
        erase: &mut Eraser,
    ) -> Result<(), FirewallError> {
        if new == New::default() || !self.is_nft(run) {
            return Ok(());
        }
        let Some(tables) = self.tables(run)? else {
            return Ok(());
        };
        for (name, is_new, table) in [
            ("filter", new.filter, &tables.filter),
            ("nat", new.nat, &tables.nat),
        ] {
            if is_new && table.is_bare() {
                erase(self.family == Family::V6, name)?;
            }
        }
        Ok(())
    }

    pub(super) fn has_programs(&self) -> bool {
        self.programs.is_some()
    }

    pub(super) fn is_nft(&self, run: &mut Runner) -> bool {
        let call = Call {
            program: self.program(|pair| &pair.save),
            args: &["--version"],
            stdin: b"",
            most: OUTPUT,
        };
        run.run(&call)
            .is_ok_and(|ran| ran.status == Some(0) && ran.stdout.contains("nf_tables"))
    }

    /// Whether this system has the family at all.
    pub(super) fn is_here(&self) -> bool {
        self.absent.is_none()
    }

    /// Whether it is known if the kernel ends grants of this family.
    pub(super) fn is_tried_out(&self) -> bool {
        self.abilities.time || self.undated.is_some()
    }

    /// Finds out which matches this kernel has. What it has it keeps; what it lacks is tried again at each installation.
    fn probe(&mut self, run: &mut Runner) -> Result<(), Fault> {
        if !self.abilities.time {
            let lack = self.lacks(
                run,
                "-m time --datestop 2037-01-01T00:00:00 -m comment --comment \"postern probe\"",
            )?;
            self.abilities.time = lack.is_none();
            self.undated = lack;
        }
        Ok(())
    }

    fn lacks(&self, run: &mut Runner, matches: &str) -> Result<Option<String>, Fault> {
        match self.restore(run, &input::probe(matches, self.new.filter)) {
            Ok(()) => Ok(None),
            Err(fault) if fault.kind == Kind::Refused => Ok(Some(fault.line)),
            Err(fault) => Err(fault),
        }
    }

    /// Removes all that is Postern's of this family.
    pub(super) fn remove(
        &mut self,
        run: &mut Runner,
        erase: &mut Eraser,
    ) -> Result<(), FirewallError> {
        let Some(tables) = self.tables(run)? else {
            return Ok(());
        };
        if let Some(text) = input::removal(&tables) {
            self.put(run, &text).map_err(|fault| fault.error())?;
        }
        self.erase_bare(run, New::marked(&tables), erase)?;
        self.standing = None;
        self.is_doubtful = false;
        Ok(())
    }

    /// The grants that stand in the firewall.
    pub(super) fn list(&self, run: &mut Runner) -> Result<Vec<Grant>, FirewallError> {
        let Some(tables) = self.tables(run)? else {
            return Ok(Vec::new());
        };
        grants::read(self.family, &tables).map_err(|why| {
            FirewallError::Foreign(format!(
                "{}: {why}; delete it by hand or run posternd flush",
                self.program(|pair| &pair.save).display()
            ))
        })
    }

    /// What stands there; `None` where this system does not have the family.
    fn tables(&self, run: &mut Runner) -> Result<Option<Tables>, FirewallError> {
        if self.programs.is_none() {
            return Ok(None);
        }
        match self.save(run) {
            Ok(tables) => Ok(Some(tables)),
            Err(fault) if self.is_no_family(&fault) => Ok(None),
            Err(fault) => Err(fault.error()),
        }
    }

    /// All tables that are there: to ask for table nat by name would make it.
    pub(super) fn save(&self, run: &mut Runner) -> Result<Tables, Fault> {
        self.save_by(run, &[])
    }

    /// Only the tables in which something of Postern's stands: they may be read often.
    pub(super) fn save_own(&self, run: &mut Runner, needs: Needs) -> Result<Tables, Fault> {
        let mut tables = self.save_by(run, &["-t", "filter"])?;
        if needs.nat {
            tables.nat = self.save_by(run, &["-t", "nat"])?.nat;
        }
        Ok(tables)
    }

    fn save_by(&self, run: &mut Runner, args: &[&str]) -> Result<Tables, Fault> {
        let program = self.program(|pair| &pair.save);
        let call = Call {
            program,
            args,
            stdin: b"",
            most: LISTING,
        };
        let output = judge(program, run.run(&call))?;
        list::read(&output).map_err(|why| refused(format!("{}: {why}", program.display())))
    }

    /// Carries out an input. Where it is of two tables and is refused, the first may be in place all the same.
    pub(super) fn put(&mut self, run: &mut Runner, text: &str) -> Result<(), Fault> {
        let outcome = self.restore(run, text);
        match &outcome {
            Ok(()) => {
                self.transactions = self
                    .transactions
                    .zip(input::transactions(text))
                    .map(|(before, more)| before.saturating_add(more))
            }
            Err(fault) => {
                self.transactions = None;
                self.is_doubtful |= fault.kind == Kind::Doubt
                    || (fault.kind == Kind::Refused && input::transactions(text) != Some(1));
            }
        }
        outcome
    }

    fn restore(&self, run: &mut Runner, text: &str) -> Result<(), Fault> {
        let program = self.program(|pair| &pair.restore);
        let call = Call {
            program,
            args: &["--noflush", "-w", "3"],
            stdin: text.as_bytes(),
            most: OUTPUT,
        };
        let before = run.watch.number();
        let said = judge(program, run.run(&call))?;
        let after = run.watch.number();
        if !said.trim().is_empty() {
            return Err(unbelieved(
                program,
                &format!(
                    "said \"{}\", which is none of its words",
                    list::said(said.trim())
                ),
            ));
        }
        if before.is_some() && before == after && input::changes_something(text) {
            return Err(unbelieved(
                program,
                "said that it was done, and the kernel's rules have not changed",
            ));
        }
        Ok(())
    }

    /// Never reached without programs; then the path says so instead of naming one.
    fn program(&self, which: impl Fn(&Pair) -> &std::path::PathBuf) -> &Path {
        self.programs
            .as_ref()
            .map_or(Path::new("/no/ip6tables"), |pair| which(pair).as_path())
    }

    /// Why nothing can be done for a grant of this family.
    pub(super) fn nothing_here(&self) -> FirewallError {
        let name = self.family.name();
        match &self.absent {
            Some(why) => FirewallError::Unsupported(format!(
                "{name} grants can be neither opened nor closed: {why}"
            )),
            None => FirewallError::NotInstalled(format!(
                "{name} grants can be neither opened nor closed: Postern's chains are not installed; restart posternd"
            )),
        }
    }

    /// Only where the kernel itself has no IPv6 may its rules be missing: elsewhere IPv6 would stay open unseen.
    fn is_no_family(&self, fault: &Fault) -> bool {
        let has_ipv6 = || Path::new("/proc/thread-self/net/if_inet6").exists();
        self.family == Family::V6
            && fault.kind == Kind::Refused
            && (fault.says_no_family() || !has_ipv6())
    }
}

/// Something that this driver itself refuses.
pub(super) fn refused(line: String) -> Fault {
    Fault {
        kind: Kind::Refused,
        line,
    }
}
