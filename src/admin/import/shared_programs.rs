//! Refuses programs that another user of the import would run: a program runs for every grant of the ports of its service.

use super::converted::{Converted, NewService, NewUser};
use crate::model::foreign::Verdict;
use crate::model::service::{self, Ports};

pub(super) fn refuse(made: &mut Converted) {
    let (users, services) = (&made.users, &made.services);
    let acting = services.iter().filter(|service| service.acts);
    let shared = acting.filter_map(|service| {
        let owner = users
            .iter()
            .find(|user| user.services.contains(&service.name))?;
        let mut others = users.iter().filter(|user| user.name != owner.name);
        let other = others.find(|user| opens(user, service, services))?;
        let what = format!(
            "user {} may open {}, too, and would run its program",
            other.name,
            service.ports.join(", ")
        );
        Some((owner.name.clone(), owner.turn, what))
    });
    let shared: Vec<_> = shared.collect();
    for (owner, turn, what) in shared {
        let cure = "let no other user of this import open that port, and import again";
        remove(made, |user| user.name == owner, (&what, cure));
        // fwknopd would not have asked those who come after it.
        let is_after = |user: &NewUser| match (user.turn, turn) {
            (Some(one), Some(other)) => one.group == other.group && one.order > other.order,
            _ => false,
        };
        let what = "a stanza above has the same keys, and is not converted";
        let cure = "give this stanza keys of its own, or correct that stanza";
        remove(made, is_after, (what, cure));
    }
}

fn remove(made: &mut Converted, is_meant: impl Fn(&NewUser) -> bool, words: (&str, &str)) {
    let users = std::mem::take(&mut made.users).into_iter();
    let (removed, kept) = users.partition(is_meant);
    made.users = kept;
    let removed: Vec<NewUser> = removed;
    for user in removed {
        made.findings.add(&user.place, None, Verdict::Refuse, words);
        made.services
            .retain(|service| !user.services.contains(&service.name));
    }
}

/// Whether a grant for this user may have all ports of the service.
fn opens(user: &NewUser, service: &NewService, services: &[NewService]) -> bool {
    let ports = user.services.iter().flat_map(|wanted| {
        let named = services.iter().find(|one| one.name == *wanted);
        match named {
            Some(named) if named.forwards => &[][..],
            Some(named) => &named.ports,
            None => std::slice::from_ref(wanted),
        }
    });
    let ports: Vec<Ports> = ports.filter_map(|text| text.parse().ok()).collect();
    let granted = service::joined(ports);
    let mut wanted = service.ports.iter().filter_map(|text| text.parse().ok());
    wanted.all(|port| service::covered(&granted, port))
}
