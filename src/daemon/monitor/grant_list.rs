//! Splits the list of open grants into reports that each fit into one message.

use crate::core::order::{MESSAGE_MAX, PAGE, Report};
use crate::model::grant::{Grant, ListedGrant};

const HEAD: usize = 128;

pub(super) fn reports(ticket: u64, grants: impl Iterator<Item = ListedGrant>) -> Vec<Report> {
    let mut parts: Vec<Vec<ListedGrant>> = vec![Vec::new()];
    let mut size = HEAD;
    for listed in grants {
        let length = length(&listed.grant);
        size = size.saturating_add(length);
        let has_room = size < MESSAGE_MAX;
        let fits =
            |part: &&mut Vec<ListedGrant>| part.is_empty() || (part.len() < PAGE && has_room);
        match parts.last_mut().filter(fits) {
            Some(part) => part.push(listed),
            None => {
                size = HEAD.saturating_add(length);
                parts.push(vec![listed]);
            }
        }
    }
    let last = parts.len().saturating_sub(1);
    let report = |(at, grants)| Report::Grants {
        ticket,
        grants,
        more: at < last,
    };
    parts.into_iter().enumerate().map(report).collect()
}

fn length(grant: &Grant) -> usize {
    const SERVICE: usize = "\"tcp/65535-65535\",".len();
    const FORWARD: usize = 192;
    const REST: usize = 256;
    [
        grant.services.len().saturating_mul(SERVICE),
        grant.forwards.len().saturating_mul(FORWARD),
        grant.user.len(),
    ]
    .into_iter()
    .fold(REST, usize::saturating_add)
}
