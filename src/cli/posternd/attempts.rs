//! Attempts without a grant, as text for `posternd status` and `posternd explain --live`.

use std::time::Duration;

use crate::model::attempt::{Attempts, Unused};
use crate::model::time::{Timestamp, count, human};

/// Limit for the admitted knocks in text: where many scan, each has some attempts.
const MAX_UNUSED: usize = 5;
/// Limit for the sources in text.
const MAX_SOURCES: usize = 10;

pub(super) fn lines(attempts: &[Attempts], unused: &[Unused], now: Timestamp) -> String {
    let told = unused.iter().take(MAX_UNUSED);
    let told = told.map(|one| unused_lines(one, Some(now)));
    let mut text: String = told.collect();
    let more = unused.len().saturating_sub(MAX_UNUSED);
    if more > 0 {
        text += &format!("and {more} more admitted knocks, with attempts from elsewhere since\n");
    }
    for tried in attempts.iter().take(MAX_SOURCES) {
        text += &format!("without a grant: {}{}\n", said(tried), ago(tried, now));
    }
    let more = attempts.len().saturating_sub(MAX_SOURCES);
    if more > 0 {
        text += &format!("without a grant: {more} more sources\n");
    }
    text
}

/// An admitted knock that lets in another address than the one that tries, with the age of the last attempt if `now` is
/// given.
pub(super) fn unused_lines(unused: &Unused, now: Option<Timestamp>) -> String {
    let Some(last) = unused.attempts.iter().max_by_key(|tried| tried.last) else {
        return String::new();
    };
    let (user, first) = (&unused.user, unused.allow.addr());
    let allow = match unused.allow {
        host if host.prefix_len() == host.max_prefix_len() => first.to_string(),
        network => network.to_string(),
    };
    let tried: Vec<String> = unused.attempts.iter().map(said).collect();
    let mut tried = tried.join(", ");
    tried.extend(now.map(|now| ago(last, now)));
    let (source, service) = (last.source, last.service);
    format!(
        "{user} was admitted for {allow}; since then {tried}\n  \
         if that is the client, knock with --allow {source}; else run: posternd check --from {first} {service}\n"
    )
}

fn ago(tried: &Attempts, now: Timestamp) -> String {
    let seconds = now.since(tried.last).as_secs();
    format!(", the last {} ago", human(Duration::from_secs(seconds)))
}

fn said(tried: &Attempts) -> String {
    let (service, source) = (tried.service, tried.source);
    let attempts = count(tried.count, "attempt");
    format!("{attempts} at {service} from {source}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admitted_address_stands_beside_the_other() {
        let tried = Attempts {
            source: "192.168.1.1".parse().unwrap(),
            service: "tcp/22".parse().unwrap(),
            count: 3,
            last: Timestamp::from_millis(5000),
        };
        let unused = Unused {
            user: "alice".to_owned(),
            allow: "192.168.1.5/32".parse().unwrap(),
            admitted: Timestamp::from_millis(1000),
            attempts: vec![tried],
        };
        let expected = "\
alice was admitted for 192.168.1.5; since then 3 attempts at tcp/22 from 192.168.1.1, the last 2s ago
  if that is the client, knock with --allow 192.168.1.1; else run: posternd check --from 192.168.1.5 tcp/22
without a grant: 3 attempts at tcp/22 from 192.168.1.1, the last 2s ago
";
        let many = vec![unused.clone(); 9];
        let text = lines(&[], &many, Timestamp::from_millis(7000));
        assert!(text.ends_with("and 4 more admitted knocks, with attempts from elsewhere since\n"));
        assert_eq!(
            lines(&[tried], &[unused], Timestamp::from_millis(7000)),
            expected
        );
    }
}
