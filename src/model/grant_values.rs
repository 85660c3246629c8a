//! The values that a grant gives to the placeholders of a command template.

use crate::model::address::Family;
use crate::model::grant::Grant;
use crate::model::service::Ports;
use crate::model::time::{Timestamp, millis};

/// A value for each of `command_template::PLACEHOLDERS`: one grant, one of its services, the time now.
pub(crate) fn grant_values(
    grant: &Grant,
    ports: Ports,
    now: Timestamp,
) -> [(&'static str, String); 15] {
    let port = |which: fn((u16, u16)) -> u16| {
        let port = ports.range().map(which);
        port.map_or(String::new(), |port| port.to_string())
    };
    let family = match Family::of(grant.allow.addr()) {
        Family::V4 => "4",
        Family::V6 => "6",
    };
    let range = match ports.range() {
        Some((first, last)) if first < last => format!("{first}-{last}"),
        _ => port(|(first, _)| first),
    };
    let target = grant.target.map(|target| target.to_string());
    let until = whole_seconds(grant.until.as_millis());
    let left = whole_seconds(millis(grant.until.since(now)));
    [
        ("id", grant.id.to_string()),
        ("user", grant.user.clone()),
        ("allow", grant.allow.to_string()),
        ("address", grant.allow.addr().to_string()),
        ("prefix", grant.allow.prefix_len().to_string()),
        ("family", family.to_owned()),
        ("target", target.unwrap_or_default()),
        ("protocol", ports.protocol_name().to_owned()),
        ("first", port(|(first, _)| first)),
        ("last", port(|(_, last)| last)),
        ("ports", range),
        ("service", ports.to_string()),
        (
            "until",
            Timestamp::from_millis(until.saturating_mul(1000)).to_string(),
        ),
        ("until_unix", until.to_string()),
        ("seconds", left.to_string()),
    ]
}

/// Rounded up: a program that counts seconds must not end before the grant, and many take 0 as "for ever".
fn whole_seconds(millis: u64) -> u64 {
    millis.div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;
    use crate::model::command_template::{CommandTemplate, PLACEHOLDERS};

    #[test]
    fn every_placeholder_has_a_value() {
        let grant = |allow: &str, target: Option<&str>| Grant {
            target: target.map(|text| text.parse().unwrap()),
            until: Timestamp::from_millis(1_760_000_000_001),
            ..fixture::grant(17, "alice", allow, &["tcp/22"])
        };
        let filled = |text: &str, grant: &Grant, ports: &str| {
            let words = vec!["/p".to_owned(), text.to_owned()];
            let now = Timestamp::from_millis(1_759_999_990_000);
            let values = grant_values(grant, ports.parse().unwrap(), now);
            assert_eq!(values.clone().map(|(name, _)| name), PLACEHOLDERS);
            CommandTemplate::try_from(words)
                .unwrap()
                .filled(&values)
                .remove(0)
        };
        let four = grant("192.0.2.0/24", None);
        let six = grant("2001:db8::7/128", Some("fd00::5"));
        for (text, of_four, of_six) in [
            ("{id}", "17", "17"),
            ("{user}", "alice", "alice"),
            ("{allow}", "192.0.2.0/24", "2001:db8::7/128"),
            ("{address}/{prefix}", "192.0.2.0/24", "2001:db8::7/128"),
            ("ip{family}", "ip4", "ip6"),
            ("to={target}", "to=", "to=fd00::5"),
            ("{protocol}:{first}:{last}", "tcp:80:90", "icmpv6::"),
            ("{ports}", "80-90", ""),
            ("{service}", "tcp/80-90", "icmpv6"),
            ("{until}", "2025-10-09T08:53:21Z", "2025-10-09T08:53:21Z"),
            ("{until_unix}", "1760000001", "1760000001"),
            ("timeout {seconds}s", "timeout 11s", "timeout 11s"),
        ] {
            assert_eq!(filled(text, &four, "tcp/80-90"), of_four, "{text}");
            assert_eq!(filled(text, &six, "icmpv6"), of_six, "{text}");
        }
        assert_eq!(filled("{ports} {first}", &four, "tcp/22"), "22 22");
    }
}
