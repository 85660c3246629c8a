//! Names of users.

use std::fmt;
use std::ops::Deref;

const USER_NAME_MAX: usize = 64;

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

/// Whether a text is a user name: 1 to 64 letters, digits, dots, underscores, hyphens or @, first a letter or digit.
/// So it is also a file name, and neither a path nor hidden.
pub(crate) fn is_user_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts
        && text.len() <= USER_NAME_MAX
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_names_are_kept() {
        for length in 0..=USER_NAME_MAX {
            let name = "ab_".repeat(22).split_off(66 - length);
            let kept = UserName::from(name.as_str());
            assert_eq!((kept.as_str(), kept == name), (name.as_str(), true));
        }
        assert_eq!(size_of::<UserName>(), 24);
    }

    #[test]
    fn user_names_have_limits() {
        for name in ["a", "0", "Alice", "a.b_c-d@e", &"a".repeat(64)] {
            assert!(is_user_name(name), "{name}");
        }
        let long = "a".repeat(65);
        for name in [
            "", ".a", "_a", "-a", "@a", "a/b", "a b", "ä", "aä", "../a", "a\n", &long,
        ] {
            assert!(!is_user_name(name), "{name}");
        }
    }
}
