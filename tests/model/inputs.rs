//! What the gates of the model are made of: keys, a config, the one knock, and the fleet key.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::adapters::config::{Loaded, load};
use postern::core::claims::{Publish, PublishKind};
use postern::core::fleet::{Fleet, FleetKeys};
use postern::core::gate::{Gate, HintTable, User};
use postern::model::mark::StoredMarks;
use postern::model::request::{AddressFrom, OpenRequest};
use postern::model::time::Timestamp;
use postern_proto::{
    Action, Allow, Code, CodeKey, CodeStep, FleetKey, GateName, Item, Protocol, Request, RootKey,
    Service, SharedKey, Step, seal,
};

use super::cluster::LeftOut;

pub(crate) const NAME: &str = "gate.example.org";
pub(crate) const START: Timestamp = Timestamp::from_millis(27_500_000 * 64_000 + 32_000);
/// The sender's clock is ahead, so that the knock stays fresh for long.
const AHEAD: Duration = Duration::from_secs(28);
pub(crate) const GRANTED: Duration = Duration::from_secs(40);

/// The gate with a hint table for every period. With codes, the user must send one.
pub(crate) fn gate(has_codes: bool) -> Gate {
    static TABLE: LazyLock<HintTable> = LazyLock::new(|| {
        let Step(start) = Step::of(START.as_millis());
        HintTable::build(&bare().hint_keys(), start - 10..=start + 20)
    });
    let codes = has_codes.then(|| (0, code_key()));
    let mut gate = bare().with_codes(codes);
    gate.install(TABLE.clone());
    gate
}

fn bare() -> Gate {
    let settings = &LOADED.settings;
    let user = User {
        keys: KEYS.clone(),
        policy: settings.policies[0].clone(),
    };
    let (catalog, window) = (settings.catalog.clone(), settings.gate.window);
    Gate::new(vec![user], Vec::new(), catalog, window, Default::default())
}

static KEYS: LazyLock<RootKey> =
    LazyLock::new(|| RootKey::extract(&LOADED.settings.gate.name, &LOADED.keys[0]));

pub(crate) static LOADED: LazyLock<Loaded> = LazyLock::new(|| {
    let key = SharedKey::from_bytes([1; 32]).to_base64();
    let user = format!("[[user]]\nname = 'alice'\nkey = '{}'\n", &*key);
    let text = format!("[gate]\nname = 'gate.example.org'\n{user}services = ['tcp/22']\n");
    let main = BundleFile {
        path: "/etc/postern/posternd.toml".into(),
        text: text.into(),
    };
    let bundle = Bundle {
        main: Some(main),
        ..Bundle::default()
    };
    load(&bundle).unwrap_or_else(|problems| panic!("{problems}"))
});

fn code_key() -> CodeKey {
    CodeKey::from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 6).expect("a key")
}

/// The one knock, of which copies come to all gates. With codes there are two, with the same code, each for one gate.
pub(crate) fn knock(has_codes: bool, number: u8) -> &'static [u8] {
    static ONE: LazyLock<Vec<u8>> = LazyLock::new(|| sealed(None, 1));
    static WITH_CODE: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
        let CodeStep(now) = CodeStep::of(START.as_millis());
        [1, 2].map(|nonce| sealed(Some(code_key().code(CodeStep(now + 1))), nonce))
    });
    if has_codes {
        &WITH_CODE[usize::from(number)]
    } else {
        &ONE
    }
}

fn sealed(code: Option<Code>, nonce: u8) -> Vec<u8> {
    let address = std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
    let request = Request {
        action: Action::Open,
        allow: Allow::Network {
            address,
            prefix: 128,
        },
        timestamp_ms: START.plus(AHEAD).as_millis(),
        duration_s: u32::try_from(GRANTED.as_secs()).expect("short"),
        target: None,
        items: [Item::Service(
            Service::new(Protocol::Tcp, 22, 22).expect("a port"),
        )]
        .into_iter()
        .chain(code.map(Item::Code))
        .collect(),
    };
    let knock = seal(&KEYS.keys(), &request, [nonce; 12], 64).expect("a knock");
    knock.as_bytes().to_vec()
}

/// What a gate shares with the others, after a start. With `Seal` left out it takes what any key has sealed.
pub(crate) fn fleet(run: [u8; 16], kept: &StoredMarks, takes_any_key: bool) -> Fleet {
    let mut keys = vec![fleet_key(1)];
    if takes_any_key {
        keys.push(fleet_key(2));
    }
    let keys = FleetKeys::new(keys).expect("a key");
    let mut fleet = Fleet::new(keys, run, &LOADED.settings);
    fleet.recall(kept.closed.clone(), kept.times.floor.max(kept.closed_floor));
    fleet
}

fn fleet_key(byte: u8) -> FleetKey {
    let name = GateName::new(NAME).expect("a name");
    FleetKey::derive(&name, &SharedKey::from_bytes([byte; 32]))
}

/// What a gate publishes in one period, after one start: kind, gate, start, period, and what is left out.
pub(crate) type Occasion = (PublishKind, u8, u8, u32, Option<LeftOut>);

/// Publications are numbers in the model, because their texts are long. Those of one occasion say the same.
static PUBLISHED: Mutex<Vec<(Occasion, Publish)>> = Mutex::new(Vec::new());

pub(crate) fn number_of(occasion: Occasion, publish: Publish) -> usize {
    let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = published.iter().position(|(known, _)| *known == occasion);
    known.unwrap_or_else(|| {
        published.push((occasion, publish));
        published.len() - 1
    })
}

pub(crate) fn publication(number: usize) -> Publish {
    let published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
    published[number].1.clone()
}

/// A grant for the user of the config, sealed by somebody who does not have the fleet key.
pub(crate) fn made_up() -> usize {
    let keys = FleetKeys::new([fleet_key(2)]).expect("a key");
    let mut fleet = Fleet::new(keys, [99; 16], &LOADED.settings);
    let request = OpenRequest {
        user: "alice".to_owned(),
        allow: STRANGER.parse().expect("an address"),
        from: AddressFrom::Observed,
        target: None,
        services: vec!["tcp/22".parse().expect("a port")],
        duration: GRANTED,
    };
    let source = STRANGER.parse::<ipnet::IpNet>().expect("one").addr();
    let announced = fleet.announce(START, &request, source);
    let (_, publish) = announced.expect("it is short");
    number_of((PublishKind::Grant, u8::MAX, 0, 0, None), publish)
}

pub(crate) const STRANGER: &str = "203.0.113.66/32";
