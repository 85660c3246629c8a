//! The loop's link to the cluster process. What comes from there is hostile, and costs bounded time.

use super::event_loop::Engine;
use crate::adapters::clock;
use crate::adapters::ipc::{Link, Received};
use crate::core::order;
use crate::model::time::Timestamp;

/// Messages at once. Then packets have their turn.
const TOLD: usize = 64;

impl Engine {
    pub(super) fn connect_cluster(&mut self, now: Timestamp, member: &str, link: Link) {
        self.cluster = Some(link);
        self.core.cluster_connected(now);
        self.core.fleet_connected(now, member);
    }

    pub(super) fn take_told(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TOLD {
            let Some(link) = &self.cluster else { break };
            let told = match link.try_receive(&mut buffer) {
                Ok(Received::Nothing) => break,
                Ok(Received::Message(len)) => {
                    order::decode_first(&buffer, len).map_err(|error| error.to_string())
                }
                Ok(Received::Gone) => Err("the cluster process has ended".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match told {
                Ok(told) => {
                    if let Some(order) = self.core.told(clock::wall(), told) {
                        // A close that came before the knock was won must not end what it opens.
                        while let Some(end) = self.core.next_ended() {
                            self.send_order(end);
                        }
                        self.send_order(order);
                    }
                }
                Err(why) => {
                    self.cluster = None;
                    self.core.cluster_lost(clock::wall(), &why);
                    self.core.fleet_lost(&why);
                }
            }
        }
        self.buffer = buffer;
    }

    /// A cluster process that does not read delays no knock: what it does not take is refused, or asked again in the next turn.
    pub(super) fn send_asks(&mut self, now: Timestamp) {
        while let Some(ask) = self.core.next_ask(now) {
            let (Some(cluster), Ok(bytes)) = (&self.cluster, order::encode(&ask)) else {
                return;
            };
            if let Err(error) = cluster.try_send(&bytes) {
                let why = format!("the cluster process takes no message: {error}");
                self.core.not_asked(now, ask, &why);
                return;
            }
        }
    }
}
