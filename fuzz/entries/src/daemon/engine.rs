//! The daemon's inputs: one user's config, knocks, and engines that have just started.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use postern::adapters::config::Loaded;
use postern::core::gate::{Gate, HintTable, User};
use postern::daemon::engine::core::Core;
use postern::model::mark::StoredMarks;
use postern::model::policy::Quota;
use postern::model::time::Timestamp;
use postern_proto::{
    Action, Allow, Item, Protocol, Request, RootKey, Service, SharedKey, Step, seal,
};

use crate::config;

pub(super) const START: Timestamp = Timestamp::from_millis(27_500_000 * 64_000 + 32_000);
const WINDOW: Duration = Duration::from_secs(30);
/// What a knock asks for.
pub(super) const LENGTH: Duration = Duration::from_secs(20);

/// A knock of the one user.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    pub nth: u8,
    pub action: Action,
    pub made: Timestamp,
}

impl Packet {
    /// Opens come from two addresses in turn.
    pub(super) fn source(self) -> IpAddr {
        source(self.nth).into()
    }
}

fn source(nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1 + nth % 2)
}

/// The packet's bytes. Each is sealed once for all daemons, because that takes longest.
pub(super) fn sealed(packet: Packet) -> Vec<u8> {
    thread_local! {
        static SEALED: RefCell<HashMap<(u8, bool, Timestamp), Vec<u8>>> = RefCell::default();
    }
    let Packet { nth, action, made } = packet;
    // The close of an address is sent from another one: it is the address inside that counts.
    let closes = action == Action::Close;
    let address = source(if closes { nth.saturating_sub(1) } else { nth }).to_ipv6_mapped();
    let knock = || {
        let request = Request {
            action,
            allow: Allow::Network {
                address,
                prefix: 128,
            },
            timestamp_ms: made.as_millis(),
            duration_s: u32::try_from(LENGTH.as_secs()).expect("short"),
            target: None,
            items: vec![Item::Service(
                Service::new(Protocol::Tcp, 22, 22).expect("a port"),
            )],
        };
        seal(&keys().keys(), &request, [nth; 12], 64)
            .expect("a knock")
            .as_bytes()
            .to_vec()
    };
    SEALED.with_borrow_mut(|sealed| {
        if sealed.len() > 10_000 {
            sealed.clear();
        }
        sealed
            .entry((nth, closes, made))
            .or_insert_with(knock)
            .clone()
    })
}

thread_local! {
    static SPARE: RefCell<Option<Core>> = const { RefCell::new(None) };
}

/// An engine that has just begun. Its gate was made before its store could be opened, as every engine's is, and may have been one
/// before: making new keys and tables would take most of the time. Its quota is too large to matter.
pub(super) fn begun(kept: StoredMarks) -> Core {
    let mut core = SPARE
        .take()
        .unwrap_or_else(|| Core::new(gate(), "gate.example.org", START));
    core.gate().recall(kept);
    core
}

/// An engine that has ended, and has nothing under way any more, may be another one.
pub(super) fn ended(core: Core) {
    SPARE.set(Some(core));
}

/// With a table for every time that a daemon can come to.
fn gate() -> Gate {
    // More than all daemons have knocks, though each begins at the same time again.
    let quota = Quota {
        count: NonZeroU32::MAX,
        per: Duration::from_secs(u32::MAX.into()),
    };
    let policy = LOADED.settings.policies[0].clone();
    let policy = policy.with(|rules| rules.quota = quota);
    let mut gate = Gate::new(
        vec![User {
            keys: keys(),
            policy,
        }],
        Vec::new(),
        LOADED.settings.catalog.clone(),
        WINDOW,
        StoredMarks::default(),
    );
    let Step(start) = Step::of(START.as_millis());
    let table = HintTable::build(&gate.hint_keys(), start - 200..=start + 200);
    gate.install(table);
    gate
}

fn keys() -> RootKey {
    RootKey::extract(&LOADED.settings.gate.name, &LOADED.keys[0])
}

pub(super) static LOADED: LazyLock<Loaded> = LazyLock::new(|| {
    let key = SharedKey::from_bytes([1; 32]).to_base64();
    let user = format!(
        "[[user]]\nname = 'alice'\nkey = '{}'\nservices = ['tcp/22']\n",
        &*key
    );
    let text = format!(
        "[gate]\nname = 'gate.example.org'\nwindow = '{}s'\n\n{user}",
        WINDOW.as_secs()
    );
    config::loaded(&text)
});
