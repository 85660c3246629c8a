//! The ten invariants of the design, and where each is tested. What can be tried in one process stands here.
//!
//! | invariant | tests |
//! |---|---|
//! | 1 the pure rows touch no clock, file, socket, thread or global | `layers.rs` reads it off the sources; `gate.rs`: one answer for one input |
//! | 2 a datagram that is not authenticated allocates nothing, grows no table, is not logged | `gate.rs`, with counted allocations; `scenarios/dropped.rs` for each reason |
//! | 3 no order before its mark is durable | `gate.rs`; `scenarios/failing.rs`; `store.rs` with `kill -9` |
//! | 4 every grant has an end | `monitor.rs`; `iptables.rs` in the kernel |
//! | 5 the monitor checks again | `monitor.rs`, for every rule; `fuzz/entries/order.rs` |
//! | 6 programs by absolute path, no shell, under a deadline | `src/program/watched.rs` |
//! | 7 keys in no Debug | `gate.rs`; `fuzz/entries/config.rs` for errors; `client/secrecy.rs` |
//! | 8 no panic from bytes | `corpus.rs` and the fuzz targets |
//! | 9 nothing is sent in answer | `capture/` for the sockets; `gate.rs`: the engine has nothing to send with |
//! | 10 what the firewall did not do is not told as done | `monitor.rs`; `scenarios/failing.rs`; `iptables.rs` against the kernel |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod gate;
mod monitor;

use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::adapters::config::{self, Loaded};
use postern::model::time::Timestamp;
use postern_proto::SharedKey;

const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);
const KEY: [u8; 32] = *b"an easily found key of 32 bytes!";

fn config() -> Loaded {
    let key = SharedKey::from_bytes(KEY).to_base64();
    let text = format!(
        "[gate]\nname = 'gate.example.org'\n[[user]]\nname = 'alice'\nkey = '{}'\nservices = ['tcp/22']\n",
        &*key
    );
    let main = BundleFile {
        path: "/etc/postern/posternd.toml".into(),
        text: text.into(),
    };
    config::load(&Bundle {
        main: Some(main),
        ..Bundle::default()
    })
    .unwrap()
}
