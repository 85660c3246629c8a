//! What a user may open, and [`Rules::check`], which decides it.
//!
//! The gate checks a knock (`proto/README.md`, section 6, step 9); the monitor checks the order again with its
//! own copy of the policy (invariant 5).

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::address::{self, Family};
use crate::model::catalog::{self, Catalog};
pub use crate::model::grant_to::GrantTo;
use crate::model::kept_name::UserName;
pub use crate::model::quota::Quota;
use crate::model::reason::Rule;
use crate::model::request::{AddressFrom, OpenRequest};
use crate::model::service::{self, Ports, Wanted};
use crate::model::time::{self, Timestamp};

/// What a policy may say, in a user's table of a config and in a roster.
pub const KEYS: [&str; 12] = [
    "services",
    "targets",
    "from",
    "grant_to",
    "networks",
    "max_prefix",
    "duration",
    "max_duration",
    "quota",
    "max_grants",
    "end_connections",
    "expires",
];

/// The widest network of one grant: the shortest prefix length of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxPrefix {
    /// 0 to 32.
    pub v4: u8,
    /// 0 to 128.
    pub v6: u8,
}

/// What one user may open. Most users of a gate have the same rules, which they share: so a user costs 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    pub user: UserName,
    rules: Arc<Rules>,
}

/// A policy without its user. A change of shared rules makes a copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Services, as the config names them.
    pub services: Vec<Wanted>,
    /// Hosts behind the gate; empty: only the gate itself.
    pub targets: Vec<IpNet>,
    /// Networks that a knock's packet must come from; empty: all.
    pub from: Vec<IpNet>,
    pub grant_to: GrantTo,
    /// Networks that allow addresses must be in.
    pub networks: Vec<IpNet>,
    /// The widest network of one grant.
    pub max_prefix: MaxPrefix,
    /// The duration of a grant if the knock asks for none.
    pub duration: Duration,
    /// The longest grant; a longer request is shortened to it.
    pub max_duration: Duration,
    pub quota: Quota,
    /// The most grants that the user may have open at once.
    pub max_grants: u16,
    pub end_connections: bool,
    /// From when on the user may do nothing; a whole second.
    pub expires: Option<Timestamp>,
    /// Whether the knocks open this gate alone, without a claim.
    pub break_glass: bool,
}

impl Deref for Policy {
    type Target = Rules;

    fn deref(&self) -> &Rules {
        &self.rules
    }
}

impl DerefMut for Policy {
    fn deref_mut(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }
}

impl Policy {
    /// The default policy of a user with this name and these services.
    pub fn for_user(user: &str, services: Vec<Wanted>) -> Self {
        Self {
            user: UserName::from(user),
            rules: Arc::new(Rules::of_services(services)),
        }
    }

    /// The same policy with other rules.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn shares_rules(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules)
    }

    /// Takes the rules of another policy if they are equal. Returns whether they are.
    pub(crate) fn share_rules(&mut self, other: &Self) -> bool {
        let are_equal = self.rules == other.rules;
        if are_equal {
            self.rules = Arc::clone(&other.rules);
        }
        are_equal
    }
}

impl Rules {
    fn of_services(services: Vec<Wanted>) -> Self {
        Self {
            services,
            targets: Vec::new(),
            from: Vec::new(),
            grant_to: GrantTo::Either,
            networks: vec![
                IpNet::V4(ipnet::Ipv4Net::default()),
                IpNet::V6(ipnet::Ipv6Net::default()),
            ],
            max_prefix: MaxPrefix { v4: 32, v6: 128 },
            duration: Duration::from_secs(30),
            max_duration: Duration::from_secs(3600),
            quota: Quota::default(),
            max_grants: 64,
            end_connections: false,
            expires: None,
            break_glass: false,
        }
    }

    /// Whether the user may knock from this source at this time, whatever the knock asks for.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn check_knock(&self, source: IpAddr, now: Timestamp) -> Result<(), Rule> {
        if self.is_expired(now) {
            return Err(Rule::Expired);
        }
        let source = source.to_canonical();
        let mut from = self.from.iter();
        if self.from.is_empty() || from.any(|network| network.contains(&source)) {
            Ok(())
        } else {
            Err(Rule::From)
        }
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// This end of a grant, or the end of the user if that is earlier.
    pub(crate) fn end(&self, until: Timestamp) -> Timestamp {
        self.expires.map_or(until, |expires| until.min(expires))
    }

    /// Whether the policy allows a request. Nothing is granted in part.
    ///
    /// # Errors
    /// The first rule that refuses it.
    pub fn check(&self, request: &OpenRequest, catalog: &Catalog) -> Result<(), Rule> {
        self.check_address(request)?;
        self.check_target(request)?;
        self.check_services(request, catalog)?;
        // Time counts in milliseconds: a shorter grant would end at once.
        if request.duration > self.max_duration || time::millis(request.duration) == 0 {
            return Err(Rule::Duration);
        }
        Ok(())
    }

    /// The duration of a grant: what the knock asks for, or the default for 0, at most the maximum, and not past the
    /// end of the user.
    pub(crate) fn clip(&self, seconds: u32, now: Timestamp) -> Duration {
        let asked = match seconds {
            0 => self.duration,
            _ => Duration::from_secs(u64::from(seconds)),
        };
        let longest = asked.min(self.max_duration);
        self.end(now.plus(longest)).since(now)
    }

    fn check_address(&self, request: &OpenRequest) -> Result<(), Rule> {
        match (self.grant_to, request.from) {
            (GrantTo::Either, _)
            | (GrantTo::Claimed, AddressFrom::Claimed | AddressFrom::Same)
            | (GrantTo::Observed, AddressFrom::Observed)
            | (GrantTo::Same, AddressFrom::Same) => {}
            _ => return Err(Rule::GrantTo),
        }
        let widest = match request.allow {
            IpNet::V4(_) => self.max_prefix.v4,
            IpNet::V6(_) => self.max_prefix.v6,
        };
        // Host bits mean nothing, and no firewall keeps them.
        if request.allow.prefix_len() < widest || request.allow != request.allow.trunc() {
            return Err(Rule::Prefix);
        }
        let lone = request.allow.prefix_len() == request.allow.max_prefix_len();
        if lone && address::is_no_host(request.allow.addr()) {
            return Err(Rule::Networks);
        }
        if self
            .networks
            .iter()
            .any(|network| network.contains(&request.allow))
        {
            Ok(())
        } else {
            Err(Rule::Networks)
        }
    }

    fn check_target(&self, request: &OpenRequest) -> Result<(), Rule> {
        let Some(target) = request.target else {
            return Ok(());
        };
        if !self.targets.iter().any(|network| network.contains(&target)) {
            return Err(Rule::Target);
        }
        if Family::of(target) == Family::of_network(request.allow) {
            Ok(())
        } else {
            Err(Rule::Family)
        }
    }

    /// A forwarding service is allowed by its name only: its port at the gate means nothing without the forward.
    fn check_services(&self, request: &OpenRequest, catalog: &Catalog) -> Result<(), Rule> {
        if request.services.is_empty() {
            return Err(Rule::Service);
        }
        // Most knocks: nothing to look up, and no list to make.
        let is_listed =
            |one: &Wanted| matches!(one, Wanted::Ports(_)) && self.services.contains(one);
        if request.services.iter().all(is_listed) {
            return Ok(());
        }
        let plain = |list: &[Wanted]| {
            let mut plain = list.to_vec();
            plain.retain(|one| catalog::forward_of(one, catalog).is_none());
            ports_of(&plain, catalog).ok_or(Rule::UnknownService)
        };
        let allowed = service::joined(plain(&self.services)?);
        if !plain(&request.services)?
            .iter()
            .all(|ports| service::covered(&allowed, *ports))
        {
            return Err(Rule::Service);
        }
        for wanted in &request.services {
            let Some(forward) = catalog::forward_of(wanted, catalog) else {
                continue;
            };
            match request.target {
                _ if !self.services.contains(wanted) => return Err(Rule::Service),
                Some(_) => return Err(Rule::Target),
                None if !forward.takes(Family::of_network(request.allow)) => {
                    return Err(Rule::Family);
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// The ports of the gate that packets for these services enter by, also after a redirect; `None` if the gate has no service of
/// a name.
pub(crate) fn ports_of(wanted: &[Wanted], catalog: &Catalog) -> Option<Vec<Ports>> {
    let mut all = Vec::with_capacity(wanted.len());
    for one in wanted {
        match one {
            Wanted::Ports(ports) => all.push(*ports),
            Wanted::Named(name) => {
                let service = catalog.get(name)?;
                all.extend_from_slice(&service.ports);
                let redirect = service.forward.filter(|forward| forward.host.is_none());
                all.extend(redirect.map(|redirect| redirect.inner()));
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalog::NamedService;

    fn request(allow: &str, services: &[&str]) -> OpenRequest {
        OpenRequest {
            user: "alice".to_owned(),
            allow: allow.parse().unwrap(),
            from: AddressFrom::Claimed,
            target: None,
            services: wanted(services),
            duration: Duration::from_secs(30),
        }
    }

    fn wanted(services: &[&str]) -> Vec<Wanted> {
        services.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn policy() -> Policy {
        Policy::for_user("alice", wanted(&["tcp/22", "web"]))
    }

    /// Checks at a gate with the services web and dns.
    fn check(policy: &Policy, request: &OpenRequest) -> Result<(), Rule> {
        let catalog = [("web", &["tcp/80", "tcp/443"][..]), ("dns", &["udp/53"])];
        let service = |ports: &[&str]| NamedService {
            ports: ports.iter().map(|text| text.parse().unwrap()).collect(),
            ..NamedService::default()
        };
        let catalog = catalog.map(|(name, ports)| (name.to_owned(), service(ports)));
        policy.check(request, &catalog.into())
    }

    #[test]
    fn every_requested_service_must_be_allowed() {
        for (services, expected) in [
            (&["tcp/22"][..], Ok(())),
            (&["web"], Ok(())),
            (&["tcp/80", "tcp/22"], Ok(())),
            (&["tcp/22", "tcp/23"], Err(Rule::Service)),
            (&["dns"], Err(Rule::Service)),
            (&["mail"], Err(Rule::UnknownService)),
            (&[], Err(Rule::Service)),
        ] {
            let request = request("192.0.2.7/32", services);
            assert_eq!(check(&policy(), &request), expected, "{services:?}");
        }
    }

    #[test]
    fn allow_address_obeys_networks_and_max_prefix() {
        let mut narrow = policy();
        narrow.networks = vec!["192.0.2.0/24".parse().unwrap()];
        narrow.max_prefix.v4 = 28;
        for (policy, allow, expected) in [
            (&narrow, "192.0.2.16/28", Ok(())),
            (&narrow, "192.0.2.0/27", Err(Rule::Prefix)),
            (&narrow, "192.0.2.17/28", Err(Rule::Prefix)),
            (&narrow, "198.51.100.1/32", Err(Rule::Networks)),
            (&narrow, "2001:db8::1/128", Err(Rule::Networks)),
            (&policy(), "224.0.0.1/32", Err(Rule::Networks)),
            (&policy(), "192.0.2.0/31", Err(Rule::Prefix)),
        ] {
            let found = check(policy, &request(allow, &["web"]));
            assert_eq!(found, expected, "{allow}");
        }
    }

    #[test]
    fn grant_to_limits_the_kind_of_address() {
        use AddressFrom::{Claimed, Observed, Same};
        for (grant_to, from, expected) in [
            (GrantTo::Observed, Claimed, Err(Rule::GrantTo)),
            (GrantTo::Observed, Observed, Ok(())),
            (GrantTo::Claimed, Claimed, Ok(())),
            (GrantTo::Claimed, Observed, Err(Rule::GrantTo)),
            (GrantTo::Either, Observed, Ok(())),
            (GrantTo::Same, Claimed, Err(Rule::GrantTo)),
            (GrantTo::Same, Observed, Err(Rule::GrantTo)),
            (GrantTo::Same, Same, Ok(())),
            (GrantTo::Claimed, Same, Ok(())),
            (GrantTo::Observed, Same, Err(Rule::GrantTo)),
        ] {
            let mut policy = policy();
            policy.grant_to = grant_to;
            let request = OpenRequest {
                from,
                ..request("192.0.2.7/32", &["web"])
            };
            assert_eq!(check(&policy, &request), expected, "{grant_to:?} {from:?}");
        }
    }

    #[test]
    fn gate_shortens_and_monitor_refuses_long_durations() {
        for (asked, granted) in [(0, 30), (600, 600), (u32::MAX, 3600)] {
            let clipped = policy().clip(asked, Timestamp::OLDEST);
            assert_eq!(clipped.as_secs(), granted);
        }
        for duration in [Duration::from_secs(3601), Duration::from_micros(1)] {
            let request = OpenRequest {
                duration,
                ..request("192.0.2.7/32", &["web"])
            };
            assert_eq!(check(&policy(), &request), Err(Rule::Duration));
        }
    }

    #[test]
    fn source_must_be_in_from() {
        let mut policy = policy();
        let check = |policy: &Policy, source: &str| {
            policy.check_knock(source.parse().unwrap(), Timestamp::OLDEST)
        };
        assert_eq!(check(&policy, "198.51.100.1"), Ok(()));
        policy.from = ["203.0.113.0/24", "2001:db8::/64"]
            .map(|net| net.parse().unwrap())
            .into();
        for (source, expected) in [
            ("203.0.113.9", Ok(())),
            ("::ffff:203.0.113.9", Ok(())),
            ("2001:db8::9", Ok(())),
            ("203.0.114.9", Err(Rule::From)),
            ("2001:db8:0:1::9", Err(Rule::From)),
        ] {
            assert_eq!(check(&policy, source), expected, "{source}");
        }
    }

    #[test]
    fn nothing_reaches_past_the_users_end() {
        let mut policy = policy();
        let end = Timestamp::OLDEST.plus(Duration::from_secs(100));
        policy.expires = Some(end);
        let at = |seconds| end.minus(Duration::from_secs(seconds));
        assert_eq!(policy.clip(600, at(10)).as_secs(), 10);
        assert_eq!(policy.clip(600, at(700)).as_secs(), 600);
        let source = "192.0.2.1".parse().unwrap();
        let just_before = end.minus(Duration::from_millis(1));
        assert_eq!(policy.check_knock(source, just_before), Ok(()));
        assert_eq!(policy.check_knock(source, end), Err(Rule::Expired));
    }
}
