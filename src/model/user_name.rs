//! Which texts name a user.

const USER_NAME_MAX: usize = 64;

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
