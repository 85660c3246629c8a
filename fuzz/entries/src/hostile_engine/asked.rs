//! What a hostile engine asks: orders of typed values, sound or not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use arbitrary::Arbitrary;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use postern::core::order::{Order, Selection};
use postern::model::grant::GrantId;
use postern::model::request::{AddressFrom, CloseRequest, OpenRequest};
use postern::model::service::Wanted;

/// An order, and how the engine then changes its bytes.
#[derive(Debug, Arbitrary)]
pub(super) struct Said {
    pub(super) order: Asked,
    pub(super) changes: Vec<(u16, u8)>,
}

#[derive(Debug, Arbitrary)]
pub(super) enum Asked {
    Open {
        whose: Name,
        allow: Net,
        observed: bool,
        target: Option<Host>,
        services: Vec<Service>,
        millis: u32,
    },
    Close {
        whose: Name,
        allow: Net,
        target: Option<Host>,
        services: Vec<Service>,
    },
    EndAll,
    EndUser(Name),
    EndAddress(Host),
    EndId(u8),
    Confirm,
    List,
    Ready,
}

#[derive(Debug, Arbitrary)]
pub(super) enum Name {
    Alice,
    Bob,
    Nobody,
    Empty,
}

#[derive(Debug, Arbitrary)]
pub(super) struct Net {
    host: Host,
    prefix: u8,
}

#[derive(Debug, Arbitrary)]
pub(super) enum Host {
    Here(u8),
    Behind(u8),
    HereV6(u8),
    BehindV6(u8),
    V4(u32),
    V6(u128),
}

#[derive(Debug, Arbitrary)]
pub(super) enum Service {
    Ssh,
    Mail,
    Both,
    Icmp,
    Web,
    Unknown,
    Tcp(u16),
    Range { first: u16, more: u16 },
}

impl Asked {
    pub(super) fn order(&self, ticket: u64) -> Order {
        let end = |which| Order::End { ticket, which };
        match self {
            Self::Open {
                whose,
                allow,
                observed,
                target,
                services,
                millis,
            } => Order::Open {
                ticket,
                request: OpenRequest {
                    user: whose.text(),
                    allow: allow.network(),
                    from: if *observed {
                        AddressFrom::Observed
                    } else {
                        AddressFrom::Claimed
                    },
                    target: target.as_ref().map(Host::address),
                    services: wanted(services),
                    duration: Duration::from_millis((*millis).into()),
                },
            },
            Self::Close {
                whose,
                allow,
                target,
                services,
            } => {
                let (target, services) = (target.as_ref().map(Host::address), wanted(services));
                Order::Close {
                    ticket,
                    request: CloseRequest {
                        user: whose.text(),
                        allow: allow.network(),
                        target,
                        services,
                    },
                }
            }
            Self::EndAll => end(Selection::All),
            Self::EndUser(name) => end(Selection::User(name.text())),
            Self::EndAddress(host) => end(Selection::Address(host.address())),
            Self::EndId(id) => end(Selection::Id(GrantId((*id).into()))),
            Self::Confirm => Order::Confirm { ticket },
            Self::List => Order::List { ticket },
            Self::Ready => Order::Ready,
        }
    }
}

fn wanted(services: &[Service]) -> Vec<Wanted> {
    services.iter().take(4).map(Service::wanted).collect()
}

impl Service {
    fn wanted(&self) -> Wanted {
        let text = match self {
            Self::Ssh => "tcp/22".to_owned(),
            Self::Mail => "tcp/25".to_owned(),
            Self::Both => "tcp/22-25".to_owned(),
            Self::Icmp => "icmp".to_owned(),
            Self::Web => "web".to_owned(),
            Self::Unknown => "mail".to_owned(),
            Self::Tcp(port) => format!("tcp/{}", (*port).max(1)),
            Self::Range { first, more } => format!(
                "udp/{}-{}",
                (*first).max(1),
                first.saturating_add(*more).max(1)
            ),
        };
        text.parse().expect("a service")
    }
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
            Self::Nobody => "root",
            Self::Empty => "",
        }
        .to_owned()
    }
}

impl Net {
    /// As a network is written or, with bits behind the prefix, as none should be.
    fn network(&self) -> IpNet {
        match self.host.address() {
            IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new(v4, 32 - self.prefix % 33).expect("a prefix")),
            IpAddr::V6(v6) => {
                IpNet::V6(Ipv6Net::new(v6, 128 - self.prefix % 129).expect("a prefix"))
            }
        }
    }
}

impl Host {
    fn address(&self) -> IpAddr {
        match *self {
            Self::Here(last) => IpAddr::from([192, 0, 2, last]),
            Self::Behind(last) => IpAddr::from([10, 0, 0, last % 8]),
            Self::HereV6(last) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
            Self::BehindV6(last) => {
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last % 8)).into()
            }
            Self::V4(bits) => Ipv4Addr::from(bits).into(),
            Self::V6(bits) => Ipv6Addr::from(bits).into(),
        }
    }
}
