//! The comment on each rule that names its grant: `postern id=17 user=alice until=1760000000000`.
//!
//! Address, target and service are in the rule itself. The user name is the only text from outside in the input of
//! `iptables-restore`, so it is checked here once more.

use std::fmt;

use crate::model::grant::{Grant, GrantId};
use crate::model::time::Timestamp;

/// The longest user name. With it a comment is far below the kernel's 255 bytes.
const USER_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    pub(super) id: GrantId,
    pub(super) user: String,
    pub(super) until: Timestamp,
}

impl Comment {
    /// The comment for a grant, `None` if the user name could end the quotes in the input.
    pub(super) fn new(grant: &Grant) -> Option<Self> {
        is_safe(&grant.user).then(|| Self {
            id: grant.id,
            user: grant.user.clone(),
            until: grant.until,
        })
    }

    /// Reads exactly what [`fmt::Display`] writes, byte for byte.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (id, rest) = text.strip_prefix("postern id=")?.split_once(" user=")?;
        let (user, until) = rest.split_once(" until=")?;
        let comment = Self {
            id: GrantId(id.parse().ok()?),
            user: user.to_owned(),
            until: Timestamp::from_millis(until.parse().ok()?),
        };
        (is_safe(user) && comment.to_string() == text).then_some(comment)
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, user, until } = self;
        write!(f, "postern id={id} user={user} until={}", until.as_millis())
    }
}

fn is_safe(user: &str) -> bool {
    (1..=USER_MAX).contains(&user.len())
        && user
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::adapters::firewall::iptables::tests::grant;

    proptest! {
        #[test]
        fn comment_is_read_back(id: u64, user in "[A-Za-z0-9._@-]{1,64}", until: u64) {
            let comment = Comment { id: GrantId(id), user, until: Timestamp::from_millis(until) };
            let text = comment.to_string();
            prop_assert!(text.len() <= 255);
            prop_assert_eq!(Comment::read(&text), Some(comment));
        }

        #[test]
        fn other_comments_are_refused(text in "postern id=[0-9+]{0,3} user=[a-z\" ]{0,3} until=[0-9 ]{0,3}") {
            if let Some(comment) = Comment::read(&text) {
                prop_assert_eq!(comment.to_string(), text);
            }
        }
    }

    #[test]
    fn names_that_end_the_quotes_are_refused() {
        let long = "x".repeat(65);
        for user in [
            "", "a b", "a\"b", "a\\b", "a\nb", "a'b", "é", "a=b\t", &long,
        ] {
            let grant = grant(1, user, "192.0.2.7/32", &["tcp/22"]);
            assert_eq!(Comment::new(&grant), None, "{user:?}");
            let text = format!("postern id=1 user={user} until=2");
            assert_eq!(Comment::read(&text), None, "{user:?}");
        }
    }
}
