//! Vectors, and packets of any plaintext, mode and mac, made by a second implementation.
use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, Mac};
use md5::Md5;
use postern_fwknop::{Key, MacKind, Mode, Opened, Packet, Reason};
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub(crate) const KEY: &[u8; 32] = b"example-encryption-key-32-bytes!";
pub(crate) const MAC_KEY: &[u8; 32] = b"example-hmac-key-0123456789abcdef".first_chunk().unwrap();

#[derive(Deserialize)]
pub(crate) struct File {
    pub(crate) vectors: Vec<Vector>,
}

#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) client_options: Vec<String>,
    pub(crate) encryption_key_hex: String,
    pub(crate) hmac_key_hex: Option<String>,
    pub(crate) hmac_type: String,
    pub(crate) encryption_mode: String,
    pub(crate) wire: String,
    pub(crate) expect: Expect,
}

#[derive(Deserialize)]
pub(crate) struct Expect {
    pub(crate) rand: String,
    pub(crate) username: String,
    pub(crate) timestamp: u64,
    pub(crate) version: String,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) message: String,
    pub(crate) nat_access: Option<String>,
    pub(crate) server_auth: Option<String>,
    pub(crate) client_timeout: u32,
    pub(crate) encoded: String,
    pub(crate) digest: String,
}

impl Vector {
    pub(crate) fn key(&self) -> Key {
        let key = hex(&self.encryption_key_hex);
        match &self.hmac_key_hex {
            Some(mac_key) => {
                let kind = MacKind::from_name(&self.hmac_type).unwrap();
                Key::new(&key, kind, &hex(mac_key)).unwrap()
            }
            None if self.encryption_mode == "legacy" => {
                Key::without_mac(&key, Mode::Legacy).unwrap()
            }
            None => Key::without_mac(&key, Mode::Cbc).unwrap(),
        }
    }
}

pub(crate) fn vectors() -> Vec<Vector> {
    let files = [
        include_str!("../vectors/client.json"),
        include_str!("../vectors/client-more.json"),
    ];
    files
        .into_iter()
        .flat_map(|text| serde_json::from_str::<File>(text).unwrap().vectors)
        .collect()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

/// All checks of a payload, as a server runs them.
pub(crate) fn open(key: &Key, payload: &[u8]) -> Result<Opened, Reason> {
    let packet = Packet::parse(payload)?;
    key.open(&key.verify(&packet)?)
}

pub(crate) fn user() -> Key {
    Key::new(KEY, MacKind::Sha256, MAC_KEY).unwrap()
}

pub(crate) fn user_without_mac() -> Key {
    Key::without_mac(KEY, Mode::Cbc).unwrap()
}

/// A plaintext with its SHA-256 digest.
pub(crate) fn digested(fields: &str) -> String {
    format!("{fields}:{}", b64(&Sha256::digest(fields)))
}

pub(crate) fn b64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// The modes of fwknop's client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CipherMode {
    Cbc,
    Ecb,
    Cfb,
    Ofb,
    Ctr,
}

/// The packet of a plaintext, without a mac.
pub(crate) fn encrypted(plain: &[u8], mode: CipherMode) -> String {
    let pad = 16 - plain.len() % 16;
    encrypted_raw(&[plain, &vec![pad as u8; pad]].concat(), mode)
}

/// The same with padding of the caller.
pub(crate) fn encrypted_raw(padded: &[u8], mode: CipherMode) -> String {
    let salt = *b"\xf0saltABC";
    let mut derived = Vec::new();
    while derived.len() < 48 {
        let last = derived.len().saturating_sub(16);
        let hash = Md5::digest([&derived[last..], KEY, &salt].concat());
        derived.extend(hash);
    }
    let aes = Aes256::new_from_slice(&derived[..32]).unwrap();
    let encrypt = |block: [u8; 16]| {
        let mut block = block.into();
        aes.encrypt_block(&mut block);
        <[u8; 16]>::from(block)
    };
    let xor = |a: [u8; 16], b: [u8; 16]| std::array::from_fn(|at| a[at] ^ b[at]);
    let mut state: [u8; 16] = derived[32..].try_into().unwrap();
    let mut sealed = [&b"Salted__"[..], &salt].concat();
    for block in padded.chunks(16) {
        let block: [u8; 16] = block.try_into().unwrap();
        let stream = encrypt(state);
        let out = match mode {
            CipherMode::Cbc => encrypt(xor(block, state)),
            CipherMode::Ecb => encrypt(block),
            CipherMode::Cfb | CipherMode::Ofb | CipherMode::Ctr => xor(block, stream),
        };
        state = match mode {
            CipherMode::Ctr => u128::from_be_bytes(state).wrapping_add(1).to_be_bytes(),
            CipherMode::Ofb => stream,
            _ => out,
        };
        sealed.extend(out);
    }
    b64(&sealed)[10..].to_owned()
}

/// Appends the mac that the user has.
pub(crate) fn with_mac(text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(MAC_KEY).unwrap();
    mac.update(b"U2FsdGVkX1");
    mac.update(text.as_bytes());
    format!("{text}{}", b64(&mac.finalize().into_bytes()))
}

/// The packet of a plaintext, as the user's client would make it.
pub(crate) fn packet(plain: &str) -> String {
    with_mac(&encrypted(plain.as_bytes(), CipherMode::Cbc))
}
