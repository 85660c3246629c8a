//! The iptables programs of this machine, for tests that drive the firewall.

use postern::adapters::firewall::iptables::{Pair, Paths};

use crate::{Namespace, say};

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

/// The variants that this kernel has.
pub fn iptables_variants() -> Vec<&'static str> {
    let saved = Namespace::new().try_sh("/usr/sbin/iptables-legacy-save -t nat");
    if saved.is_ok() {
        return vec!["nft", "legacy"];
    }
    say("this kernel has no legacy tables: only iptables-nft is tested");
    vec!["nft"]
}
