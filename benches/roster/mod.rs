//! A gate with the users of a roster.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::core::roster::{minisign::SecretKey, sealed};
use postern_harness::world::GATE_NAME;
use postern_harness::{GateConfig, SERVICE, World, key, seed};
use postern_proto::PrivateKey;
use zeroize::Zeroizing;

/// Lets a gate take rosters that are made here.
pub(crate) fn trusted(plan: GateConfig) -> GateConfig {
    let trust = signer().public().line();
    let plan = plan.section(&format!("[roster]\ntrust = [\"{trust}\"]\n"));
    plan.gate("private_key = \"gate.key\"")
}

/// The private key of the gate.
pub(crate) fn write_gate_key(world: &World) {
    let key = STANDARD.encode(seed("the private key of the gate"));
    world.write("gate.key", &format!("{key}\n"));
}

/// Puts a roster in force, with so many users with sealed keys, and so many with key pairs. Returns how long the gate took.
pub(crate) fn apply(world: &World, sealed: u32, pairs: u32) -> Duration {
    let text = roster(sealed, pairs);
    let signature = signer().sign(text.as_bytes(), "").lines();
    world.write("fleet.toml", &text);
    world.write("fleet.toml.minisig", &signature);
    let file = world.folder().join("fleet.toml").display().to_string();
    let start = Instant::now();
    world.at_gate(&["roster", "apply", &file]);
    start.elapsed()
}

fn signer() -> SecretKey {
    SecretKey::from_random([1; 8], &Zeroizing::new(seed("a signer")))
}

fn roster(sealed_keys: u32, pairs: u32) -> String {
    let own = PrivateKey::from_bytes(seed("the private key of the gate"));
    let mut text = format!(
        "version = 1\nuntil = 2100-01-01T00:00:00Z\n[gate.\"{GATE_NAME}\"]\n[policy.p]\nservices = [\"tcp/{SERVICE}\"]\n\n"
    );
    for number in 0..sealed_keys + pairs {
        let name = format!("user{number}");
        let key = if number < sealed_keys {
            let secrets = format!("key = \"{}\"\n", key(&name));
            let fresh = PrivateKey::from_bytes(seed(&format!("fresh {name}")));
            let sealed = sealed(GATE_NAME, &own.public(), &name, &secrets, &fresh).unwrap();
            format!("sealed = {{ \"{GATE_NAME}\" = \"{sealed}\" }}")
        } else {
            let public = PrivateKey::from_bytes(seed(&name)).public();
            format!("public_key = \"{}\"", STANDARD.encode(public.as_bytes()))
        };
        writeln!(
            text,
            "[[user]]\nname = \"{name}\"\npolicy = \"p\"\ngates = [\"{GATE_NAME}\"]\n{key}\n"
        )
        .unwrap();
    }
    text
}
