//! Where the iptables programs are.

use std::path::{Path, PathBuf};

use crate::adapters::firewall::FirewallError;

pub(crate) type DeleteTable = dyn FnMut(bool, &str) -> Result<(), FirewallError> + Send;

/// The programs of both families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// For IPv4.
    pub v4: Pair,
    /// For IPv6; `None` if they are not installed.
    pub v6: Option<Pair>,
}

/// The programs of one family, by absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// `iptables-restore` or `ip6tables-restore`.
    pub restore: PathBuf,
    /// `iptables-save` or `ip6tables-save`.
    pub save: PathBuf,
}

impl Paths {
    pub(crate) fn locate(find: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, FirewallError> {
        let require = |name: &str| {
            let why = format!("{name} is not installed; apt-get install iptables");
            find(name).ok_or(FirewallError::Unsupported(why))
        };
        let v4 = Pair {
            restore: require("iptables-restore")?,
            save: require("iptables-save")?,
        };
        let v6 = find("ip6tables-restore").zip(find("ip6tables-save"));
        let v6 = v6.map(|(restore, save)| Pair { restore, save });
        Ok(Self { v4, v6 })
    }

    /// The programs of each variant that is installed, each once. Rules of the legacy variant exist only if the kernel lists
    /// its tables, and the program could create them.
    pub(crate) fn variants(
        find: impl Fn(&str) -> Option<PathBuf>,
        has_legacy_tables: bool,
    ) -> Vec<Self> {
        let pair = |name: &str, variant: &str| {
            Some(Pair {
                restore: find(&format!("{name}{variant}-restore"))?,
                save: find(&format!("{name}{variant}-save"))?,
            })
        };
        let both = |variant: &str| {
            Some(Self {
                v4: pair("iptables", variant)?,
                v6: pair("ip6tables", variant),
            })
        };
        let (nft, legacy) = (both("-nft"), both("-legacy"));
        if nft.is_none() && legacy.is_none() {
            return both("").into_iter().collect();
        }
        let legacy = legacy.filter(|_| has_legacy_tables);
        nft.into_iter().chain(legacy).collect()
    }

    /// Whether the programs are the same files.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let file = |paths: &Self| paths.v4.restore.canonicalize().ok();
        file(self) == file(other)
    }

    pub(crate) fn warning(&self) -> Option<&'static str> {
        self.v6.is_none().then_some(
            "ip6tables-restore is not installed: Postern protects and opens nothing over IPv6; apt-get install iptables",
        )
    }

    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let pairs = std::iter::once(&self.v4).chain(&self.v6);
        let named = pairs.flat_map(|pair| [pair.restore.clone(), pair.save.clone()]);
        let all = named.flat_map(|path| path.canonicalize().into_iter().chain([path]));
        all.filter_map(|path| path.parent().map(Path::to_path_buf))
            .collect()
    }
}
