//! A roster at a coordinator: parts of bounded size, and a head that is written last and names them.
//!
//! Nothing here is trusted. What the parts give together is verified like a file.

use crate::model::roster::{ROSTER_MAX, SIGNATURES_TEXT_MAX};

/// The name of the head's value.
pub const HEAD: &str = "roster/head";

/// The longest head.
pub const HEAD_MAX: usize = 128;

/// The longest part. etcd takes no request over 1.5 MB, and base64 makes a third more of it.
pub const PART_MAX: usize = 512 << 10;

/// What the head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub version: u64,
    /// Names the parts: another roster has other parts, so that those of two are never mixed.
    id: String,
    text: usize,
    signatures: usize,
}

impl Head {
    /// `digest` is that of the text and the signatures, in hexadecimal digits.
    pub fn new(version: u64, digest: &str, text: usize, signatures: usize) -> Self {
        Self {
            version,
            id: digest.chars().take(16).collect(),
            text,
            signatures,
        }
    }

    pub fn write(&self) -> String {
        let Self {
            version,
            id,
            text,
            signatures,
        } = self;
        format!("{version} {id} {text} {signatures}")
    }

    /// Reads what [`Head::write`] wrote, if a gate could take such a roster.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(bytes).ok()?;
        let mut words = line.split(' ');
        let mut next = || words.next();
        let head = Self {
            version: next()?.parse().ok()?,
            id: next()?.to_owned(),
            text: next()?.parse().ok()?,
            signatures: next()?.parse().ok()?,
        };
        let is_hex = head.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_bounded = head.text <= ROSTER_MAX && head.signatures <= SIGNATURES_TEXT_MAX;
        let is_whole = words.next().is_none() && head.id.len() == 16;
        (is_hex && is_bounded && is_whole).then_some(head)
    }

    pub fn text(&self) -> usize {
        self.text
    }

    pub fn signatures(&self) -> usize {
        self.signatures
    }

    /// The names of the parts.
    pub fn parts(&self) -> impl Iterator<Item = String> {
        let count = self.text.saturating_add(self.signatures);
        let count = count.div_ceil(PART_MAX);
        (0..count).map(|number| format!("roster/{}/{number:03}", self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_bounded() {
        let head = Head::new(7, "0123456789abcdef99", PART_MAX + 1, 300);
        assert_eq!(Head::read(head.write().as_bytes()), Some(head.clone()));
        let parts: Vec<String> = head.parts().collect();
        let expected = [0, 1].map(|number| format!("roster/0123456789abcdef/00{number}"));
        assert_eq!(parts, expected);
        for line in [
            "",
            "7 0123456789abcdef 1",
            "7 0123456789abcdef 1 1 1",
            "-7 0123456789abcdef 1 1",
            "7 ../456789abcdefff 1 1",
            "7 0123 1 1",
            "7 0123456789abcdef 16777217 1",
            "7 0123456789abcdef 1 65537",
            "7 0123456789abcdef 99999999999999999999 1",
        ] {
            assert_eq!(Head::read(line.as_bytes()), None, "{line}");
        }
    }
}
