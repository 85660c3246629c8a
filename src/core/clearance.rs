//! Clearance: the monitor checks every order against its own copy of the policies (invariant 5).
//!
//! A hostile engine can open nothing that the config does not allow that user. Pure.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::catalog::{Catalog, Forward, OpenPorts, forward_of};
use crate::model::grant::Grant;
use crate::model::policies::{NameIndex, Policies};
use crate::model::policy::Policy;
use crate::model::reason::Rule;
use crate::model::request::{AddressFrom, CloseRequest, OpenRequest};
use crate::model::service::{self, Ports, Wanted};
use crate::model::settings::Settings;
use crate::model::time::Timestamp;

/// The policies that orders are checked against.
#[derive(Debug)]
pub struct Clearance {
    policies: Policies,
    names: NameIndex,
    catalog: Catalog,
    /// Ports of the services with `end_connections`.
    ending: Vec<Ports>,
}

impl Clearance {
    /// The clearance of this config, which the monitor has read itself.
    pub fn new(settings: &Settings) -> Self {
        let policies = settings.policies.clone();
        let catalog = settings.catalog.clone();
        let ending = catalog.values().filter(|service| service.end_connections);
        let ending = ending.flat_map(|service| service.ports.iter().copied());
        let ending = service::joined(ending.collect());
        Self {
            names: NameIndex::of(&policies),
            policies,
            catalog,
            ending,
        }
    }

    /// The ports of an approved request, or the rule that refuses it.
    pub fn open(&self, request: &OpenRequest, now: Timestamp) -> Result<OpenPorts, Rule> {
        let policy = self.policy(&request.user).ok_or(Rule::User)?;
        if policy.is_expired(now) {
            return Err(Rule::Expired);
        }
        policy.check(request, &self.catalog)?;
        self.ports_of(&request.services)
    }

    /// Whether the user may knock from there.
    pub fn check_source(&self, user: &str, source: IpAddr, now: Timestamp) -> Result<(), Rule> {
        let policy = self.policy(user).ok_or(Rule::User)?;
        policy.check_knock(source, now)
    }

    /// The ports that a user asks to close. Every known user may close.
    pub fn close(&self, request: &CloseRequest) -> Result<OpenPorts, Rule> {
        self.policy(&request.user).ok_or(Rule::User)?;
        self.ports_of(&request.services)
    }

    /// The part of a grant whose connections end with it: all of it if the user's policy says so, else its services
    /// with `end_connections`.
    pub fn ends_connections(&self, grant: &Grant) -> Option<Grant> {
        if self
            .policy(&grant.user)
            .is_some_and(|policy| policy.end_connections)
        {
            return Some(grant.clone());
        }
        let both = |ports: &Ports| {
            self.ending
                .iter()
                .filter_map(|ending| ports.overlap(*ending))
                .collect::<Vec<_>>()
        };
        let services: Vec<Ports> = grant.services.iter().flat_map(both).collect();
        let ends = |forward: &&Forward| {
            let mut all = self.catalog.values();
            all.any(|service| service.end_connections && service.forward == Some(**forward))
        };
        let forwards: Vec<Forward> = grant.forwards.iter().filter(ends).copied().collect();
        (!services.is_empty() || !forwards.is_empty()).then(|| Grant {
            services,
            forwards,
            ..grant.clone()
        })
    }

    /// The latest end of a grant that opens now; now if the user does not exist.
    pub fn latest_end(&self, user: &str, now: Timestamp) -> Timestamp {
        let policy = self.policy(user);
        policy.map_or(now, |policy| policy.end(now.plus(policy.max_duration)))
    }

    /// The end of an open grant, or that of its user if it is earlier.
    pub fn end(&self, grant: &Grant) -> Timestamp {
        let policy = self.policy(&grant.user);
        policy.map_or(grant.until, |policy| policy.end(grant.until))
    }

    /// How many grants a user may have open at once.
    pub fn max_grants(&self, user: &str) -> usize {
        let policy = self.policy(user);
        policy.map_or(0, |policy| policy.max_grants.into())
    }

    /// Whether the policy still allows a grant that was found open.
    pub fn still_allows(&self, grant: &Grant, now: Timestamp) -> bool {
        let Some(policy) = self.policy(&grant.user) else {
            return false;
        };
        if policy.is_expired(now) {
            return false;
        }
        let mut services: Vec<Wanted> = grant.services.iter().copied().map(Wanted::Ports).collect();
        for forward in &grant.forwards {
            // The name may have changed since.
            let leads_there = |wanted: &&Wanted| forward_of(wanted, &self.catalog) == Some(forward);
            let Some(name) = policy.services.iter().find(leads_there) else {
                return false;
            };
            services.push(name.clone());
        }
        let request = |from| OpenRequest {
            user: grant.user.clone(),
            allow: grant.allow,
            from,
            target: grant.target,
            services: services.clone(),
            duration: Duration::from_secs(1),
        };
        // A grant does not record where its address came from.
        [AddressFrom::Same, AddressFrom::Observed]
            .into_iter()
            .any(|from| policy.check(&request(from), &self.catalog).is_ok())
    }

    fn policy(&self, user: &str) -> Option<&Policy> {
        self.policies.get(self.names.find(&self.policies, user)?)
    }

    pub(super) fn ports_of(&self, services: &[Wanted]) -> Result<OpenPorts, Rule> {
        OpenPorts::of(services, &self.catalog).ok_or(Rule::UnknownService)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture::{self, request, settings};
    use crate::model::catalog::NamedService;
    use crate::model::policy::GrantTo;

    const V4: &str = "192.0.2.7/32";
    const NOW: Timestamp = Timestamp::OLDEST;

    fn config() -> Settings {
        let mut settings = settings(&[
            ("alice", &["tcp/22", "web"]),
            ("bob", &["udp/500"]),
            ("carol", &["tcp/22"]),
        ]);
        let web = ["tcp/80", "tcp/443"].map(|port| port.parse().unwrap());
        let web = NamedService {
            ports: web.to_vec(),
            ..NamedService::default()
        };
        settings.catalog.insert("web".to_owned(), web);
        settings.policies[0].targets = vec!["10.0.0.0/24".parse().unwrap()];
        settings.policies[1].grant_to = GrantTo::Claimed;
        settings.policies[1].networks = vec!["192.0.2.0/24".parse().unwrap()];
        settings.policies[2].max_prefix.v4 = 8;
        settings
    }

    fn grant(user: &str, allow: &str, services: &[&str], forwards: &[Forward]) -> Grant {
        Grant {
            forwards: forwards.to_vec(),
            until: Timestamp::default().plus(Duration::from_secs(1 << 40)),
            ..fixture::grant(1, user, allow, services)
        }
    }

    #[test]
    fn allowed_requests_open_the_configs_ports() {
        let clearance = Clearance::new(&config());
        let opened = clearance.open(&request("alice", V4, &["tcp/22", "web"], 30), NOW);
        let expected = "tcp/22, tcp/80, tcp/443";
        assert_eq!(service::list(&opened.unwrap().services), expected);
        let behind = OpenRequest {
            target: Some("10.0.0.9".parse().unwrap()),
            ..request("alice", V4, &["tcp/22"], 3600)
        };
        assert!(clearance.open(&behind, NOW).is_ok());
        let network = request("carol", "192.0.2.0/24", &["tcp/22"], 30);
        assert!(clearance.open(&network, NOW).is_ok());
    }

    #[test]
    fn invariant_5_orders_beyond_the_policy_are_refused() {
        let clearance = Clearance::new(&config());
        let ssh: &[&str] = &["tcp/22"];
        for (user, allow, services, seconds, rule) in [
            ("eve", V4, ssh, 30, Rule::User),
            ("", V4, ssh, 30, Rule::User),
            ("ALICE", V4, ssh, 30, Rule::User),
            ("alice", V4, &["tcp/23"], 30, Rule::Service),
            ("alice", V4, &["tcp/22", "tcp/1-65535"], 30, Rule::Service),
            ("alice", V4, &[], 30, Rule::Service),
            ("alice", V4, &["udp/22"], 30, Rule::Service),
            ("alice", V4, &["udp/500"], 30, Rule::Service),
            ("alice", V4, &["mail"], 30, Rule::UnknownService),
            ("alice", V4, ssh, 3601, Rule::Duration),
            ("alice", V4, ssh, u64::MAX, Rule::Duration),
            ("alice", V4, ssh, 0, Rule::Duration),
            ("alice", "192.0.2.0/31", ssh, 30, Rule::Prefix),
            ("alice", "0.0.0.0/0", ssh, 30, Rule::Prefix),
            // Host bits do not hide a wide network.
            ("carol", "192.0.2.7/24", ssh, 30, Rule::Prefix),
            ("alice", "::/0", ssh, 30, Rule::Prefix),
            ("alice", "0.0.0.0/32", ssh, 30, Rule::Networks),
            ("bob", "198.51.100.1/32", &["udp/500"], 30, Rule::Networks),
            ("bob", "2001:db8::1/128", &["udp/500"], 30, Rule::Networks),
        ] {
            let request = request(user, allow, services, seconds);
            assert_eq!(clearance.open(&request, NOW), Err(rule), "{request:?}");
        }
        let observed = OpenRequest {
            from: AddressFrom::Observed,
            ..request("bob", "192.0.2.1/32", &["udp/500"], 30)
        };
        assert_eq!(clearance.open(&observed, NOW), Err(Rule::GrantTo));
        for target in ["10.0.1.1", "::ffff:10.0.0.1"] {
            let behind = OpenRequest {
                target: Some(target.parse().unwrap()),
                ..request("alice", V4, ssh, 30)
            };
            assert_eq!(clearance.open(&behind, NOW), Err(Rule::Target), "{target}");
        }
        let close = |user: &str| CloseRequest {
            user: user.to_owned(),
            allow: "0.0.0.0/0".parse().unwrap(),
            target: None,
            services: Vec::new(),
        };
        assert_eq!(clearance.close(&close("root")), Err(Rule::User));
        assert!(clearance.close(&close("alice")).is_ok());
    }

    #[test]
    fn a_grant_stays_while_its_policy_allows_it() {
        let clearance = Clearance::new(&config());
        for (user, allow, services, stays) in [
            ("alice", V4, &["tcp/22", "tcp/80"][..], true),
            // Where the address came from is not recorded.
            ("bob", V4, &["udp/500"], true),
            ("eve", V4, &["tcp/22"], false),
            ("alice", V4, &["tcp/22", "tcp/81"], false),
            ("alice", "192.0.2.0/24", &["tcp/22"], false),
            ("bob", "198.51.100.1/32", &["udp/500"], false),
        ] {
            let grant = grant(user, allow, services, &[]);
            assert_eq!(clearance.still_allows(&grant, NOW), stays, "{grant:?}");
        }
        let hour = NOW.plus(Duration::from_secs(3600));
        assert_eq!(clearance.latest_end("alice", NOW), hour);
        assert_eq!(clearance.latest_end("eve", NOW), NOW);
    }

    #[test]
    fn invariant_5_nothing_opens_past_a_users_end() {
        let mut settings = config();
        let end = NOW.plus(Duration::from_secs(10));
        settings.policies[0].expires = Some(end);
        let clearance = Clearance::new(&settings);
        let request = request("alice", V4, &["tcp/22"], 30);
        assert!(clearance.open(&request, NOW).is_ok());
        assert_eq!(clearance.open(&request, end), Err(Rule::Expired));
        assert_eq!(clearance.latest_end("alice", NOW), end);
        let grant = grant("alice", V4, &["tcp/22"], &[]);
        assert_eq!(clearance.end(&grant), end);
        assert!(clearance.still_allows(&grant, NOW));
        assert!(!clearance.still_allows(&grant, end));
    }

    /// Alice may use the one forward. Bob may use only the port that it has at the gate.
    fn forwarding(port: u16, end_connections: bool) -> (Clearance, Forward) {
        let mut settings = settings(&[("alice", &["inner"]), ("bob", &["tcp/2222"])]);
        settings.policies[0].targets = vec!["10.0.0.0/24".parse().unwrap()];
        let (at, host) = ("tcp/2222".parse().unwrap(), "10.0.0.5".parse().unwrap());
        let forward = Forward::new(at, host, Some(port), true).unwrap();
        let inner = NamedService {
            ports: vec![forward.at],
            forward: Some(forward),
            end_connections,
            ..NamedService::default()
        };
        settings.catalog.insert("inner".to_owned(), inner);
        (Clearance::new(&settings), forward)
    }

    #[test]
    fn invariant_5_a_forward_opens_only_by_its_name() {
        let (clearance, forward) = forwarding(22, false);
        let inner = request("alice", V4, &["inner"], 30);
        assert_eq!(clearance.open(&inner, NOW).unwrap().forwards, [forward]);
        let behind = OpenRequest {
            target: Some("10.0.0.5".parse().unwrap()),
            ..inner
        };
        for (request, rule) in [
            (request("bob", V4, &["inner"], 30), Rule::Service),
            (request("alice", V4, &["tcp/2222"], 30), Rule::Service),
            (
                request("alice", "2001:db8::7/128", &["inner"], 30),
                Rule::Family,
            ),
            (behind, Rule::Target),
        ] {
            assert_eq!(clearance.open(&request, NOW), Err(rule), "{request:?}");
        }
        let plain = clearance.open(&request("bob", V4, &["tcp/2222"], 30), NOW);
        assert!(plain.unwrap().forwards.is_empty());
    }

    #[test]
    fn a_forward_stays_while_the_config_has_it() {
        let (clearance, forward) = forwarding(22, false);
        let changed = Forward {
            masquerade: false,
            ..forward
        };
        let grant = |user: &str, forwards: &[Forward]| grant(user, V4, &[], forwards);
        assert!(clearance.still_allows(&grant("alice", &[forward]), NOW));
        assert!(!clearance.still_allows(&grant("bob", &[forward]), NOW));
        assert!(!clearance.still_allows(&grant("alice", &[forward, changed]), NOW));
        assert!(!clearance.still_allows(&grant("alice", &[]), NOW));
        let elsewhere = forwarding(23, false).0;
        assert!(!elsewhere.still_allows(&grant("alice", &[forward]), NOW));
    }

    #[test]
    fn connections_end_if_user_or_service_asks() {
        let mut settings = config();
        let ends = |settings: &Settings, services: &[&str]| {
            let grant = grant("alice", V4, services, &[]);
            let part = Clearance::new(settings).ends_connections(&grant);
            part.map(|part| service::list(&part.services))
        };
        assert_eq!(ends(&settings, &["tcp/22", "tcp/80"]), None);
        let web = settings.catalog.entry("web".to_owned()).or_default();
        web.end_connections = true;
        assert_eq!(ends(&settings, &["tcp/22"]), None);
        let ended = ends(&settings, &["tcp/22", "tcp/80", "tcp/440-450"]);
        assert_eq!(ended.as_deref(), Some("tcp/80, tcp/443"));
        settings.policies[0].end_connections = true;
        let expected = Some("tcp/22, tcp/80");
        assert_eq!(ends(&settings, &["tcp/22", "tcp/80"]).as_deref(), expected);
        for ending in [false, true] {
            let (clearance, forward) = forwarding(22, ending);
            let grant = grant("alice", V4, &[], &[forward]);
            let part = clearance.ends_connections(&grant);
            assert_eq!(part, ending.then_some(grant));
        }
    }
}
