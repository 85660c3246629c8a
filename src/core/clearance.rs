//! Clearance: the monitor's own look at every order, with its own copy of the policies (invariant 5).
//!
//! Whatever the engine says, nothing is opened here that the config does not allow that user. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::model::catalog::{Forward, NamedServices, OpenPorts, ServiceOptions};
use crate::model::grant::Grant;
use crate::model::policy::Policy;
use crate::model::reason::Rule;
use crate::model::request::{CloseRequest, OpenRequest};
use crate::model::service::{self, Ports, Wanted};
use crate::model::settings::Settings;

/// What the monitor knows of users.
#[derive(Debug)]
pub struct Clearance {
    policies: HashMap<String, Policy>,
    named: NamedServices,
    options: BTreeMap<String, ServiceOptions>,
    /// Ports of services whose connections end with the grant.
    ending: Vec<Ports>,
}

impl Clearance {
    /// From the monitor's own reading of the config.
    pub fn new(settings: &Settings) -> Self {
        let policies = settings
            .policies
            .iter()
            .map(|policy| (policy.user.clone(), policy.clone()))
            .collect();
        let named = settings.named.clone();
        let ends = |name: &String| {
            settings
                .options
                .get(name)
                .is_some_and(|options| options.end_connections)
        };
        let ending = service::joined(
            named
                .iter()
                .filter(|(name, _)| ends(name))
                .flat_map(|(_, ports)| ports)
                .copied()
                .collect(),
        );
        Self {
            policies,
            named,
            options: settings.options.clone(),
            ending,
        }
    }

    /// What these terms open, where their user may have it.
    ///
    /// # Errors
    /// The rule that says no.
    pub fn open(&self, request: &OpenRequest) -> Result<OpenPorts, Rule> {
        let policy = self.policies.get(&request.user).ok_or(Rule::User)?;
        policy.check(request, &self.named, &self.options)?;
        self.opening(&request.services)
    }

    /// What a user wants closed; closing needs no right beyond being a user.
    ///
    /// # Errors
    /// The rule that says no.
    pub fn close(&self, request: &CloseRequest) -> Result<OpenPorts, Rule> {
        if !self.policies.contains_key(&request.user) {
            return Err(Rule::User);
        }
        self.opening(&request.services)
    }

    /// The part of a grant whose connections end with it: all of it where its user's policy says so, else what it has of such services.
    pub fn ends_connections(&self, grant: &Grant) -> Option<Grant> {
        if self
            .policies
            .get(&grant.user)
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
            self.options
                .values()
                .any(|options| options.end_connections && options.forward == Some(**forward))
        };
        let forwards: Vec<Forward> = grant.forwards.iter().filter(ends).copied().collect();
        (!services.is_empty() || !forwards.is_empty()).then(|| Grant {
            services,
            forwards,
            ..grant.clone()
        })
    }

    /// The longest time for which the user of a grant may have it; none for whoever is no user.
    pub fn longest(&self, grant: &Grant) -> Duration {
        self.policies
            .get(&grant.user)
            .map_or(Duration::ZERO, |policy| policy.max_duration)
    }

    /// Whether a grant that was found open may stay: its user still has the right to it.
    pub fn still_allows(&self, grant: &Grant) -> bool {
        let Some(policy) = self.policies.get(&grant.user) else {
            return false;
        };
        let mut services: Vec<Wanted> = grant.services.iter().copied().map(Wanted::Ports).collect();
        for forward in &grant.forwards {
            // by whatever name leads there today
            let leads_there = |wanted: &&Wanted| {
                crate::model::catalog::forward_of(wanted, &self.options) == Some(forward)
            };
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
        // How the address was named is not written down, and does not matter once it was let in.
        [
            crate::model::request::AddressFrom::Claimed,
            crate::model::request::AddressFrom::Observed,
        ]
        .into_iter()
        .any(|from| {
            policy
                .check(&request(from), &self.named, &self.options)
                .is_ok()
        })
    }

    fn opening(&self, services: &[Wanted]) -> Result<OpenPorts, Rule> {
        OpenPorts::of(services, &self.named, &self.options).ok_or(Rule::UnknownService)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::config::bundle::{Bundle, BundleFile};
    use crate::core::fixture::{request, settings};
    use crate::model::grant::GrantId;
    use crate::model::request::AddressFrom;
    use crate::model::time::Timestamp;

    fn clearance() -> Clearance {
        let mut settings = settings(&[
            ("alice", &["tcp/22", "web"]),
            ("bob", &["udp/500"]),
            ("carol", &["tcp/22"]),
        ]);
        settings.policies[2].max_prefix.v4 = 8;
        settings.named.insert(
            "web".to_owned(),
            vec!["tcp/80".parse().unwrap(), "tcp/443".parse().unwrap()],
        );
        settings.policies[0].targets = vec!["10.0.0.0/24".parse().unwrap()];
        settings.policies[1].grant_to = crate::model::policy::GrantTo::Claimed;
        settings.policies[1].networks = vec!["192.0.2.0/24".parse().unwrap()];
        Clearance::new(&settings)
    }

    #[test]
    fn what_the_policy_allows_is_cleared_with_the_ports_that_the_monitors_own_config_gives_a_name()
    {
        let clearance = clearance();
        let ports: Vec<String> = clearance
            .open(&request("alice", "192.0.2.7/32", &["tcp/22", "web"], 30))
            .unwrap()
            .services
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ports, ["tcp/22", "tcp/80", "tcp/443"]);
        let behind = OpenRequest {
            target: Some("10.0.0.9".parse().unwrap()),
            ..request("alice", "192.0.2.7/32", &["tcp/22"], 3600)
        };
        assert_eq!(clearance.open(&behind).map(|_| ()), Ok(()));
        assert_eq!(
            clearance
                .open(&request("carol", "192.0.2.0/24", &["tcp/22"], 30))
                .map(|_| ()),
            Ok(())
        );
    }

    #[test]
    fn invariant_5_the_engine_can_ask_for_nothing_that_the_policy_of_that_user_does_not_allow() {
        let clearance = clearance();
        let good = request("alice", "192.0.2.7/32", &["tcp/22"], 30);
        let target = |text: &str| OpenRequest {
            target: Some(text.parse().unwrap()),
            ..good.clone()
        };
        for (request, rule) in [
            (request("eve", "192.0.2.7/32", &["tcp/22"], 30), Rule::User),
            (request("", "192.0.2.7/32", &["tcp/22"], 30), Rule::User),
            (
                request("ALICE", "192.0.2.7/32", &["tcp/22"], 30),
                Rule::User,
            ),
            (
                request("alice", "192.0.2.7/32", &["tcp/23"], 30),
                Rule::Service,
            ),
            (
                request("alice", "192.0.2.7/32", &["tcp/22", "tcp/1-65535"], 30),
                Rule::Service,
            ),
            (request("alice", "192.0.2.7/32", &[], 30), Rule::Service),
            (
                request("alice", "192.0.2.7/32", &["udp/22"], 30),
                Rule::Service,
            ),
            (
                request("alice", "192.0.2.7/32", &["udp/500"], 30),
                Rule::Service,
            ),
            (
                request("alice", "192.0.2.7/32", &["mail"], 30),
                Rule::UnknownService,
            ),
            (
                request("alice", "192.0.2.7/32", &["tcp/22"], 3601),
                Rule::Duration,
            ),
            (
                request("alice", "192.0.2.7/32", &["tcp/22"], u64::MAX),
                Rule::Duration,
            ),
            (
                request("alice", "192.0.2.7/32", &["tcp/22"], 0),
                Rule::Duration,
            ),
            (
                request("alice", "192.0.2.0/31", &["tcp/22"], 30),
                Rule::Prefix,
            ),
            (request("alice", "0.0.0.0/0", &["tcp/22"], 30), Rule::Prefix),
            (
                request("carol", "192.0.2.7/24", &["tcp/22"], 30),
                Rule::Prefix,
            ),
            (request("alice", "::/0", &["tcp/22"], 30), Rule::Prefix),
            (
                request("alice", "0.0.0.0/32", &["tcp/22"], 30),
                Rule::Networks,
            ),
            (
                request("bob", "198.51.100.1/32", &["udp/500"], 30),
                Rule::Networks,
            ),
            (
                request("bob", "2001:db8::1/128", &["udp/500"], 30),
                Rule::Networks,
            ),
            (
                OpenRequest {
                    from: AddressFrom::Observed,
                    ..request("bob", "192.0.2.1/32", &["udp/500"], 30)
                },
                Rule::GrantTo,
            ),
            (target("10.0.1.1"), Rule::Target),
            (target("::ffff:10.0.0.1"), Rule::Target),
        ] {
            assert_eq!(
                clearance.open(&request).map(|_| "cleared"),
                Err(rule),
                "{request:?}"
            );
        }
    }

    #[test]
    fn a_grant_may_stay_as_long_as_its_user_may_still_have_it_however_much_time_is_left() {
        let clearance = clearance();
        let grant = |user: &str, allow: &str, services: &[&str]| Grant {
            id: GrantId(1),
            user: user.to_owned(),
            allow: allow.parse().unwrap(),
            target: None,
            services: services.iter().map(|text| text.parse().unwrap()).collect(),
            forwards: Vec::new(),
            until: Timestamp::default().plus(Duration::from_secs(1 << 40)),
        };
        assert!(clearance.still_allows(&grant("alice", "192.0.2.7/32", &["tcp/22", "tcp/80"])));
        assert!(
            clearance.still_allows(&grant("bob", "192.0.2.7/32", &["udp/500"])),
            "how the address was named is not known any more"
        );
        for (user, allow, services) in [
            ("eve", "192.0.2.7/32", &["tcp/22"][..]),
            ("alice", "192.0.2.7/32", &["tcp/22", "tcp/81"]),
            ("alice", "192.0.2.0/24", &["tcp/22"]),
            ("bob", "198.51.100.1/32", &["udp/500"]),
        ] {
            assert!(
                !clearance.still_allows(&grant(user, allow, services)),
                "{user} {allow} {services:?}"
            );
        }
    }

    /// Alice may use the one forward, bob only the port that it stands at.
    fn forwarding(port: u16) -> (Clearance, Forward) {
        let mut settings = settings(&[("alice", &["inner"]), ("bob", &["tcp/2222"])]);
        settings.policies[0].targets = vec!["10.0.0.0/24".parse().unwrap()];
        let forward = Forward::new(
            "tcp/2222".parse().unwrap(),
            "10.0.0.5".parse().unwrap(),
            Some(port),
            true,
        )
        .unwrap();
        settings.named.insert("inner".to_owned(), vec![forward.at]);
        settings.options.insert(
            "inner".to_owned(),
            ServiceOptions {
                forward: Some(forward),
                ..ServiceOptions::default()
            },
        );
        (Clearance::new(&settings), forward)
    }

    #[test]
    fn invariant_5_a_forward_comes_from_the_monitors_own_config_and_only_by_its_name() {
        let (clearance, forward) = forwarding(22);
        let good = request("alice", "192.0.2.7/32", &["inner"], 30);
        assert_eq!(
            clearance.open(&good).unwrap(),
            OpenPorts {
                services: Vec::new(),
                forwards: vec![forward]
            }
        );
        for (request, rule) in [
            (
                request("bob", "192.0.2.7/32", &["inner"], 30),
                Rule::Service,
            ),
            (
                request("alice", "192.0.2.7/32", &["tcp/2222"], 30),
                Rule::Service,
            ),
            (
                request("alice", "2001:db8::7/128", &["inner"], 30),
                Rule::Family,
            ),
            (
                OpenRequest {
                    target: Some("10.0.0.5".parse().unwrap()),
                    ..good
                },
                Rule::Target,
            ),
        ] {
            assert_eq!(
                clearance.open(&request).map(|_| "cleared"),
                Err(rule),
                "{request:?}"
            );
        }
        let plain = clearance
            .open(&request("bob", "192.0.2.7/32", &["tcp/2222"], 30))
            .unwrap();
        assert!(plain.forwards.is_empty());
    }

    #[test]
    fn a_grant_with_a_forward_may_stay_only_while_the_config_leads_there() {
        let (clearance, forward) = forwarding(22);
        let grant = |user: &str, forwards: &[Forward]| Grant {
            id: GrantId(1),
            user: user.to_owned(),
            allow: "192.0.2.7/32".parse().unwrap(),
            target: None,
            services: Vec::new(),
            forwards: forwards.to_vec(),
            until: Timestamp::default().plus(Duration::from_secs(60)),
        };
        assert!(clearance.still_allows(&grant("alice", &[forward])));
        assert!(!clearance.still_allows(&grant("bob", &[forward])));
        assert!(
            !forwarding(23).0.still_allows(&grant("alice", &[forward])),
            "it leads elsewhere now"
        );
        assert!(!clearance.still_allows(&grant(
            "alice",
            &[
                forward,
                Forward {
                    masquerade: false,
                    ..forward
                }
            ]
        )));
        assert!(
            !clearance.still_allows(&grant("alice", &[])),
            "nothing is no grant"
        );
        assert_eq!(
            clearance.ends_connections(&grant("alice", &[forward])),
            None
        );
        let mut ending = clearance;
        ending
            .options
            .entry("inner".to_owned())
            .or_default()
            .end_connections = true;
        assert_eq!(
            ending.ends_connections(&grant("alice", &[forward])),
            Some(grant("alice", &[forward]))
        );
    }

    /// What ends of a grant of these services, with these lines in the user and in the service `web`.
    fn ends(user: &str, web: &str, services: &[&str]) -> Option<String> {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let text = format!(
            "[gate]\nname = \"g\"\n[service.web]\nports = [\"tcp/80\", \"tcp/8000-8010\"]\n{web}\n\
             [[user]]\nname = \"alice\"\nkey = \"{key}\"\nservices = [\"tcp/22\", \"web\"]\n{user}"
        );
        let main = Some(BundleFile {
            path: "posternd.toml".into(),
            text: text.into(),
        });
        let settings = crate::adapters::config::load(&Bundle {
            main,
            ..Bundle::default()
        })
        .unwrap()
        .settings;
        let grant = Grant {
            id: crate::model::grant::GrantId(1),
            user: "alice".to_owned(),
            allow: "192.0.2.7/32".parse().unwrap(),
            target: None,
            services: services.iter().map(|text| text.parse().unwrap()).collect(),
            forwards: Vec::new(),
            until: crate::model::time::Timestamp::default(),
        };
        Clearance::new(&settings)
            .ends_connections(&grant)
            .map(|part| service::list(&part.services))
    }

    #[test]
    fn connections_end_with_a_grant_where_its_user_or_service_asks_for_it() {
        let ask = "end_connections = true";
        assert_eq!(ends("", "", &["tcp/22", "tcp/80"]), None);
        assert_eq!(
            ends(ask, "", &["tcp/22", "tcp/80"]).as_deref(),
            Some("tcp/22, tcp/80")
        );
        assert_eq!(ends("", ask, &["tcp/22"]), None);
        assert_eq!(
            ends("", ask, &["tcp/22", "tcp/80", "tcp/8005-8020"]).as_deref(),
            Some("tcp/80, tcp/8005-8010"),
            "no more than asks for it"
        );
    }
}
