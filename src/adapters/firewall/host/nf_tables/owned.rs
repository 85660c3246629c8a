//! Tables that only their owner may change.

use super::dump::{Dumps, Kind, Question};
use super::reader::{family, number};
use crate::adapters::netlink::NetlinkError;
use crate::adapters::netlink::attributes::{find, text};
use crate::core::host_rules::Table;

// NFTA_TABLE_OWNER; 0 if the owner has ended
const OWNER: u16 = 7;

/// The tables with `flags owner` whose owner lives.
pub(in crate::adapters::firewall::host) fn owned_tables(
    source: &mut impl Dumps,
) -> Result<Vec<Table>, NetlinkError> {
    source.dump(
        Question::all(Kind::Table),
        |tables: &mut Vec<_>, of, object| {
            let is_owned = number(object, OWNER).is_some_and(|owner| owner != 0);
            let name = find(object, 1).map(text).filter(|_| is_owned);
            tables.extend(name.zip(family(of)).map(|(name, family)| Table {
                program: "nft".to_owned(),
                family,
                name,
            }));
        },
    )
}
