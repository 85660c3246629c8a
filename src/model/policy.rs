//! What a user may open, and the one function that decides it.
//!
//! The gate asks [`Policy::check`] in PROTOCOL section 6, step 9; the monitor asks it again of every order, with
//! its own copy (invariant 5). Plain values: no files, no clock.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::address;
use crate::model::catalog::{self, NamedServices, ServiceOptions};
use crate::model::reason::Rule;
use crate::model::request::{AddressFrom, OpenRequest};
use crate::model::service::{self, Ports, Wanted};
use crate::model::time;

const USER_NAME_MAX: usize = 64;

/// Which address a grant may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantTo {
    /// Only the address inside the knock, which nobody on the way can change.
    Claimed,
    /// Only the source address of the packet.
    Observed,
    /// Whichever the knock asks for.
    #[default]
    Either,
}

/// Widest network that one grant may admit, as prefix lengths of each family's own space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxPrefix {
    /// 0 to 32.
    pub v4: u8,
    /// 0 to 128.
    pub v6: u8,
}

/// Admitted knocks in a time: `30/min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// How many at once, and again in each `per`.
    pub count: NonZeroU32,
    /// The time in which the whole count comes back.
    pub per: Duration,
}

/// What one user may open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The user's name.
    pub user: String,
    /// Services the user may open, as the config names them.
    pub services: Vec<Wanted>,
    /// Hosts behind the gate; empty: only the gate itself.
    pub targets: Vec<IpNet>,
    /// Which address a grant may go to.
    pub grant_to: GrantTo,
    /// Addresses that may be let in at all.
    pub networks: Vec<IpNet>,
    /// Widest network that one grant may admit.
    pub max_prefix: MaxPrefix,
    /// Granted when the knock asks for none.
    pub duration: Duration,
    /// A longer wish is clipped to this.
    pub max_duration: Duration,
    /// Admitted knocks in a time.
    pub quota: Quota,
    /// Whether connections end with the grant that they rest on.
    pub end_connections: bool,
}

impl Policy {
    /// The policy that DESIGN section 4 gives a user for whom the config says only name and services.
    pub fn for_user(user: &str, services: Vec<Wanted>) -> Self {
        Self {
            user: user.to_owned(),
            services,
            targets: Vec::new(),
            grant_to: GrantTo::Either,
            networks: vec![
                IpNet::V4(ipnet::Ipv4Net::default()),
                IpNet::V6(ipnet::Ipv6Net::default()),
            ],
            max_prefix: MaxPrefix { v4: 32, v6: 128 },
            duration: Duration::from_secs(30),
            max_duration: Duration::from_secs(3600),
            quota: Quota {
                count: NonZeroU32::MIN.saturating_add(29),
                per: Duration::from_secs(60),
            },
            end_connections: false,
        }
    }

    /// Whether this user may have these terms. Nothing is granted in part: one rule that says no refuses the whole.
    ///
    /// # Errors
    /// The first rule that said no.
    pub fn check(
        &self,
        terms: &OpenRequest,
        named: &NamedServices,
        options: &BTreeMap<String, ServiceOptions>,
    ) -> Result<(), Rule> {
        self.check_address(terms)?;
        self.check_target(terms)?;
        self.check_services(terms, named, options)?;
        // Under a millisecond it would be over as it begins, for time is counted in those.
        if terms.duration > self.max_duration || time::millis(terms.duration) == 0 {
            return Err(Rule::Duration);
        }
        Ok(())
    }

    /// The duration a knock gets: its wish, or the default where it has none, never more than the maximum.
    pub fn clip(&self, wish_seconds: u32) -> Duration {
        let wish = if wish_seconds == 0 {
            self.duration
        } else {
            Duration::from_secs(u64::from(wish_seconds))
        };
        wish.min(self.max_duration)
    }

    fn check_address(&self, terms: &OpenRequest) -> Result<(), Rule> {
        match (self.grant_to, terms.from) {
            (GrantTo::Claimed, AddressFrom::Observed)
            | (GrantTo::Observed, AddressFrom::Claimed) => return Err(Rule::GrantTo),
            _ => {}
        }
        let widest = match terms.allow {
            IpNet::V4(_) => self.max_prefix.v4,
            IpNet::V6(_) => self.max_prefix.v6,
        };
        // Bits behind the prefix say nothing, and no firewall writes them back.
        if terms.allow.prefix_len() < widest || terms.allow != terms.allow.trunc() {
            return Err(Rule::Prefix);
        }
        let lone = terms.allow.prefix_len() == terms.allow.max_prefix_len();
        if lone && address::is_nobody(terms.allow.addr()) {
            return Err(Rule::Networks);
        }
        if self
            .networks
            .iter()
            .any(|network| network.contains(&terms.allow))
        {
            Ok(())
        } else {
            Err(Rule::Networks)
        }
    }

    fn check_target(&self, terms: &OpenRequest) -> Result<(), Rule> {
        let Some(target) = terms.target else {
            return Ok(());
        };
        if !self.targets.iter().any(|network| network.contains(&target)) {
            return Err(Rule::Target);
        }
        let same_family = target.is_ipv4() == terms.allow.addr().is_ipv4();
        if same_family {
            Ok(())
        } else {
            Err(Rule::Family)
        }
    }

    /// A service that forwards is given by its name alone: its port at the gate means nothing without the forward.
    fn check_services(
        &self,
        terms: &OpenRequest,
        named: &NamedServices,
        options: &BTreeMap<String, ServiceOptions>,
    ) -> Result<(), Rule> {
        if terms.services.is_empty() {
            return Err(Rule::Service);
        }
        let plain = |list: &[Wanted]| {
            let plain: Vec<Wanted> = list
                .iter()
                .filter(|one| catalog::forward_of(one, options).is_none())
                .cloned()
                .collect();
            ports_of(&plain, named).ok_or(Rule::UnknownService)
        };
        let allowed = service::joined(plain(&self.services)?);
        if !plain(&terms.services)?
            .iter()
            .all(|ports| service::covered(&allowed, *ports))
        {
            return Err(Rule::Service);
        }
        for wanted in &terms.services {
            let Some(forward) = catalog::forward_of(wanted, options) else {
                continue;
            };
            match terms.target {
                _ if !self.services.contains(wanted) => return Err(Rule::Service),
                Some(_) => return Err(Rule::Target),
                None if forward.host.is_ipv4() != terms.allow.addr().is_ipv4() => {
                    return Err(Rule::Family);
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Whether a user may have this name: 1 to 64 letters, digits, dots, underscores, hyphens or @, the first a letter or digit. So it
/// can be the name of a file, and never a path or a hidden one.
pub fn is_user_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts
        && text.len() <= USER_NAME_MAX
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
}

/// The concrete ports behind a list of services; `None` where a name has no meaning at this gate.
pub fn ports_of(wanted: &[Wanted], named: &NamedServices) -> Option<Vec<Ports>> {
    let mut all = Vec::with_capacity(wanted.len());
    for one in wanted {
        match one {
            Wanted::Ports(ports) => all.push(*ports),
            Wanted::Named(name) => all.extend_from_slice(named.get(name)?),
        }
    }
    Some(all)
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_secs() {
            1 => write!(f, "{}/s", self.count),
            60 => write!(f, "{}/min", self.count),
            3600 => write!(f, "{}/h", self.count),
            86_400 => write!(f, "{}/day", self.count),
            other => write!(f, "{}/{other}s", self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(allow: &str, services: &[&str]) -> OpenRequest {
        OpenRequest {
            user: "alice".to_owned(),
            allow: allow.parse().unwrap(),
            from: AddressFrom::Claimed,
            target: None,
            services: services.iter().map(|s| s.parse().unwrap()).collect(),
            duration: Duration::from_secs(30),
        }
    }

    fn policy() -> Policy {
        Policy::for_user(
            "alice",
            vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()],
        )
    }

    fn named() -> NamedServices {
        [
            (
                "web".to_owned(),
                vec!["tcp/80".parse().unwrap(), "tcp/443".parse().unwrap()],
            ),
            ("dns".to_owned(), vec!["udp/53".parse().unwrap()]),
        ]
        .into()
    }

    #[test]
    fn what_the_policy_names_is_allowed_by_name_and_by_port() {
        for services in [&["tcp/22"][..], &["web"], &["tcp/80", "tcp/22"]] {
            assert_eq!(
                policy().check(&terms("192.0.2.7/32", services), &named(), &BTreeMap::new()),
                Ok(()),
                "{services:?}"
            );
        }
    }

    #[test]
    fn one_service_that_is_not_allowed_refuses_the_whole() {
        assert_eq!(
            policy().check(
                &terms("192.0.2.7/32", &["tcp/22", "tcp/23"]),
                &named(),
                &BTreeMap::new()
            ),
            Err(Rule::Service)
        );
        assert_eq!(
            policy().check(&terms("192.0.2.7/32", &["dns"]), &named(), &BTreeMap::new()),
            Err(Rule::Service)
        );
        assert_eq!(
            policy().check(
                &terms("192.0.2.7/32", &["mail"]),
                &named(),
                &BTreeMap::new()
            ),
            Err(Rule::UnknownService)
        );
        assert_eq!(
            policy().check(&terms("192.0.2.7/32", &[]), &named(), &BTreeMap::new()),
            Err(Rule::Service)
        );
    }

    #[test]
    fn the_address_must_lie_in_the_networks_and_be_no_wider_than_the_prefix_allows() {
        let mut narrow = policy();
        narrow.networks = vec!["192.0.2.0/24".parse().unwrap()];
        narrow.max_prefix.v4 = 28;
        assert_eq!(
            narrow.check(
                &terms("192.0.2.16/28", &["web"]),
                &named(),
                &BTreeMap::new()
            ),
            Ok(())
        );
        assert_eq!(
            narrow.check(&terms("192.0.2.0/27", &["web"]), &named(), &BTreeMap::new()),
            Err(Rule::Prefix)
        );
        assert_eq!(
            narrow.check(
                &terms("198.51.100.1/32", &["web"]),
                &named(),
                &BTreeMap::new()
            ),
            Err(Rule::Networks)
        );
        assert_eq!(
            narrow.check(
                &terms("2001:db8::1/128", &["web"]),
                &named(),
                &BTreeMap::new()
            ),
            Err(Rule::Networks)
        );
        assert_eq!(
            policy().check(&terms("224.0.0.1/32", &["web"]), &named(), &BTreeMap::new()),
            Err(Rule::Networks)
        );
        assert_eq!(
            policy().check(&terms("192.0.2.0/31", &["web"]), &named(), &BTreeMap::new()),
            Err(Rule::Prefix)
        );
    }

    #[test]
    fn a_policy_may_insist_on_the_claimed_or_on_the_observed_address() {
        let mut strict = policy();
        strict.grant_to = GrantTo::Observed;
        assert_eq!(
            strict.check(&terms("192.0.2.7/32", &["web"]), &named(), &BTreeMap::new()),
            Err(Rule::GrantTo)
        );
        strict.grant_to = GrantTo::Claimed;
        assert_eq!(
            strict.check(&terms("192.0.2.7/32", &["web"]), &named(), &BTreeMap::new()),
            Ok(())
        );
        let observed = OpenRequest {
            from: AddressFrom::Observed,
            ..terms("192.0.2.7/32", &["web"])
        };
        assert_eq!(
            strict.check(&observed, &named(), &BTreeMap::new()),
            Err(Rule::GrantTo)
        );
    }

    #[test]
    fn a_target_is_refused_unless_the_policy_lists_it_and_the_families_fit() {
        let behind = |target: &str| OpenRequest {
            target: Some(target.parse().unwrap()),
            ..terms("192.0.2.7/32", &["web"])
        };
        assert_eq!(
            policy().check(&behind("10.0.0.5"), &named(), &BTreeMap::new()),
            Err(Rule::Target)
        );
        let mut open = policy();
        open.targets = vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        assert_eq!(
            open.check(&behind("10.0.0.5"), &named(), &BTreeMap::new()),
            Ok(())
        );
        assert_eq!(
            open.check(&behind("10.0.1.5"), &named(), &BTreeMap::new()),
            Err(Rule::Target)
        );
        assert_eq!(
            open.check(&behind("fd00::5"), &named(), &BTreeMap::new()),
            Err(Rule::Family)
        );
    }

    #[test]
    fn a_service_that_forwards_is_given_by_name_alone_without_a_target_and_to_its_own_family() {
        let mut named = named();
        named.insert("inner".to_owned(), vec!["tcp/2222".parse().unwrap()]);
        let forward = catalog::Forward::new(
            "tcp/2222".parse().unwrap(),
            "10.0.0.5".parse().unwrap(),
            Some(22),
            false,
        )
        .ok();
        let options = [(
            "inner".to_owned(),
            ServiceOptions {
                forward,
                ..ServiceOptions::default()
            },
        )]
        .into();
        let check = |services: &[&str], terms: &OpenRequest| {
            let mut policy = Policy::for_user(
                "alice",
                services.iter().map(|one| one.parse().unwrap()).collect(),
            );
            policy.targets = vec!["10.0.0.0/24".parse().unwrap()];
            policy.check(terms, &named, &options)
        };
        let by_name = terms("192.0.2.7/32", &["inner", "web"]);
        assert_eq!(check(&["inner", "web"], &by_name), Ok(()));
        assert_eq!(check(&["tcp/2222", "web"], &by_name), Err(Rule::Service));
        assert_eq!(
            check(&["inner"], &terms("192.0.2.7/32", &["tcp/2222"])),
            Err(Rule::Service)
        );
        assert_eq!(
            check(&["tcp/2222"], &terms("192.0.2.7/32", &["tcp/2222"])),
            Ok(())
        );
        assert_eq!(
            check(
                &["inner", "web"],
                &OpenRequest {
                    target: Some("10.0.0.5".parse().unwrap()),
                    ..by_name
                }
            ),
            Err(Rule::Target)
        );
        assert_eq!(
            check(&["inner"], &terms("2001:db8::7/128", &["inner"])),
            Err(Rule::Family)
        );
    }

    #[test]
    fn a_user_name_starts_with_a_letter_or_digit_and_has_1_to_64_of_its_characters() {
        for name in ["a", "0", "Alice", "a.b_c-d@e", &"a".repeat(64)] {
            assert!(is_user_name(name), "{name}");
        }
        for name in [
            "",
            ".a",
            "_a",
            "-a",
            "@a",
            "a/b",
            "a b",
            "ä",
            "aä",
            "../a",
            &"a".repeat(65),
        ] {
            assert!(!is_user_name(name), "{name}");
        }
    }

    #[test]
    fn a_wish_is_clipped_and_terms_past_the_maximum_are_refused() {
        assert_eq!(policy().clip(0), Duration::from_secs(30));
        assert_eq!(policy().clip(600), Duration::from_secs(600));
        assert_eq!(policy().clip(u32::MAX), Duration::from_secs(3600));
        let long = OpenRequest {
            duration: Duration::from_secs(3601),
            ..terms("192.0.2.7/32", &["web"])
        };
        assert_eq!(
            policy().check(&long, &named(), &BTreeMap::new()),
            Err(Rule::Duration)
        );
    }
}
