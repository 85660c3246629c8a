//! Secrets are wiped on drop: the tests read the process's own memory, which Linux shows as a file.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use postern_proto::{
    Action, Allow, Code, CodeKey, GateName, HintKey, KeyMaterial, KeyText, OpenBuffer, Packet,
    PresharedKey, PrivateKey, Request, SharedKey, UserKeys, seal,
};
use zeroize::ZeroizeOnDrop;

const SECRET: [u8; 32] = *b"an easily found key of 32 bytes!";

fn memory(address: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open("/proc/self/mem")
        .unwrap()
        .read_exact_at(&mut bytes, address as u64)
        .unwrap();
    bytes
}

fn before_and_after<T>(value: T) -> [Vec<u8>; 2] {
    let mut place = Some(value);
    black_box(&mut place);
    let (address, len) = (std::ptr::from_ref(&place) as usize, size_of_val(&place));
    let before = memory(address, len);
    // Dropped in place, so that nothing overwrites it.
    drop_in(&mut place);
    let after = memory(address, len);
    black_box(&mut place);
    [before, after]
}

#[inline(never)]
fn drop_in<T>(place: &mut Option<T>) {
    *place = None;
    black_box(place);
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn assert_wiped<T>(value: T, secret: &[u8]) {
    let [before, after] = before_and_after(value);
    let name = std::any::type_name::<T>();
    assert!(
        has(&before, secret),
        "{name}: the secret is not where it is looked for"
    );
    for part in secret.windows(4) {
        assert!(!has(&after, part), "{name}: {part:?} is left");
    }
}

fn user_keys() -> UserKeys {
    UserKeys::derive(
        &GateName::new("gate.example.org").unwrap(),
        &KeyMaterial::shared(&SharedKey::from_bytes(SECRET)),
    )
}

#[test]
fn given_keys_are_wiped_on_drop() {
    let shared = || SharedKey::from_bytes(SECRET);
    assert_wiped(shared(), &SECRET);
    assert_wiped(PresharedKey::from_bytes(SECRET), &SECRET);
    assert_wiped(PrivateKey::from_bytes(SECRET), &SECRET);
    assert_wiped(KeyMaterial::shared(&shared()), &SECRET);
    let text = shared().to_base64();
    let secret = text.as_bytes().to_vec();
    assert_wiped(text, &secret);
}

#[test]
fn derived_keys_are_wiped_on_drop() {
    let zeros = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0).count();
    for [before, after] in [
        before_and_after(user_keys().hint_key().clone()),
        before_and_after(user_keys()),
    ] {
        // Besides the keys, the value holds only the discriminant of the `Option`.
        assert!(zeros(&before) < before.len() / 4, "{before:?}");
        assert!(zeros(&after) >= after.len() - 1, "{after:?}");
    }
}

#[test]
fn an_opened_body_is_wiped_on_drop() {
    let request = Request {
        action: Action::Close,
        allow: Allow::Source { prefix: 128 },
        timestamp_ms: u64::from_be_bytes(*b"a moment"),
        duration_s: 0,
        target: None,
        items: Vec::new(),
    };
    let keys = user_keys();
    let sealed = seal(&keys, &request, [7; 12], 448).unwrap();
    let mut buffer = OpenBuffer::new();
    keys.open(&Packet::parse(sealed.as_bytes()).unwrap(), &mut buffer)
        .unwrap();
    assert_wiped(buffer, b"a moment");
}

#[test]
fn codes_and_their_secrets_are_wiped_on_drop() {
    assert_wiped(Code::new("31415926").unwrap(), b"31415926");
    // The secret is on the heap, and the key's place says where.
    let key = CodeKey::from_bytes(&[0xa5; 64], 6).unwrap();
    let [place, _] = before_and_after(key.code(postern_proto::CodeStep(1)));
    assert!(!has(&place, &[0xa5; 4]), "a code holds no secret");
    let mut slot = Some(key);
    black_box(&mut slot);
    let words = memory(std::ptr::from_ref(&slot) as usize, size_of_val(&slot));
    let pointers = words
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| usize::from_ne_bytes(*word));
    let secret = |address: usize| {
        File::open("/proc/self/mem")
            .unwrap()
            .read_exact_at(&mut [0; 64], address as u64)
            .is_ok()
    };
    let address = pointers
        .filter(|address| *address > 4096 && secret(*address))
        .find(|address| memory(*address, 64) == [0xa5; 64])
        .unwrap();
    drop_in(&mut slot);
    assert!(!has(&memory(address, 64), &[0xa5; 4]), "the secret is left");
}

fn wipes_itself<T: ZeroizeOnDrop>() {
    assert!(
        std::mem::needs_drop::<T>(),
        "{} says so and does nothing",
        std::any::type_name::<T>()
    );
}

#[test]
fn each_secret_type_implements_drop() {
    wipes_itself::<SharedKey>();
    wipes_itself::<PresharedKey>();
    wipes_itself::<PrivateKey>();
    wipes_itself::<KeyText>();
    wipes_itself::<KeyMaterial>();
    wipes_itself::<UserKeys>();
    wipes_itself::<HintKey>();
    wipes_itself::<CodeKey>();
    wipes_itself::<Code>();
    wipes_itself::<OpenBuffer>();
}
