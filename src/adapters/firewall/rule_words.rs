//! Splits a rule as `iptables-save` prints it into words.

pub(super) struct Word {
    pub(super) text: String,
    pub(super) is_quoted: bool,
}

/// The words of a rule. Double quotes keep spaces; a backslash keeps the next character. `None` if one has no partner.
pub(super) fn words(rule: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut is_inside = false;
    let mut letters = rule.chars();
    while let Some(letter) = letters.next() {
        if letter == ' ' && !is_inside {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert(Word {
            text: String::new(),
            is_quoted: false,
        });
        match letter {
            '"' => {
                is_inside = !is_inside;
                current.is_quoted = true;
            }
            '\\' => current.text.push(letters.next()?),
            letter => current.text.push(letter),
        }
    }
    words.extend(word);
    (!is_inside).then_some(words)
}
