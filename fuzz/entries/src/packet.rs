//! Any bytes as a packet, and any body sealed with a user's real keys (specification, section 4; steps 6.1 to 6.6).
//!
//! The first byte of the input chooses: 0, the rest is a datagram; 1, it is a nonce and a body to be sealed. The second
//! is for the code behind mac and AEAD, which no fuzzer gets past. Sealing is written here once more, on purpose.

use std::sync::LazyLock;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use hmac::{Hmac, Mac};
use postern_proto::limits::{BODY_MAX, BODY_MIN, PACKET_MAX, PACKET_MIN};
use postern_proto::{
    GateName, Hint, KeyMaterial, OpenBuffer, Packet, Request, RootKey, SharedKey, Step, UserKeys,
    seal,
};
use sha2::Sha256;

/// The user of the vectors, at the gate of the vectors.
pub const GATE: &str = "gate.example.org";
pub const SHARED_KEY: [u8; 32] =
    *b"\xac\x7f\xb1\xc4\x7f\x6d\x79\xbe\x92\xd6\x82\xd4\xc0\x6e\x34\x33\
    \x3d\x2c\x0e\x12\xd6\xc5\xad\x4f\x82\xab\x37\x8d\xf0\x9b\x0b\xda";
/// Her keys as the vectors give them, so that a wrong derivation is noticed here too.
const K_SEAL: [u8; 32] = *b"\x57\xcb\xb4\x0f\x51\xa7\x57\x87\x84\x98\x9d\x5d\xd4\xd4\xcd\xac\
    \x5a\xa6\xac\x9a\x46\x87\x5e\x5b\xdd\x15\x93\xbc\x80\x30\x24\x2c";
const K_MAC: [u8; 32] = *b"\x49\x61\xcb\xd5\xce\xfe\x05\x8b\x87\x56\x3b\x88\x94\x5f\xa7\x4e\
    \xc3\xdd\xb1\x15\xec\x23\x74\x74\x3e\x2c\xb8\x11\x63\x11\x6d\x5a";

static USER: LazyLock<UserKeys> = LazyLock::new(|| user(SHARED_KEY).keys());
static SOMEBODY_ELSE: LazyLock<UserKeys> = LazyLock::new(|| user([7; 32]).keys());

/// The user's keys once more, for a gate of her own.
pub fn keys() -> UserKeys {
    root().keys()
}

pub fn root() -> RootKey {
    user(SHARED_KEY)
}

fn user(key: [u8; 32]) -> RootKey {
    let gate = GateName::new(GATE).expect("a gate name");
    RootKey::extract(&gate, &KeyMaterial::shared(&SharedKey::from_bytes(key)))
}

pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, datagram)) => as_sent(datagram),
        Some((1, rest)) => {
            if let Some((nonce, body)) = rest.split_first_chunk() {
                as_sealed(*nonce, body);
            }
        }
        _ => {}
    }
}

/// Steps 6.1 to 6.6 for any datagram.
fn as_sent(datagram: &[u8]) {
    let Ok(packet) = Packet::parse(datagram) else {
        assert!(
            !(PACKET_MIN..=PACKET_MAX).contains(&datagram.len()),
            "{} bytes are a knock's length",
            datagram.len()
        );
        return;
    };
    let fields = [
        &packet.hint().0[..],
        packet.nonce(),
        packet.mac(),
        packet.sealed(),
    ];
    assert_eq!(fields.concat(), datagram, "every byte is in one field");
    assert_eq!(packet.mark().0[..], packet.mac()[..16]);
    assert_eq!(
        USER.verify(&packet),
        packet.mac()[..] == mac(datagram)[..],
        "the mac is over all the rest"
    );
    if USER.verify(&packet) {
        assert!(!SOMEBODY_ELSE.verify(&packet), "one packet, one key");
        if let Ok(body) = USER.open(&packet, &mut OpenBuffer::new()) {
            judge(&packet, body);
        }
    }
}

/// A packet that holds these bytes as its body passes mac and AEAD, gives them back, and no bit of it may change.
fn as_sealed(nonce: [u8; 12], body: &[u8]) {
    let sealed = seal_raw(nonce, body);
    let Ok(packet) = Packet::parse(&sealed) else {
        assert!(
            !(BODY_MIN..=BODY_MAX).contains(&body.len()),
            "{} bytes are a body's length",
            body.len()
        );
        return;
    };
    assert!(USER.verify(&packet), "the user's own mac");
    let mut buffer = OpenBuffer::new();
    let opened = USER
        .open(&packet, &mut buffer)
        .expect("the user's own seal");
    assert_eq!(opened, body);
    judge(&packet, opened);

    let at = usize::from(u16::from_be_bytes([nonce[0], nonce[1]])) % sealed.len();
    let mut changed = sealed.clone();
    changed[at] ^= 1 << (nonce[2] % 8);
    let changed = Packet::parse(&changed).expect("the same length");
    assert!(!USER.verify(&changed), "byte {at} is not under the mac");
}

/// An authenticated body: what is accepted is the one packet that its own user would have made of it.
fn judge(packet: &Packet<'_>, body: &[u8]) {
    let Ok(request) = Request::decode(body) else {
        return;
    };
    let again =
        seal(&USER, &request, *packet.nonce(), body.len()).expect("what was read can be sealed");
    let again = Packet::parse(again.as_bytes()).expect("a packet");
    if packet.hint() == again.hint() {
        assert_eq!(
            (again.mac(), again.sealed()),
            (packet.mac(), packet.sealed()),
            "{request:?}"
        );
    } else {
        assert_ne!(
            packet.hint(),
            USER.hint_key().hint(request.step()),
            "step-mismatch"
        );
    }
}

/// Sealing by the letter of section 4. The hint is the one for the body's timestamp.
pub fn seal_raw(nonce: [u8; 12], body: &[u8]) -> Vec<u8> {
    let timestamp = body
        .get(4..12)
        .map_or([0; 8], |bytes| bytes.try_into().expect("eight bytes"));
    let Hint(hint) = hint(Step::of(u64::from_be_bytes(timestamp)));
    seal_under(hint, nonce, body)
}

/// The user's hint for a step.
pub fn hint(step: Step) -> Hint {
    USER.hint_key().hint(step)
}

/// The same with any hint.
pub fn seal_under(hint: [u8; 8], nonce: [u8; 12], body: &[u8]) -> Vec<u8> {
    let mut sealed = body.to_vec();
    let cipher = ChaCha20Poly1305::new((&K_SEAL).into());
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), &hint, sealed.as_mut_slice().into())
        .expect("a short message");
    sealed.extend_from_slice(&tag);
    let mut packet = [&hint[..], &nonce, &[0; 32], &sealed].concat();
    let mac = mac(&packet);
    packet[20..52].copy_from_slice(&mac);
    packet
}

/// The mac that this packet should have.
pub fn mac(packet: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&K_MAC).expect("any length");
    mac.update(&packet[..20]);
    mac.update(&packet[52..]);
    mac.finalize().into_bytes().into()
}
