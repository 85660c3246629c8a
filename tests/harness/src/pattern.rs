//! Compares what a program printed with a pattern.

/// Fails unless the text is this pattern, in which … is any text.
#[track_caller]
pub fn says(text: &str, pattern: &str) {
    let parts: Vec<String> = pattern.split('…').map(regex::escape).collect();
    let pattern = format!("(?s)^{}$", parts.join(".*"));
    let matches = regex::Regex::new(&pattern).unwrap().is_match(text);
    assert!(matches, "{pattern}\n{text}");
}
