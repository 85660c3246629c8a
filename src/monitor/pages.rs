//! The list of grants as reports: in pages, each of which fits into a message.

use crate::grant::Grant;
use crate::order::{MESSAGE_MAX, PAGE, Report};

/// Bytes of a page beside its grants.
const PAGE_HEAD: usize = 128;

/// All grants, at least one page.
pub(super) fn of<'g>(ticket: u64, grants: impl Iterator<Item = &'g Grant>) -> Vec<Report> {
    let mut pages: Vec<Vec<Grant>> = Vec::new();
    let mut size = usize::MAX;
    for grant in grants.cloned() {
        size = size.saturating_add(length(&grant));
        match pages.last_mut().filter(|page| page.len() < PAGE && size < MESSAGE_MAX) {
            Some(page) => page.push(grant),
            None => {
                size = PAGE_HEAD.saturating_add(length(&grant));
                pages.push(vec![grant]);
            }
        }
    }
    if pages.is_empty() {
        pages.push(Vec::new());
    }
    let last = pages.len().saturating_sub(1);
    pages.into_iter().enumerate().map(|(at, grants)| Report::Grants { ticket, grants, more: at < last }).collect()
}

/// More bytes than a grant has in a page: two addresses, two numbers and the names of fields beside the user, the services and the forwards.
fn length(grant: &Grant) -> usize {
    const SERVICE: usize = "\"tcp/65535-65535\",".len();
    const FORWARD: usize = 192;
    let forwards = grant.forwards.len().saturating_mul(FORWARD);
    grant.services.len().saturating_mul(SERVICE).saturating_add(forwards).saturating_add(grant.user.len()).saturating_add(256)
}
