//! A list of grants, cut into reports that each fit into one message.
//!
//! Owns the reckoning of how long a grant is. Pure.

use crate::core::order::{MESSAGE_MAX, PAGE, Report};
use crate::model::grant::Grant;

/// Bytes of a page beside its grants.
const PAGE_HEAD: usize = 128;

/// The pages of these grants, the last of which says that it is the last.
pub(super) fn of<'a>(ticket: u64, grants: impl Iterator<Item = &'a Grant>) -> Vec<Report> {
    let mut pages: Vec<Vec<Grant>> = vec![Vec::new()];
    let mut size = PAGE_HEAD;
    for grant in grants {
        size = size.saturating_add(length(grant));
        match pages
            .last_mut()
            .filter(|page| page.is_empty() || (page.len() < PAGE && size < MESSAGE_MAX))
        {
            Some(page) => page.push(grant.clone()),
            None => {
                size = PAGE_HEAD.saturating_add(length(grant));
                pages.push(vec![grant.clone()]);
            }
        }
    }
    let last = pages.len().saturating_sub(1);
    pages
        .into_iter()
        .enumerate()
        .map(|(at, grants)| Report::Grants {
            ticket,
            grants,
            more: at < last,
        })
        .collect()
}

/// More bytes than a grant has in a page: two addresses, two numbers and the names of fields beside the user, the services and the forwards.
fn length(grant: &Grant) -> usize {
    const SERVICE: usize = "\"tcp/65535-65535\",".len();
    const FORWARD: usize = 192;
    let forwards = grant.forwards.len().saturating_mul(FORWARD);
    grant
        .services
        .len()
        .saturating_mul(SERVICE)
        .saturating_add(forwards)
        .saturating_add(grant.user.len())
        .saturating_add(256)
}
