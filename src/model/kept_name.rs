//! Names of users as the gate keeps them.

use std::fmt;
use std::ops::Deref;

/// Bytes of a name that need no allocation of their own.
const SHORT_MAX: usize = 22;

/// The name of a user, in 24 bytes. A gate may have millions of them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserName(Text);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<str>),
}

impl From<&str> for UserName {
    fn from(name: &str) -> Self {
        let mut bytes = [0; SHORT_MAX];
        let len = u8::try_from(name.len()).ok();
        match len.zip(bytes.get_mut(..name.len())) {
            Some((len, to)) => {
                to.copy_from_slice(name.as_bytes());
                Self(Text::Short { len, bytes })
            }
            None => Self(Text::Long(name.into())),
        }
    }
}

impl Deref for UserName {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Short { len, bytes } => {
                let bytes = bytes.get(..usize::from(*len)).unwrap_or_default();
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            Text::Long(text) => text,
        }
    }
}

impl UserName {
    pub fn as_str(&self) -> &str {
        self
    }
}

impl PartialEq<str> for UserName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for UserName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for UserName {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_names_are_kept() {
        for length in 0..=64 {
            let name = "ab_".repeat(22).split_off(66 - length);
            let kept = UserName::from(name.as_str());
            assert_eq!((kept.as_str(), kept == name), (name.as_str(), true));
        }
        assert_eq!(size_of::<UserName>(), 24);
    }
}
