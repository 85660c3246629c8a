//! Native nftables: one table of our own, changed over netlink in atomic batches. No program is run.
//!
//! Grants are elements with a timeout in hash sets, so that the kernel itself ends each on time (invariant 4), and each stands
//! in a set `record` as well, so that the firewall is its own record. The driver remembers who holds which element, and puts
//! the whole table back when others have changed it. It decides nothing, and what the kernel refused is an error (invariant 10).

mod answers;
mod elements;
mod expr;
mod fault;
mod holders;
mod link;
mod messages;
mod record;
mod sets;
mod standing;
mod table;

use std::collections::BTreeSet;
use std::fmt;

use netlink_packet_netfilter::NetfilterProtoFamily;

use self::answers::{Fault, Trouble};
use self::elements::{Act, Step};
use self::holders::{Holders, Undo};
use self::link::Link;
use self::messages::Message;
use self::sets::Set;
use self::standing::Rules;
use self::table::{TABLE, Wanted};
use super::{Change, FirewallDriver, FirewallError};
use crate::model::grant::Grant;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// The driver: a socket, and what it last put into the kernel.
#[derive(Debug)]
pub struct Nftables {
    link: Link,
    now: Timestamp,
    /// True where an answer was lost, so that nobody knows what stands.
    doubtful: bool,
    /// What stands; `None` before the first install.
    placed: Option<Placed>,
    /// The number of the ruleset at which all of it stood, moved on with each change of the driver's own.
    seen: Option<u32>,
}

#[derive(Debug)]
struct Placed {
    protection: Protection,
    /// Whether ports of the gate may lead to hosts behind it.
    nat: bool,
    holders: Holders,
    rules: Rules,
}

/// Why a batch was not carried out.
enum Failure {
    /// The table is not as it was left, or may not be.
    Diverged(FirewallError),
    Refused(FirewallError),
}

/// Deletes an empty table that iptables or ip6tables (nft variant) made on its first run and has no command to delete.
///
/// # Errors
/// What the kernel said.
pub fn delete_table_of_iptables(ipv6: bool, name: &str) -> Result<(), FirewallError> {
    let family = if ipv6 {
        NetfilterProtoFamily::IPv6
    } else {
        NetfilterProtoFamily::IPv4
    };
    let mut link = Link::open().map_err(|error| fault::no_socket(&error))?;
    link.delete_table(family, name).map_err(|trouble| {
        fault::trouble(&format_args!("deleting the empty table {name}"), &trouble)
    })
}

/// A way to ask for the number of the ruleset, in the network namespace of the calling thread; `None` where it gets no answer.
///
/// # Errors
/// Where the kernel has no nf_tables.
pub fn number_of_ruleset() -> Result<Box<dyn FnMut() -> Option<u32> + Send>, FirewallError> {
    let mut link = Link::open().map_err(|error| fault::no_socket(&error))?;
    link.number().map_err(|trouble| fault::unusable(&trouble))?;
    Ok(Box::new(move || link.number().ok()))
}

impl Nftables {
    /// Opens the way to the kernel, in the network namespace of the calling thread, and asks whether it can be used.
    ///
    /// # Errors
    /// Where the kernel has no nf_tables, or the process may not change it.
    pub fn open() -> Result<Self, FirewallError> {
        let mut link = Link::open().map_err(|error| fault::no_socket(&error))?;
        link.probe().map_err(|trouble| fault::unusable(&trouble))?;
        Ok(Self {
            link,
            now: Timestamp::default(),
            doubtful: false,
            placed: None,
            seen: None,
        })
    }

    /// Makes the changes in the memory and in the kernel, or in neither.
    fn commit(&mut self, changes: &[Change]) -> Result<(), FirewallError> {
        if self.doubtful
            || self
                .placed
                .as_ref()
                .is_some_and(|placed| placed.holders.ranks_run_out())
        {
            self.put_back()?;
        }
        let Some(placed) = &mut self.placed else {
            return Err(FirewallError::NotInstalled(format!(
                "nftables: table inet {TABLE} is not set up yet; nothing was changed"
            )));
        };
        let mut steps = Vec::new();
        let mut undo: Vec<Undo> = Vec::with_capacity(changes.len());
        let mut result = Ok(());
        for change in changes {
            if let (Change::Open(grant) | Change::Extend { new: grant, .. }, false) =
                (change, placed.nat)
                && !grant.forwards.is_empty()
            {
                let why = "address translation is not set up, for no user has a service that forwards; reload the config";
                result = Err(FirewallError::NotInstalled(format!(
                    "nftables: {grant}: {why}"
                )));
                continue;
            }
            match placed.holders.change(change, &mut steps) {
                Ok(back) => undo.push(back),
                Err(why) => result = Err(FirewallError::Unsupported(format!("nftables: {why}"))),
            }
        }
        result = result.and_then(|()| match self.send_steps(steps) {
            Ok(()) => Ok(()),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Diverged(error)) => {
                tracing::warn!(%error, "nftables: putting table inet {TABLE} back as it was");
                self.put_back().map_err(|again| {
                    FirewallError::Kernel(format!("{error}; putting it back failed: {again}"))
                })
            }
        });
        if let (Err(_), Some(placed)) = (&result, &mut self.placed) {
            undo.into_iter()
                .rev()
                .for_each(|back| placed.holders.undo(back));
        }
        result
    }

    /// Sends steps as one batch. What was to be deleted only if it is there, and is not, is left out of a second one.
    fn send_steps(&mut self, mut steps: Vec<Step>) -> Result<(), Failure> {
        loop {
            let now = self.now;
            let trouble = match self
                .link
                .batch(steps.iter().map(|step| messages::step(step, now)))
            {
                Ok(()) => {
                    let is_change = !steps.is_empty();
                    self.seen = self
                        .seen
                        .map(|number| number.wrapping_add(u32::from(is_change)));
                    return Ok(());
                }
                Err(trouble) => trouble,
            };
            let Trouble::Refused(faults) = &trouble else {
                self.doubtful = true;
                return Err(Failure::Diverged(fault::trouble(
                    &"changing grants",
                    &trouble,
                )));
            };
            let step_of = |fault: &Fault| fault.index.and_then(|index| steps.get(index));
            let may_be_absent = |fault: &Fault| {
                fault::is_absence(fault)
                    && step_of(fault).is_some_and(|step| step.act == Act::DeleteIfThere)
            };
            if let Some(fault) = faults.iter().find(|fault| !may_be_absent(fault)) {
                let error = match step_of(fault) {
                    Some(step) => fault::refused(step, fault),
                    None => fault::refused(&"changing grants", fault),
                };
                return Err(if fault::is_divergence(fault) {
                    Failure::Diverged(error)
                } else {
                    Failure::Refused(error)
                });
            }
            let absent: BTreeSet<usize> = faults.iter().filter_map(|fault| fault.index).collect();
            let mut index = 0_usize..;
            steps.retain(|_| index.next().is_none_or(|index| !absent.contains(&index)));
        }
    }

    /// Puts everything that is remembered into the kernel anew.
    fn put_back(&mut self) -> Result<(), FirewallError> {
        let Some(placed) = &self.placed else {
            return Ok(());
        };
        let (protection, live): (_, Vec<Grant>) = (
            placed.protection.clone(),
            placed.holders.grants().cloned().collect(),
        );
        self.install(&protection, &live)
    }

    fn wanted(protection: &Protection, nat: bool) -> Wanted {
        Wanted {
            protection: protection.clone(),
            nat,
        }
    }

    /// One batch after which the table is as wanted and holds these grants, whatever stood there before.
    fn set_up(
        &mut self,
        protection: &Protection,
        nat: bool,
        steps: &[Step],
    ) -> Result<(), FirewallError> {
        let setup = set_up(&Self::wanted(protection, nat));
        let names: Vec<&'static str> = setup.iter().map(|(name, _)| *name).collect();
        let now = self.now;
        let batch: Vec<Message> = setup.into_iter().map(|(_, message)| message).collect();
        let elements = steps.iter().map(|step| messages::step(step, now));
        let sent = self.link.batch(batch.into_iter().chain(elements));
        self.doubtful |= matches!(sent, Err(Trouble::Unknown(_) | Trouble::Garbled(_)));
        sent.map_err(|trouble| {
            let Trouble::Refused(faults) = &trouble else {
                return fault::trouble(&"setting up the table", &trouble);
            };
            let Some(fault) = faults.first() else {
                return fault::trouble(&"setting up the table", &trouble);
            };
            let name = fault.index.and_then(|index| names.get(index)).copied();
            let step = fault
                .index
                .and_then(|index| steps.get(index.checked_sub(names.len())?));
            match (name, step) {
                (Some(name), _) => fault::refused(&name, fault),
                (None, Some(step)) => fault::refused(step, fault),
                (None, None) => fault::refused(&"setting up the table", fault),
            }
        })
    }
}

fn set_up(wanted: &Wanted) -> Vec<(&'static str, Message)> {
    // adding it first lets the deletion succeed where there was none
    let mut messages = vec![
        ("adding the table", messages::new_table()),
        ("deleting the table", messages::delete_table()),
        ("adding the table", messages::new_table()),
    ];
    messages.extend(
        Set::ALL
            .into_iter()
            .map(|set| ("adding a set", messages::new_set(set))),
    );
    let chains = table::chains(wanted);
    messages.extend(
        chains
            .iter()
            .map(|chain| ("adding a chain", messages::new_chain(chain))),
    );
    for chain in &chains {
        for rule in &chain.rules {
            messages.push(("adding a rule", messages::new_rule(chain, rule.clone())));
        }
    }
    messages
}

impl FirewallDriver for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.list().map(|_| ())
    }

    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        let mut holders = Holders::default();
        let mut steps = Vec::new();
        for grant in live {
            let _ = holders
                .change(&Change::Open(grant.clone()), &mut steps)
                .map_err(|why| FirewallError::Unsupported(format!("nftables: {why}")))?;
        }
        let nat =
            !protection.forwards.is_empty() || live.iter().any(|grant| !grant.forwards.is_empty());
        self.set_up(protection, nat, &steps)?;
        let rules = standing::rules_of(
            &mut self.link,
            &table::chains(&Self::wanted(protection, nat)),
        );
        self.placed = Some(Placed {
            protection: protection.clone(),
            nat,
            holders,
            rules,
        });
        self.doubtful = false;
        self.seen = None;
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        match self.commit(changes) {
            Ok(()) => vec![Ok(()); changes.len()],
            Err(error) if changes.len() == 1 => vec![Err(error)],
            // nothing of the batch was done: each change finds its own end
            Err(_) => changes
                .iter()
                .map(|change| self.commit(std::slice::from_ref(change)))
                .collect(),
        }
    }

    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        let elements = match self.link.dump(Set::Record) {
            Ok(elements) => elements,
            Err(Trouble::Refused(faults)) if faults.iter().all(fault::is_absence) => {
                return Ok(Vec::new());
            }
            Err(trouble) => {
                return Err(fault::trouble(
                    &format_args!("reading set record of table inet {TABLE}"),
                    &trouble,
                ));
            }
        };
        let mut parts = record::Parts::default();
        let read = elements
            .iter()
            .try_for_each(|(key, userdata, remaining)| parts.take(key, userdata, *remaining));
        let unreadable = |why| {
            FirewallError::Foreign(format!(
                "nftables: {why}; another program wrote to table inet {TABLE}: run posternd flush, then start anew"
            ))
        };
        let now = Some(self.now).filter(|now| *now != Timestamp::default());
        read.and_then(|()| parts.grants(now)).map_err(unreadable)
    }

    fn verify(&mut self) -> Result<bool, FirewallError> {
        let Some(placed) = &self.placed else {
            return Ok(true);
        };
        if self.doubtful {
            // The kernel may hold what was told as refused, and no look at what should be there shows what should not.
            return Ok(false);
        }
        let failed = |trouble: Trouble| {
            fault::trouble(&format_args!("reading table inet {TABLE}"), &trouble)
        };
        let number = self.link.number().map_err(failed)?;
        if self.seen == Some(number) {
            // Nobody has changed anything since it was last looked at, here or elsewhere.
            return Ok(true);
        }
        let stands = standing::stands(&mut self.link, placed, self.now).map_err(failed)?;
        self.seen = stands.then_some(number);
        Ok(stands)
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let batch = [messages::new_table(), messages::delete_table()];
        self.link
            .batch(batch.into_iter())
            .map_err(|trouble| fault::trouble(&"deleting the table", &trouble))?;
        self.placed = None;
        Ok(())
    }

    fn kernel_expiry(&self) -> Result<(), String> {
        Ok(())
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }
}

/// What a step does, for errors.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.act {
            Act::Add { .. } | Act::Touch => "adding",
            Act::Delete | Act::DeleteIfThere => "deleting",
        };
        write!(f, "{doing} element {}", self.element)
    }
}
