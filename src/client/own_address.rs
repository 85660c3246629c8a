//! The client's own address on the way to each address of the gate, as far as this machine and STUN servers know it.
//!
//! What is known stays known for one command, so that a repeated knock asks nobody again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use super::allow::{self, Way};
use super::nat64::PrefixQuestion;
use super::public_address::{self, Unseen};
use super::route::Route;
use crate::adapters::routes::Routes;
use crate::client::profile::{AllowSetting, Endpoint, StunServers};
use crate::model::exit::{ExitError, UNAVAILABLE};

#[derive(Debug)]
pub(super) struct OwnAddresses {
    /// What STUN servers see, by the local address.
    seen: Vec<(IpAddr, Result<IpAddr, String>)>,
    prefixes: PrefixQuestion,
}

impl OwnAddresses {
    pub(super) fn new(gates: &[Endpoint]) -> Self {
        Self {
            seen: Vec::new(),
            prefixes: PrefixQuestion::ask(gates),
        }
    }

    /// Asks the STUN servers, if the setting names any.
    pub(super) fn ask(
        &mut self,
        allow: &AllowSetting,
        routes: &[(SocketAddr, io::Result<Route>)],
    ) -> Result<(), ExitError> {
        match allow {
            AllowSetting::Stun(servers) => self.ask_servers(servers, routes),
            _ => Ok(()),
        }
    }

    /// The way of a knock over this route.
    pub(super) fn way(
        &mut self,
        gate: SocketAddr,
        route: io::Result<Route>,
        allow: &AllowSetting,
    ) -> io::Result<(Way, io::Result<Route>)> {
        let (local, route) = match (route, allow) {
            (Ok(route), AllowSetting::Stun(_)) => match self.find(route.local()) {
                Some(Ok(address)) => (*address, Ok(route)),
                Some(Err(what)) => return Err(io::Error::other(what.clone())),
                None => return Err(io::ErrorKind::NotFound.into()),
            },
            (Ok(route), _) => (route.local(), Ok(route)),
            (Err(error), AllowSetting::Auto | AllowSetting::Both | AllowSetting::Stun(_)) => {
                return Err(error);
            }
            // The other settings do not use the address, so the packet can still be printed.
            (Err(error), _) => (gate.ip(), Err(error)),
        };
        let way = Way {
            gate: gate.ip(),
            local,
            is_near: is_near(local, gate.ip()),
            is_nat64: self.prefixes.answer().translate(gate.ip()),
        };
        Ok((way, route))
    }

    fn find(&self, local: IpAddr) -> Option<&Result<IpAddr, String>> {
        let found = self.seen.iter().find(|(address, _)| *address == local);
        found.map(|(_, answer)| answer)
    }

    /// Asks over all usable routes at once, except where the answer is known.
    fn ask_servers(
        &mut self,
        servers: &StunServers,
        routes: &[(SocketAddr, io::Result<Route>)],
    ) -> Result<(), ExitError> {
        let usable = routes.iter().filter_map(|(_, route)| route.as_ref().ok());
        let mut locals: Vec<IpAddr> = usable.map(Route::local).collect();
        locals.retain(|local| self.find(*local).is_none());
        locals.sort();
        locals.dedup();
        thread::scope(|scope| {
            let ask = |local| {
                (
                    local,
                    scope.spawn(move || public_address::seen_by(servers, local)),
                )
            };
            let asked: Vec<_> = locals.into_iter().map(ask).collect();
            for (local, asked) in asked {
                let answer = match asked.join() {
                    Ok(Ok(address)) => Ok(address),
                    Ok(Err(Unseen::Disagreement(what))) => {
                        let cure =
                            "name servers that you trust, or the address itself with --allow";
                        return Err(ExitError::new(UNAVAILABLE, format!("{what}; {cure}")));
                    }
                    Ok(Err(Unseen::NoAnswer(what))) => Err(what),
                    Err(_) => Err("the STUN question failed".to_owned()),
                };
                self.seen.push((local, answer));
            }
            Ok(())
        })
    }
}

/// Whether the gate is in a network of the interface that has a private address. In doubt it is not.
fn is_near(own: IpAddr, gate: IpAddr) -> bool {
    let near = || Routes::open().ok()?.shares_network(own, gate).ok();
    !allow::is_public(own) && near().unwrap_or_default()
}
