//! Sets in the host's own nft tables, to which grants are added.

use std::fmt;
use std::str::FromStr;

use crate::model::service::Ports;

const FAMILIES: [&str; 3] = ["inet", "ip", "ip6"];

/// The longest name that nf_tables has.
const NAME_MAX: usize = 255;

/// A named set of nf_tables: `inet filter ssh4`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostSet {
    /// The family of the table: `ip`, `ip6` or `inet`.
    pub family: &'static str,
    pub table: String,
    pub name: String,
}

/// Why a text does not name a set that grants may be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostSetError {
    /// Not three words.
    #[error("a set has three words")]
    Form,
    /// Another family.
    #[error("the family of a set's table is inet, ip or ip6")]
    Family,
    /// Postern's own table.
    #[error("table inet postern is Postern's own")]
    Own,
}

impl FromStr for HostSet {
    type Err = HostSetError;

    fn from_str(text: &str) -> Result<Self, HostSetError> {
        let words: Vec<&str> = text.split(' ').collect();
        let is_name = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-./\\".contains(c);
            (1..=NAME_MAX).contains(&text.len()) && text.chars().all(plain)
        };
        let [family, table, name] = words.as_slice() else {
            return Err(HostSetError::Form);
        };
        let family = FAMILIES.into_iter().find(|known| known == family);
        let family = family.ok_or(HostSetError::Family)?;
        if !is_name(table) || !is_name(name) {
            return Err(HostSetError::Form);
        }
        if (family, *table) == ("inet", "postern") {
            return Err(HostSetError::Own);
        }
        Ok(Self {
            family,
            table: (*table).to_owned(),
            name: (*name).to_owned(),
        })
    }
}

impl fmt::Display for HostSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// The sets of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSets {
    pub service: String,
    pub ports: Vec<Ports>,
    pub sets: Vec<HostSet>,
}

#[cfg(feature = "daemon")]
impl ServiceSets {
    /// Whether these ports have the whole service. A part of it adds nothing: the set may open all of it.
    pub(crate) fn is_covered_by(&self, open: &[Ports]) -> bool {
        let open = crate::model::service::joined(open.to_vec());
        self.ports
            .iter()
            .all(|ports| crate::model::service::covered(&open, *ports))
    }

    /// Whether every grant of these ports is in the sets.
    pub(crate) fn has_all_grants_of(&self, ports: Ports) -> bool {
        self.ports == [ports] && ports.range().is_none_or(|(first, last)| first == last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_has_family_table_and_name() {
        let set: HostSet = "inet filter ssh4".parse().unwrap();
        assert_eq!(set.to_string(), "inet filter ssh4");
        for (text, error) in [
            ("ssh4", HostSetError::Form),
            ("inet filter  ssh4", HostSetError::Form),
            ("ip filter \"x\"", HostSetError::Form),
            ("bridge filter ssh4", HostSetError::Family),
            ("inet postern grants4", HostSetError::Own),
        ] {
            assert_eq!(text.parse::<HostSet>(), Err(error), "{text}");
        }
    }

    #[test]
    fn partial_grant_is_not_the_service() {
        let sets = ServiceSets {
            service: "ssh".to_owned(),
            ports: vec!["tcp/22".parse().unwrap(), "tcp/2222".parse().unwrap()],
            sets: Vec::new(),
        };
        let opens = |services: &[&str]| {
            let open: Vec<Ports> = services.iter().map(|text| text.parse().unwrap()).collect();
            sets.is_covered_by(&open)
        };
        assert!(opens(&["tcp/2222", "tcp/22"]));
        assert!(opens(&["tcp/1-3000"]));
        assert!(!opens(&["tcp/22"]));
    }
}
