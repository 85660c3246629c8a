//! What an access.conf admits before and after: the second is never more than the first.
//!
//! Both sides are read, here and in `after`, by code of their own, which knows nothing of the import or of the gate. fwknopd asks the
//! stanzas in their order, and the first that authenticates a packet and allows it decides.

use std::net::Ipv4Addr;

use super::after::after;
use super::*;
use crate::model::foreign::Verdict;
use base64::prelude::{BASE64_STANDARD as STANDARD, Engine};
use ipnet::Ipv4Net;

/// 2026-01-01, when the requests are made.
pub(super) const NOW: (i64, [i64; 3]) = (1_767_225_600, [2026, 1, 1]);

/// Key of the packet, key of the HMAC, its digest, mode; the keys in base64.
pub(super) type Keys = [String; 4];

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) keys: Keys,
    pub(super) source: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    pub(super) user: &'static str,
    /// Whether it names the address to let in.
    pub(super) claims: bool,
    pub(super) ports: Vec<(&'static str, u16)>,
    pub(super) nat: Option<(Ipv4Addr, u16)>,
    /// Seconds; 0 for none.
    pub(super) asked: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Opened {
    Port(&'static str, u16),
    Forward(&'static str, u16, (Ipv4Addr, u16)),
    /// A program, by its path.
    Program(String),
}

/// What a request opens, and for how many seconds.
pub(super) type Outcome = (Vec<Opened>, u64);

/// One stanza, as its lines say it.
#[derive(Clone)]
struct Before(Vec<(String, String)>);

/// The stanzas of a text without includes.
fn stanzas(text: &str) -> Vec<Before> {
    let mut all = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.trim().splitn(2, [' ', '\t']);
        let (Some(name), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        let name = name.trim_end_matches(':').to_owned();
        let value = value.split(';').next().unwrap().trim().to_owned();
        if name == "SOURCE" {
            all.push(Before(Vec::new()));
        }
        if let Some(Before(last)) = all.last_mut() {
            last.push((name, value));
        }
    }
    all
}

fn net(text: &str) -> Option<Ipv4Net> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("any") {
        return Some(Ipv4Net::default());
    }
    let with = |mask: &str| Some(format!("{}/{mask}", text.split('/').next()?));
    match text.split_once('/') {
        None => with("32")?.parse().ok(),
        Some((_, mask)) => match mask.parse::<Ipv4Addr>() {
            Ok(mask) => with(&mask.to_bits().count_ones().to_string())?.parse().ok(),
            Err(_) => text.parse().ok(),
        },
    }
}

impl Before {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn yes(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.starts_with(['y', 'Y']))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    fn keys(&self) -> Option<Keys> {
        let encode = |text: &str| STANDARD.encode(text);
        let key = |plain: &str, coded: &str| {
            let coded = self.get(coded).map(str::to_owned);
            coded.or_else(|| self.get(plain).map(encode))
        };
        let hmac = key("HMAC_KEY", "HMAC_KEY_BASE64").unwrap_or_default();
        let digest = match self.get("HMAC_DIGEST_TYPE") {
            _ if hmac.is_empty() => String::new(),
            digest => digest.unwrap_or("SHA256").to_ascii_lowercase(),
        };
        let mode = self.get("ENCRYPTION_MODE").unwrap_or("CBC");
        Some([
            key("KEY", "KEY_BASE64")?,
            hmac,
            digest,
            mode.to_ascii_lowercase(),
        ])
    }

    /// `None` if something cannot be read: then fwknopd does not start.
    fn inside(&self, name: &str, address: Ipv4Addr) -> Option<bool> {
        let Some(value) = self.get(name) else {
            return Some(true);
        };
        let nets: Option<Vec<Ipv4Net>> = value.split(',').map(net).collect();
        Some(nets?.iter().any(|net| net.contains(&address)))
    }

    fn expired(&self) -> bool {
        if let Some(epoch) = self.get("ACCESS_EXPIRE_EPOCH") {
            return epoch.parse::<i64>().is_ok_and(|epoch| epoch <= NOW.0);
        }
        let Some(day) = self.get("ACCESS_EXPIRE") else {
            return false;
        };
        let parts: Vec<i64> = day
            .split('/')
            .filter_map(|part| part.parse().ok())
            .collect();
        let [month, day, year] = parts.as_slice() else {
            return true;
        };
        let year = if *year < 100 { year + 2000 } else { *year };
        [year, *month, *day] <= NOW.1
    }

    fn opens(&self, request: &Request) -> Option<Outcome> {
        let is_for =
            self.inside("SOURCE", request.source)? && self.inside("DESTINATION", request.to)?;
        let must_claim = self.yes("REQUIRE_SOURCE_ADDRESS") || self.yes("REQUIRE_SOURCE");
        let states = self
            .get("REQUIRE_USERNAME")
            .is_none_or(|name| name == request.user);
        if self.keys()? != request.keys
            || !is_for
            || self.expired()
            || !states
            || must_claim && !request.claims
        {
            return None;
        }
        let asked = |usual: u64, most: u64| match request.asked {
            0 => usual,
            asked => asked.min(most),
        };
        if let Some(command) = self.get("CMD_CYCLE_OPEN") {
            let program = command.split(' ').next().unwrap().to_owned();
            let timer = self.number("CMD_CYCLE_TIMER").unwrap_or(30);
            return Some((vec![Opened::Program(program)], asked(timer, u64::MAX)));
        }
        let listed = |name: &str| -> Option<Vec<String>> {
            let ports = self
                .get(name)?
                .split(',')
                .map(|port| port.trim().to_ascii_lowercase());
            Some(ports.collect())
        };
        let is_port = |port: &String| {
            port.split_once('/')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        };
        for name in ["OPEN_PORTS", "RESTRICT_PORTS"] {
            if !listed(name).is_none_or(|ports| ports.iter().all(is_port)) {
                return None;
            }
        }
        let may = |(protocol, port): &(&str, u16)| {
            let port = format!("{protocol}/{port}");
            listed("OPEN_PORTS").is_none_or(|ports| ports.contains(&port))
                && !listed("RESTRICT_PORTS").is_some_and(|ports| ports.contains(&port))
        };
        if !request.ports.iter().all(may) {
            return None;
        }
        let forced = self.get("FORCE_NAT").map(|nat| {
            let mut words = nat.split([' ', '\t']).filter(|word| !word.is_empty());
            (
                words.next().unwrap().parse().unwrap(),
                words.next().unwrap().parse().unwrap(),
            )
        });
        // Without ENABLE_IPT_FORWARDING, which FORCE_NAT needs, no packet forwards anything.
        if forced.is_none() && request.nat.is_some() {
            return None;
        }
        let opened = request.ports.iter().map(|(protocol, port)| match forced {
            // fwknopd forwards only the first port of a packet; another packet forwards the next one.
            Some(to) => Opened::Forward(protocol, *port, to),
            None => Opened::Port(protocol, *port),
        });
        let usual = self.number("FW_ACCESS_TIMEOUT").filter(|usual| *usual > 0);
        let most = self.number("MAX_FW_TIMEOUT").unwrap_or(300);
        Some((opened.collect(), asked(usual.unwrap_or(30), most)))
    }
}

/// What fwknopd opens.
pub(super) fn before(text: &str) -> impl Fn(&Request) -> Outcome {
    let all = stanzas(text);
    move |request| {
        all.iter()
            .find_map(|one| one.opens(request))
            .unwrap_or_default()
    }
}

/// All keys that a text has.
pub(super) fn keys(text: &str) -> Vec<Keys> {
    let mut all: Vec<Keys> = stanzas(text).iter().filter_map(Before::keys).collect();
    all.dedup();
    all
}

/// Whether the second opens more than the first.
pub(super) fn is_wider(before: &Outcome, after: &Outcome) -> bool {
    !after.0.iter().all(|one| before.0.contains(one)) || !after.0.is_empty() && after.1 > before.1
}

/// Requests by chance, always the same ones.
pub(super) fn requests(keys: &[Keys], count: usize, mut state: u64) -> Vec<Request> {
    let mut pick = |most: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % most
    };
    const PORTS: [u16; 10] = [1, 9, 22, 53, 80, 443, 6001, 12345, 2222, 65535];
    let address = |n: usize| -> Ipv4Addr {
        let all = [
            "10.0.0.1",
            "10.1.2.3",
            "192.0.2.1",
            "192.0.2.200",
            "127.0.0.1",
            "123.123.123.7",
            "9.9.9.9",
            "10.10.10.10",
        ];
        all[n % all.len()].parse().unwrap()
    };
    let one = |_| Request {
        keys: keys[pick(keys.len())].clone(),
        source: address(pick(8)),
        to: address(pick(8)),
        user: ["a", "root"][pick(2)],
        claims: pick(2) == 0,
        ports: (0..=pick(2))
            .map(|_| (["tcp", "tcp", "udp"][pick(3)], PORTS[pick(10)]))
            .collect(),
        nat: [None, None, Some((address(pick(8)), 22))][pick(3)],
        asked: [0, 0, 1, 60, 300, 301, 65536][pick(7)],
    };
    (0..count).map(one).collect()
}

/// Compares both sides for many requests, and returns how many open the same.
pub(super) fn compare(text: &str, made: &Converted, count: usize, seed: u64) -> usize {
    let keys = keys(text);
    if keys.is_empty() {
        assert!(made.users.is_empty(), "{text}");
        return 0;
    }
    let (before, after) = (before(text), after(made));
    let mut same = 0;
    for request in requests(&keys, count, seed) {
        let (before, after) = (before(&request), after(&request));
        let said = || said(made).join("\n");
        assert!(
            !is_wider(&before, &after),
            "{request:?}\n{before:?}\n{after:?}\n{text}\n{}",
            said()
        );
        same += usize::from(before == after);
    }
    same
}

/// Whether a line says that less is possible. Without one, the same must be.
pub(super) fn is_narrowed(made: &Converted) -> bool {
    made.findings
        .0
        .iter()
        .any(|one| one.verdict >= Verdict::Narrow)
}
