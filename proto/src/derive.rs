//! Derives a user's three keys from the key material (README.md section 2).
//!
//! A gate extracts the root key and expands the hint key of each user at load time. The other two follow with the first packet
//! that has the user's hint.

use alloc::boxed::Box;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::key::{PresharedKey, SharedKey};
use crate::key_error::KeyError;
use crate::limits::KEY_LEN;
use crate::name::GateName;
use crate::pair::{PrivateKey, PublicKey};
use crate::secret::secret;

const KIND_SHARED: u8 = 1;
const KIND_PAIR: u8 = 2;

/// The input key material of a user. Wiped when dropped.
pub struct KeyMaterial(Material);

/// The kind and the key, or the kind, Z, C, G and P. Most gates have only shared keys: these are short.
enum Material {
    Shared([u8; 1 + KEY_LEN]),
    Pair(Box<[u8; 1 + 4 * KEY_LEN]>),
}

impl KeyMaterial {
    /// For a user with a shared key.
    #[must_use]
    pub fn shared(key: &SharedKey) -> Self {
        let mut bytes = [KIND_SHARED; 1 + KEY_LEN];
        join(&mut bytes, KIND_SHARED, &[key.bytes()]);
        let material = Self(Material::Shared(bytes));
        bytes.zeroize();
        material
    }

    /// For a user with a key pair, at the client. Costs one X25519.
    ///
    /// [`KeyError::ZeroSecret`] if the gate's public key is a point of small order.
    pub fn pair_at_client(
        own: &PrivateKey,
        gate: &PublicKey,
        preshared: Option<&PresharedKey>,
    ) -> Result<Self, KeyError> {
        let secret = own.agree(gate)?;
        Ok(Self::pair(&secret, &own.public(), gate, preshared))
    }

    /// For a user with a key pair, at the gate. Costs one X25519.
    ///
    /// [`KeyError::ZeroSecret`] if the client's public key is a point of small order.
    pub fn pair_at_gate(
        gate_private: &PrivateKey,
        client: &PublicKey,
        preshared: Option<&PresharedKey>,
    ) -> Result<Self, KeyError> {
        let secret = gate_private.agree(client)?;
        Ok(Self::pair(
            &secret,
            client,
            &gate_private.public(),
            preshared,
        ))
    }

    fn pair(
        secret: &[u8; KEY_LEN],
        client: &PublicKey,
        gate: &PublicKey,
        preshared: Option<&PresharedKey>,
    ) -> Self {
        let preshared = preshared.map_or(&[0; KEY_LEN], PresharedKey::bytes);
        // Filled where it stays, so that no copy is left behind.
        let mut bytes = Box::new([0; 1 + 4 * KEY_LEN]);
        let parts = [secret, client.as_bytes(), gate.as_bytes(), preshared];
        join(&mut *bytes, KIND_PAIR, &parts);
        Self(Material::Pair(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Material::Shared(bytes) => bytes,
            Material::Pair(bytes) => &**bytes,
        }
    }
}

fn join(bytes: &mut [u8], kind: u8, parts: &[&[u8; KEY_LEN]]) {
    let from = core::iter::once(&kind).chain(parts.iter().copied().flatten());
    for (to, from) in bytes.iter_mut().zip(from) {
        *to = *from;
    }
}

impl Drop for KeyMaterial {
    fn drop(&mut self) {
        match &mut self.0 {
            Material::Shared(bytes) => bytes.zeroize(),
            Material::Pair(bytes) => bytes.zeroize(),
        }
    }
}

secret!(KeyMaterial);

/// What a user's keys at one gate are expanded from, PRK in RFC 5869: 32 bytes, wiped when dropped.
#[derive(Clone)]
pub struct RootKey([u8; KEY_LEN]);

impl RootKey {
    /// The root key that this material gives at this gate.
    #[must_use]
    pub fn extract(gate: &GateName, material: &KeyMaterial) -> Self {
        Self(extract(gate, material).0)
    }

    /// The hint key, which is all that a hint table needs.
    #[must_use]
    pub fn hint_key(&self) -> HintKey {
        let mut key = HintKey([0; KEY_LEN]);
        self.expand(b"postern/1 hint", &mut key.0);
        key
    }

    /// The three keys.
    #[must_use]
    pub fn keys(&self) -> UserKeys {
        let mut keys = UserKeys {
            hint: self.hint_key(),
            seal: [0; KEY_LEN],
            mac: [0; KEY_LEN],
        };
        self.expand(b"postern/1 seal", &mut keys.seal);
        self.expand(b"postern/1 mac", &mut keys.mac);
        keys
    }

    fn expand(&self, info: &[u8], key: &mut [u8; KEY_LEN]) {
        // PRK has the length of the hash, which is long enough.
        let hkdf = Hkdf::<Sha256>::from_prk(&self.0).ok();
        // A zero key would be worse than a panic. HKDF fails only for more than 8,160 bytes.
        if hkdf.and_then(|hkdf| hkdf.expand(info, key).ok()).is_none() {
            unreachable!("HKDF-Expand gives 32 bytes");
        }
    }
}

impl Drop for RootKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

secret!(RootKey);

/// One user's three keys at one gate: 96 bytes, wiped when dropped.
///
/// Holds no cipher or HMAC state besides.
pub struct UserKeys {
    hint: HintKey,
    seal: [u8; KEY_LEN],
    mac: [u8; KEY_LEN],
}

impl UserKeys {
    /// Derives the keys that this material gives at this gate.
    #[must_use]
    pub fn derive(gate: &GateName, material: &KeyMaterial) -> Self {
        RootKey::extract(gate, material).keys()
    }

    /// The hint key, which is all that a hint table needs.
    #[must_use]
    pub fn hint_key(&self) -> &HintKey {
        &self.hint
    }

    pub(crate) fn seal_key(&self) -> &[u8; KEY_LEN] {
        &self.seal
    }

    pub(crate) fn mac_key(&self) -> &[u8; KEY_LEN] {
        &self.mac
    }
}

impl Drop for UserKeys {
    fn drop(&mut self) {
        self.seal.zeroize();
        self.mac.zeroize();
    }
}

secret!(UserKeys);

/// The key that makes a user's hints: 32 bytes, wiped when dropped. It can neither open nor forge a knock.
#[derive(Clone)]
pub struct HintKey(pub(crate) [u8; KEY_LEN]);

impl Drop for HintKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

secret!(HintKey);

pub(crate) fn extract(gate: &GateName, material: &KeyMaterial) -> ([u8; KEY_LEN], Hkdf<Sha256>) {
    let (mut output, hkdf) =
        Hkdf::<Sha256>::extract(Some(gate.as_str().as_bytes()), material.bytes());
    let prk = output.0;
    output.0.zeroize();
    (prk, hkdf)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn keys(gate: &str, material: &KeyMaterial) -> [[u8; 32]; 3] {
        let keys = UserKeys::derive(&GateName::new(gate).unwrap(), material);
        [keys.hint.0, keys.seal, keys.mac]
    }

    #[test]
    fn public_keys_of_small_order_are_refused() {
        let own = PrivateKey::from_bytes([1; 32]);
        for point in crate::pair::SMALL_ORDER.map(PublicKey::from_bytes) {
            assert!(point.is_of_small_order());
            let mut with_bit = *point.as_bytes();
            with_bit[31] |= 0x80;
            assert!(PublicKey::from_bytes(with_bit).is_of_small_order());
            let at_client = KeyMaterial::pair_at_client(&own, &point, None);
            let at_gate = KeyMaterial::pair_at_gate(&own, &point, None);
            let refused = Some(KeyError::ZeroSecret);
            assert_eq!((at_client.err(), at_gate.err()), (refused, refused));
        }
        // Each of its neighbours is a good key.
        for mut bytes in crate::pair::SMALL_ORDER {
            bytes[15] ^= 4;
            let point = PublicKey::from_bytes(bytes);
            assert!(!point.is_of_small_order());
            assert!(KeyMaterial::pair_at_gate(&own, &point, None).is_ok());
        }
    }

    #[test]
    fn each_gate_name_gives_other_keys() {
        let material = KeyMaterial::shared(&SharedKey::from_bytes([7; 32]));
        let mut all = [keys("one", &material), keys("two", &material)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    /// RFC 5869, appendix A, tests 1 to 3: the first 32 bytes of each output.
    #[test]
    fn hkdf_matches_rfc_5869() {
        let hex = |text: &str| {
            core::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        };
        let bytes = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        for (input, salt, info, prk, output) in [
            (
                vec![0x0b; 22],
                Some(bytes(0, 12)),
                bytes(0xf0, 0xf9),
                "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
            ),
            (
                bytes(0, 0x4f),
                Some(bytes(0x60, 0xaf)),
                bytes(0xb0, 0xff),
                "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c",
            ),
            (
                vec![0x0b; 22],
                None,
                vec![],
                "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d",
            ),
        ] {
            let (extracted, _) = Hkdf::<Sha256>::extract(salt.as_deref(), &input);
            assert_eq!(<[u8; 32]>::from(extracted), hex(prk));
            let mut key = [0; 32];
            RootKey(extracted.into()).expand(&info, &mut key);
            assert_eq!(key, hex(output));
        }
    }
}
