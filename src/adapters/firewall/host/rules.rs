//! The rules of the host: nf_tables over netlink, and legacy iptables through its save program.

use std::cell::OnceCell;

use rustix::io::Errno;

use super::legacy::Legacy;
use super::nf_tables::{self, Owners, Scope, View};
use super::programs::{Tools, variant};
use crate::adapters::firewall::{FirewallError, nftables};
use crate::adapters::netlink::{Netlink, NetlinkError, RulesetEvents};
use crate::core::host_rules::{Ruleset, Sought, Table};

/// Others may change rules while they are read; then some are read again, this often at most.
const READS_MAX: u32 = 16;

/// The rules that decide what passes, as they were read last.
pub(crate) struct KeptRules {
    nf_tables: Option<KeptView>,
    legacy: Legacy,
    sought: Option<Sought>,
    scope: Scope,
    /// Both, if there are legacy rules.
    joined: Option<Ruleset>,
}

/// The view, and the events that keep it up to date.
struct KeptView {
    view: View<Netlink>,
    events: RulesetEvents,
}

impl KeptRules {
    /// Reads nothing yet. `sought` chooses the chains; `None` for all.
    pub(crate) fn new(sought: Option<Sought>) -> Self {
        Self::of(Scope::Filters, sought)
    }

    /// Also those that translate addresses.
    pub(super) fn all(sought: Sought) -> Self {
        Self::of(Scope::All, Some(sought))
    }

    fn of(scope: Scope, sought: Option<Sought>) -> Self {
        Self {
            nf_tables: None,
            legacy: Legacy::new(),
            sought,
            scope,
            joined: None,
        }
    }

    /// Chooses other chains from now on.
    pub(crate) fn seek(&mut self, sought: Sought) {
        if self.sought.as_ref() != Some(&sought) {
            self.sought = Some(sought);
            self.distrust();
        }
    }

    /// The next refresh reads everything.
    pub(crate) fn distrust(&mut self) {
        self.nf_tables = None;
        self.legacy.distrust();
    }

    /// The next refresh reads the legacy rules.
    pub(crate) fn distrust_legacy(&mut self) {
        self.legacy.read_at_once();
    }

    /// Reads what others changed. Returns whether the rules may differ now. After an error nothing is known.
    pub(crate) fn refresh(&mut self, tools: &mut Tools<'_>) -> Result<bool, FirewallError> {
        let mut unseen = Vec::new();
        let is_changed = self.refresh_parts(tools, &mut unseen);
        match unseen.into_iter().next() {
            None => Ok(is_changed),
            Some(why) => Err(FirewallError::Program(why)),
        }
    }

    /// Tells what cannot be read, and goes on.
    pub(super) fn refresh_parts(
        &mut self,
        tools: &mut Tools<'_>,
        unseen: &mut Vec<String>,
    ) -> bool {
        let find = tools.find;
        let owners = Owners {
            iptables: &|family| variant(find, family.pick("iptables", "ip6tables"), "nft"),
            interfaces: OnceCell::new(),
        };
        let mut is_changed = match self.refresh_nf_tables(&owners) {
            Ok(is_changed) => is_changed,
            Err(error) => {
                unseen.push(format!("cannot read nft rules: {error}"));
                true
            }
        };
        match self.legacy.refresh(self.scope, self.sought.as_ref(), tools) {
            Ok(is_other) => is_changed |= is_other,
            Err(why) => unseen.push(why),
        }
        if !unseen.is_empty() {
            self.nf_tables = None;
        }
        if is_changed {
            self.joined = (!self.legacy.chains.is_empty()).then(|| {
                let nft = self.nft_rules().map_or(&[][..], |rules| &rules.chains);
                Ruleset {
                    chains: [nft, &self.legacy.chains].concat(),
                }
            });
        }
        is_changed
    }

    fn nft_rules(&self) -> Option<&Ruleset> {
        self.nf_tables.as_ref().map(|kept| kept.view.rules())
    }

    /// Whether a table is not one of nf_tables.
    pub(crate) fn is_legacy(&self, table: &Table) -> bool {
        self.legacy.chains.iter().any(|chain| chain.table == *table)
    }

    pub(crate) fn rules(&self) -> &Ruleset {
        static NONE: Ruleset = Ruleset { chains: Vec::new() };
        self.joined.as_ref().or(self.nft_rules()).unwrap_or(&NONE)
    }

    fn refresh_nf_tables(&mut self, owners: &Owners<'_>) -> Result<bool, NetlinkError> {
        let is_first = self.nf_tables.is_none();
        let refreshed = match self.kept_view() {
            Ok(kept) => kept.refresh(owners),
            Err(error) => Err(error),
        };
        if refreshed.is_err() {
            self.nf_tables = None;
        }
        match refreshed {
            Err(error) if has_no_nf_tables(&error) => Ok(!is_first),
            refreshed => refreshed,
        }
    }

    fn kept_view(&mut self) -> Result<&mut KeptView, NetlinkError> {
        let kept = match self.nf_tables.take() {
            Some(kept) => kept,
            None => {
                let open = || nf_tables::open().map_err(NetlinkError::Lost);
                // first, so that no change is missed
                let events = RulesetEvents::subscribe().map_err(NetlinkError::Lost)?;
                KeptView {
                    view: View::new(open()?, open()?, self.scope, self.sought.clone()),
                    events,
                }
            }
        };
        Ok(self.nf_tables.insert(kept))
    }
}

impl KeptView {
    fn refresh(&mut self, owners: &Owners<'_>) -> Result<bool, NetlinkError> {
        let mut is_changed = false;
        for _ in 0..READS_MAX {
            let view = &mut self.view;
            let are_lost = self
                .events
                .each(|event| is_changed |= view.take(&event, nftables::TABLE, owners));
            if are_lost {
                view.distrust();
            }
            if !view.must_read() {
                return Ok(is_changed);
            }
            view.read(owners)?;
            is_changed = true;
        }
        Err(NetlinkError::Interrupted)
    }
}

fn has_no_nf_tables(error: &NetlinkError) -> bool {
    match error {
        NetlinkError::Lost(error) => matches!(
            Errno::from_io_error(error),
            Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT)
        ),
        error => error.is_all(Errno::INVAL) || error.is_all(Errno::OPNOTSUPP),
    }
}
