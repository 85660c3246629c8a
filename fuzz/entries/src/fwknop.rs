//! Any bytes as a packet of fwknop or as an encrypted sequence, and any plaintext sealed with a user's real keys.
//!
//! The first byte of the input chooses: 0 and 1, the rest is a payload for a user with a mac or without; 2 and 3, it is a
//! plaintext without its digest or with it; 4, a run; 5, the plaintext of a run. The cipher is written here once more, on
//! purpose.

use std::sync::LazyLock;

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, Mac};
use md5::Md5;
use postern_fwknop::sequence::{self, HITS, OFFSET};
use postern_fwknop::{Key, MacKind, Mode, Opened, Packet, Reason, looks_like};
use sha2::{Digest, Sha256};

/// The keys of the vectors.
const KEY: &[u8] = b"example-encryption-key-32-bytes!";
const MAC_KEY: &[u8] = b"example-hmac-key-0123456789abcde";
const PASSPHRASE: &[u8] = b"mypassword000000";

static USER: LazyLock<Key> =
    LazyLock::new(|| Key::new(KEY, MacKind::Sha256, MAC_KEY).expect("keys"));
static WITHOUT_MAC: LazyLock<Key> =
    LazyLock::new(|| Key::without_mac(KEY, Mode::Cbc).expect("a key"));
static SOMEBODY_ELSE: LazyLock<Key> =
    LazyLock::new(|| Key::new(b"another key", MacKind::Sha256, b"another").expect("keys"));

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind {
        0 => as_sent(&USER, rest),
        1 => as_sent(&WITHOUT_MAC, rest),
        2 => as_sealed(&[rest, b":", b64(&Sha256::digest(rest)).as_bytes()].concat()),
        3 => as_sealed(rest),
        4 => {
            if let Some((run, _)) = rest.split_first_chunk() {
                as_run(run);
            }
        }
        5 if rest.len() < 16 => {
            let sealed = sealed(PASSPHRASE, *b"12345678", rest);
            as_run(sealed.first_chunk().expect("32 bytes"));
        }
        _ => {}
    }
}

fn as_sent(key: &Key, payload: &[u8]) {
    assert_eq!(looks_like(payload), Packet::parse(payload).is_ok());
    if let Ok(opened) = open(key, payload) {
        if key.has_mac() {
            let (text, tag) = payload.split_at(payload.len() - 43);
            assert_eq!(tag, mac(text).as_bytes(), "the user's own mac");
        }
        judge(&opened);
        assert!(
            open(&SOMEBODY_ELSE, payload).is_err(),
            "one packet, one key"
        );
    }
}

/// Whatever a holder of the key encrypts: what is accepted has one text.
fn as_sealed(plain: &[u8]) {
    let text = b64(&sealed(KEY, *b"\xf0saltABC", plain))[10..].to_owned();
    let payload = format!("{text}{}", mac(text.as_bytes()));
    let opened = open(&USER, payload.as_bytes());
    assert_ne!(opened, Err(Reason::Mac));
    let Ok(opened) = opened else {
        return;
    };
    let read = format!("{}:{}", opened.encoded, opened.digest);
    assert_eq!(read.as_bytes(), plain, "every byte is in a field");
    judge(&opened);
    if looks_like(text.as_bytes()) {
        assert_eq!(open(&WITHOUT_MAC, text.as_bytes()), Ok(opened));
    }

    let at = plain
        .iter()
        .fold(0, |at, byte| (at * 31 + usize::from(*byte)) % payload.len());
    let mut changed = payload.into_bytes();
    changed[at] = if changed[at] == b'8' { b'9' } else { b'8' };
    assert!(
        open(&USER, &changed).is_err(),
        "character {at} is not under the mac"
    );
}

fn open(key: &Key, payload: &[u8]) -> Result<Opened, Reason> {
    let packet = Packet::parse(payload)?;
    key.open(&key.verify(&packet)?)
}

/// What was accepted is the text that its values have.
fn judge(opened: &Opened) {
    let request = &opened.request;
    let mut text = format!(
        "{}:{}:{}:{}:{}:{}",
        opened.random,
        b64(request.user.as_bytes()),
        request.timestamp_s,
        opened.version,
        request.type_number(),
        b64(request.message_text().as_bytes())
    );
    let nat = request
        .target()
        .map(|target| b64(target.to_string().as_bytes()));
    let auth = opened.server_auth.as_ref().map(|auth| b64(auth));
    let timeout = request.timeout_s.map(|seconds| seconds.to_string());
    for field in [nat, auth, timeout].into_iter().flatten() {
        text = format!("{text}:{field}");
    }
    assert_eq!(text, opened.encoded);
    let number = opened.random.parse::<u64>().expect("16 digits");
    let random = [number.to_be_bytes(), *b"\xf1another"].concat();
    let again = USER.seal(request, random[..].try_into().expect("16 bytes"));
    let again = open(&USER, again.expect("it can be sealed").as_bytes()).expect("our own packet");
    assert_eq!((&again.request, &again.random), (request, &opened.random));
}

/// An accepted run is the one that its request has.
fn as_run(run: &[u8; HITS]) {
    let key = sequence::Key::new(PASSPHRASE, OFFSET).expect("a key");
    let ports = run.map(|byte| OFFSET + u16::from(byte));
    assert_eq!(key.open(run), key.open_ports(&ports));
    if let Ok(access) = key.open(run) {
        let salt = run[8..16].try_into().expect("8 bytes");
        assert_eq!(key.ports(&access, &salt), Ok(ports));
    }
}

/// Magic, salt and ciphertext.
fn sealed(key: &[u8], salt: [u8; 8], plain: &[u8]) -> Vec<u8> {
    let mut derived = Vec::new();
    while derived.len() < 48 {
        let last = derived.len().saturating_sub(16);
        derived.extend(Md5::digest([&derived[last..], key, &salt].concat()));
    }
    let aes = Aes256::new_from_slice(&derived[..32]).expect("32 bytes");
    let mut before: [u8; 16] = derived[32..].try_into().expect("16 bytes");
    let mut sealed = [&b"Salted__"[..], &salt].concat();
    let pad = 16 - plain.len() % 16;
    for block in [plain, &vec![pad as u8; pad]].concat().chunks(16) {
        let mut block = std::array::from_fn::<u8, 16, _>(|at| block[at] ^ before[at]).into();
        aes.encrypt_block(&mut block);
        before = block.into();
        sealed.extend(before);
    }
    sealed
}

fn mac(text: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(MAC_KEY).expect("any length");
    mac.update(b"U2FsdGVkX1");
    mac.update(text);
    b64(&mac.finalize().into_bytes())
}

fn b64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}
