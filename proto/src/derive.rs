//! Derives a user's three keys from the key material (README.md section 2), once for each user at load time.
//!
//! Never runs for a packet.

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
/// The kind, then Z, C, G and P.
const MATERIAL_MAX: usize = 1 + 4 * KEY_LEN;

/// The input key material of a user. Wiped when dropped.
pub struct KeyMaterial {
    bytes: [u8; MATERIAL_MAX],
    len: usize,
}

impl KeyMaterial {
    /// For a user with a shared key.
    #[must_use]
    pub fn shared(key: &SharedKey) -> Self {
        Self::join(KIND_SHARED, &[key.bytes()])
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
        Self::join(
            KIND_PAIR,
            &[secret, client.as_bytes(), gate.as_bytes(), preshared],
        )
    }

    fn join(kind: u8, parts: &[&[u8; KEY_LEN]]) -> Self {
        let mut material = Self {
            bytes: [0; MATERIAL_MAX],
            len: 1 + parts.len() * KEY_LEN,
        };
        let from = core::iter::once(&kind).chain(parts.iter().copied().flatten());
        for (to, from) in material.bytes.iter_mut().zip(from) {
            *to = *from;
        }
        material
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl Drop for KeyMaterial {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

secret!(KeyMaterial);

/// One user's three keys at one gate: 96 bytes, wiped when dropped.
///
/// Holds no cipher or HMAC state besides: a gate has up to a hundred thousand of these.
pub struct UserKeys {
    hint: HintKey,
    seal: [u8; KEY_LEN],
    mac: [u8; KEY_LEN],
}

impl UserKeys {
    /// Derives the keys that this material gives at this gate.
    #[must_use]
    pub fn derive(gate: &GateName, material: &KeyMaterial) -> Self {
        let (mut prk, hkdf) = extract(gate, material);
        prk.zeroize();
        let mut keys = Self {
            hint: HintKey([0; KEY_LEN]),
            seal: [0; KEY_LEN],
            mac: [0; KEY_LEN],
        };
        expand(&hkdf, b"postern/1 hint", &mut keys.hint.0);
        expand(&hkdf, b"postern/1 seal", &mut keys.seal);
        expand(&hkdf, b"postern/1 mac", &mut keys.mac);
        keys
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

fn expand(hkdf: &Hkdf<Sha256>, info: &[u8], key: &mut [u8; KEY_LEN]) {
    // A zero key would be worse than a panic. HKDF fails only for more than 8,160 bytes.
    if hkdf.expand(info, key).is_err() {
        unreachable!("HKDF-Expand gives 32 bytes");
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn keys(gate: &str, material: &KeyMaterial) -> [[u8; 32]; 3] {
        let keys = UserKeys::derive(&GateName::new(gate).unwrap(), material);
        [keys.hint.0, keys.seal, keys.mac]
    }

    #[test]
    fn a_preshared_key_changes_all_keys() {
        let client = PrivateKey::from_bytes([1; 32]);
        let gate = PrivateKey::from_bytes([2; 32]).public();
        let material = |preshared: Option<[u8; 32]>| {
            let preshared = preshared.map(PresharedKey::from_bytes);
            KeyMaterial::pair_at_client(&client, &gate, preshared.as_ref()).unwrap()
        };
        assert_eq!(material(None).bytes(), material(Some([0; 32])).bytes());
        let (with, without) = (
            keys("gate", &material(Some([3; 32]))),
            keys("gate", &material(None)),
        );
        assert!(
            with.iter()
                .zip(&without)
                .all(|(with, without)| with != without)
        );
    }

    #[test]
    fn public_keys_of_small_order_are_refused() {
        let own = PrivateKey::from_bytes([1; 32]);
        let zero = PublicKey::from_bytes([0; 32]);
        let refused = Some(KeyError::ZeroSecret);
        assert_eq!(
            KeyMaterial::pair_at_client(&own, &zero, None).err(),
            refused
        );
        assert_eq!(KeyMaterial::pair_at_gate(&own, &zero, None).err(), refused);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let material = KeyMaterial::shared(&SharedKey::from_bytes([7; 32]));
        let keys = UserKeys::derive(&GateName::new("gate").unwrap(), &material);
        assert_eq!(size_of::<UserKeys>(), 96);
        let shown = format!("{material:?} {keys:?} {:?}", keys.hint_key());
        assert_eq!(shown, "KeyMaterial(..) UserKeys(..) HintKey(..)");
    }

    #[test]
    fn each_gate_name_gives_other_keys() {
        let material = KeyMaterial::shared(&SharedKey::from_bytes([7; 32]));
        let mut all = [keys("one", &material), keys("two", &material)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }
}
