//! Invariants that one process can test. ARCHITECTURE.md lists all of them with their tests.
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
