//! Texts of others that a terminal or a log may show.

/// Replaces control and directional characters in texts of a JSON value by spaces. An engine may be hostile, and root's terminal and log
/// show what it says.
/// A control character may be escaped, or literal where JSON allows that.
pub(crate) fn harmless_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    let mut letters = json.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '\\' { letters.next() } else { None }) {
            ('\\', Some('b' | 'f' | 'r')) => plain.push(' '),
            ('\\', Some('u')) => {
                let digits: String = letters.by_ref().take(4).collect();
                let meant = u32::from_str_radix(&digits, 16).ok();
                match meant.and_then(char::from_u32) {
                    Some(letter) if is_control(letter) => plain.push(' '),
                    _ => plain.extend(["\\u", &digits]),
                }
            }
            ('\\', Some(other)) => plain.extend(['\\', other]),
            (letter, _) => plain.push(if is_control(letter) { ' ' } else { letter }),
        }
    }
    plain
}

/// Control characters, and those that change the direction or hide text, except new lines and tabs.
fn is_control(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => true,
        letter => letter.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answer_has_no_control_characters(text in r#"[\x00-\x1f\x7f-\u{9f}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{61c}\u{feff}a"\\\\u0é🚪]{0,20}"#) {
            let expected: String = text.chars().map(|letter| if is_control(letter) { ' ' } else { letter }).collect();
            let digits: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            for json in [serde_json::to_string(&text).unwrap(), format!("\"{digits}\"")] {
                let read: String = serde_json::from_str(&harmless_json(&json)).unwrap();
                prop_assert_eq!(&read, &expected, "{}", json);
            }
        }
    }

    #[test]
    fn invalid_json_stays_invalid() {
        for json in ["", "\\", "\"\\u00", "\"\\u+01b\"\\", "{\"a\u{1b}", "hello"] {
            assert!(
                serde_json::from_str::<serde_json::Value>(&harmless_json(json)).is_err(),
                "{json:?}"
            );
        }
    }
}
