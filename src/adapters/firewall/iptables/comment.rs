//! The comment on each rule that names its grant: `postern id=17 user=alice until=1760000000000`.
//!
//! Owns the text and its reading; address, target and service stand in the rule itself. The only place where a name
//! that came from outside is written into the restore input, so it is checked here once more. Pure.

use std::fmt;
use std::str::FromStr;

use crate::model::grant::{Grant, GrantId};
use crate::model::time::Timestamp;

/// Longest user name; with it the comment stays far below the 255 bytes that the kernel takes.
const LONGEST_USER: usize = 64;

/// What a comment says of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    pub(super) id: GrantId,
    user: String,
    pub(super) until: Timestamp,
}

/// The text is not a comment that this driver writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Comment {
    /// The comment for a grant; refused where the user's name could be more than a name inside the restore input.
    pub(super) fn of(grant: &Grant) -> Result<Self, Unreadable> {
        let user = name(&grant.user)?.to_owned();
        Ok(Self {
            id: grant.id,
            user,
            until: grant.until,
        })
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "postern id={} user={} until={}",
            self.id,
            self.user,
            self.until.as_millis()
        )
    }
}

/// Reads only what [`fmt::Display`] writes, byte for byte.
impl FromStr for Comment {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut words = text.split(' ');
        if words.next() != Some("postern") {
            return Err(Unreadable);
        }
        let id = GrantId(number(value(words.next(), "id=")?)?);
        let user = name(value(words.next(), "user=")?)?.to_owned();
        let until = Timestamp::from_millis(number(value(words.next(), "until=")?)?);
        words
            .next()
            .map_or(Ok(Self { id, user, until }), |_| Err(Unreadable))
    }
}

fn value<'a>(word: Option<&'a str>, key: &str) -> Result<&'a str, Unreadable> {
    word.and_then(|word| word.strip_prefix(key))
        .ok_or(Unreadable)
}

fn number(text: &str) -> Result<u64, Unreadable> {
    let number: u64 = text.parse().map_err(|_| Unreadable)?;
    if number.to_string() == text {
        Ok(number)
    } else {
        Err(Unreadable)
    }
}

fn name(text: &str) -> Result<&str, Unreadable> {
    let fits = (1..=LONGEST_USER).contains(&text.len());
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte));
    if fits && is_plain {
        Ok(text)
    } else {
        Err(Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_comment_is_read_back_as_it_was_written(id: u64, user in "[A-Za-z0-9._@-]{1,64}", until: u64) {
            let comment = Comment { id: GrantId(id), user, until: Timestamp::from_millis(until) };
            let text = comment.to_string();
            prop_assert!(text.len() <= 255);
            prop_assert_eq!(text.parse(), Ok(comment));
        }

        #[test]
        fn what_is_read_is_exactly_what_would_be_written(text in "postern id=[0-9+]{0,3} user=[a-z\" ]{0,3} until=[0-9 ]{0,3}") {
            if let Ok(comment) = text.parse::<Comment>() {
                prop_assert_eq!(comment.to_string(), text);
            }
        }
    }

    #[test]
    fn names_that_could_break_out_of_the_quotes_are_refused() {
        for user in [
            "",
            "a b",
            "a\"b",
            "a\\b",
            "a\nb",
            "a'b",
            "é",
            "a=b\t",
            &"x".repeat(65),
        ] {
            let grant = crate::adapters::firewall::iptables::tests::grant(
                1,
                user,
                "192.0.2.7/32",
                &["tcp/22"],
            );
            assert_eq!(Comment::of(&grant), Err(Unreadable), "{user:?}");
        }
    }

    #[test]
    fn other_comments_are_not_taken_for_ours() {
        for text in [
            "",
            "postern",
            "postern id=1 user=a until=2 ",
            "postern id=01 user=a until=2",
            "postern id=1 user= until=2",
            "ssh for bob",
        ] {
            assert_eq!(text.parse::<Comment>(), Err(Unreadable), "{text}");
        }
    }
}
