//! Where the iptables programs are.

use std::path::{Path, PathBuf};

use crate::adapters::firewall::FirewallError;
use crate::adapters::firewall::nftables::iptables_tables::ListedChain;
use crate::model::address::Family;

/// What the nft variant cannot do itself, because its programs refuse tables that they cannot show in full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NftTables {
    /// Notes which of these tables and their base chains do not exist yet.
    pub(crate) note_missing: fn(Family, &[&str]) -> Result<(), FirewallError>,
    /// Deletes those of them that are empty now.
    pub(crate) delete_created: fn() -> Result<(), FirewallError>,
    /// Removes all of Postern's chains, then does the same.
    pub(crate) remove: fn() -> Result<(), FirewallError>,
    pub(crate) list: fn(Family) -> Result<Vec<ListedChain>, FirewallError>,
}

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

impl Pair {
    pub(super) fn family(&self) -> Family {
        let name = self.save.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b"ip6") {
            Family::V6
        } else {
            Family::V4
        }
    }

    /// `iptables` or `ip6tables` of the same variant.
    pub(super) fn change(&self) -> PathBuf {
        let name = self.save.to_string_lossy();
        PathBuf::from(name.strip_suffix("-save").unwrap_or(&name))
    }
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

    /// The same programs by the names of their variant. The plain names may become those of the other variant while
    /// the daemon runs.
    pub(crate) fn of_fixed_variant(self, find: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let variant = if self.is_nft() { "nft" } else { "legacy" };
        let pair = |pair: &Pair| {
            let named = |path: &Path| {
                let (name, action) = path.file_name()?.to_str()?.rsplit_once('-')?;
                let named = find(&format!("{name}-{variant}-{action}"))?;
                (named.canonicalize().ok()? == path.canonicalize().ok()?).then_some(named)
            };
            Some(Pair {
                restore: named(&pair.restore)?,
                save: named(&pair.save)?,
            })
        };
        let fixed = |known: Pair| pair(&known).unwrap_or(known);
        Self {
            v4: fixed(self.v4),
            v6: self.v6.map(fixed),
        }
    }

    pub(crate) fn is_nft(&self) -> bool {
        let file = self.v4.save.canonicalize();
        file.is_ok_and(|file| file.to_string_lossy().contains("nft"))
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
