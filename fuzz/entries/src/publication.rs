//! What the cluster process tells: any text, or any content that a fleet key has sealed (invariants 8 and 14).
//!
//! Without the key nothing is ordered. With it, only what this gate's policy allows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::adapters::config;
use postern::adapters::config::bundle::Bundle;
use postern::core::claims::Told;
use postern::core::clearance::Clearance;
use postern::core::fleet::{Fleet, FleetKeys};
use postern::core::order::Order;
use postern::model::settings::Settings;
use postern::model::time::Timestamp;
use postern_proto::{FleetKey, GateName, SharedKey};

const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);

const CONFIG: &str = "[gate]\nname = \"gate\"\n[[user]]\nname = \"alice\"\nservices = [\"tcp/22\", \"web\"]\n\
                      key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"\n[service.web]\nports = [\"tcp/80\"]\n";

fn settings() -> Settings {
    let bundle = Bundle::of_main("/etc/postern/posternd.toml", CONFIG);
    config::load(&bundle).expect("a config").settings
}

pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let (gate, key) = (
        GateName::new("gate").expect("a name"),
        SharedKey::from_bytes([7; 32]),
    );
    let key = || FleetKey::derive(&gate, &key);
    let settings = settings();
    let keys = FleetKeys::new([key()]).expect("a key");
    let mut fleet = Fleet::new(keys, [1; 16], &settings);
    fleet.connected(NOW, "gate1");
    let _ = (fleet.next_ask(NOW), fleet.told(NOW, &Told::Current));
    if first % 2 == 0 {
        let text = String::from_utf8_lossy(rest).into_owned();
        for sealed in [text, STANDARD.encode(rest)] {
            assert!(fleet.told(NOW, &Told::Published { sealed }).is_err());
        }
        assert!(fleet.next_taken(NOW).is_none() && fleet.take_ended().is_none());
        return;
    }
    let clearance = Clearance::new(&settings);
    for (number, text) in (1..).zip(rest.split(|byte| *byte == 0)) {
        let sealed = STANDARD.encode(key().seal(&[2; 16], number, text));
        let _ = fleet.told(NOW, &Told::Published { sealed });
        while let Some(taken) = fleet.next_taken(NOW) {
            let Order::Share { request, .. } = taken.order(1) else {
                panic!("another order");
            };
            clearance.open(&request, NOW).expect("an allowed request");
            fleet.arrived();
        }
    }
    let _ = (fleet.grants(NOW), fleet.status(NOW), fleet.next_ask(NOW));
}
