//! The iptables programs of this machine, for tests that drive the firewall.

use postern::adapters::firewall::iptables::{Pair, Paths};

use crate::{Machine, Namespace, Requirement, say};

/// The programs of a variant, `nft` or `legacy`.
pub fn iptables_paths(variant: &str) -> Paths {
    let pair = |name: &str| Pair {
        restore: format!("/usr/sbin/{name}-{variant}-restore").into(),
        save: format!("/usr/sbin/{name}-{variant}-save").into(),
    };
    Paths {
        v4: pair("iptables"),
        v6: Some(pair("ip6tables")),
    }
}

/// The variants that this machine has.
pub fn iptables_variants(machine: &Machine) -> Vec<&'static str> {
    if has_legacy_tables(machine) {
        vec!["nft", "legacy"]
    } else {
        vec!["nft"]
    }
}

/// Whether the kernel has the tables of iptables-legacy.
pub fn has_legacy_tables(machine: &Machine) -> bool {
    let has = machine.meets(&[Requirement::Root, Requirement::Program("ip")])
        && Namespace::new()
            .try_sh("/usr/sbin/iptables-legacy-save -t nat")
            .is_ok();
    if !has {
        say("this kernel has no legacy tables: only iptables-nft is tested");
    }
    has
}
