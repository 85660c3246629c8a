//! Commands of knockd and fwknopd as argument vectors. Nothing is given to a shell, so what only a shell understands is refused.

/// Why a command cannot become an argument vector, and the cure.
pub(super) type WrongCommand = (String, &'static str);

const SCRIPT: &str = "put it into a script, and write the script's absolute path and its arguments";

/// What only a shell understands.
const SYNTAX: &str = ";|&$`<>()\\*?[]\"'";

const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "ksh", "zsh", "busybox", "env"];

/// Placeholders of fwknopd's CMD_CYCLE_OPEN, without those of the port. Longer ones first.
pub(super) const CYCLE: [(&str, &str); 4] = [
    ("$CLIENT_TIMEOUT", "{seconds}"),
    ("$TIMEOUT", "{until_unix}"),
    ("$SRC", "{address}"),
    ("$IP", "{address}"),
];
pub(super) const KNOCKD: [(&str, &str); 1] = [("%IP%", "{address}")];

/// The argument vector of a command line, with the placeholders of a config of Postern.
pub(super) fn words(
    text: &str,
    placeholders: &[(&str, &str)],
) -> Result<Vec<String>, WrongCommand> {
    for unknown in ["$PKT_SRC", "$DST"] {
        if text.contains(unknown) {
            let what = format!("Postern has no value for {unknown}");
            return Err((what, "use $IP, the address that is let in"));
        }
    }
    let mut text = text.replace('{', "{{").replace('}', "}}");
    for (from, to) in placeholders {
        text = text.replace(from, to);
    }
    let words = split(&text)?;
    let program = words.first().map_or("", String::as_str);
    let name = program.rsplit('/').next().unwrap_or_default();
    if SHELLS.contains(&name) {
        return Err((format!("the command runs {name}"), SCRIPT));
    }
    Ok(words)
}

fn split(text: &str) -> Result<Vec<String>, WrongCommand> {
    let shell = |letter: char| {
        let what = format!("the command has {letter:?}, which only a shell understands");
        Err((what, SCRIPT))
    };
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (Some('"'), '$' | '`' | '\\') => return shell(letter),
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '~' | '#') if word.is_none() => return shell(letter),
            (None, _) if SYNTAX.contains(letter) || letter.is_control() => return shell(letter),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    match (quote, words.first()) {
        (Some(quote), _) => shell(quote),
        (None, None) => Err(("the command is empty".to_owned(), "remove the line")),
        (None, Some(first)) if first.contains('=') => shell('='),
        (None, Some(_)) => Ok(words),
    }
}

/// Programs of a config are named by their absolute paths.
pub(super) fn absolute(words: Vec<String>) -> Result<Vec<String>, WrongCommand> {
    let program = words.first().map_or("", String::as_str);
    if program.starts_with('/') && !program.contains(['{', '}']) {
        return Ok(words);
    }
    let what = "the program is not named by its absolute path".to_owned();
    Err((what, "write the path in front, such as /usr/sbin/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_quotes_become_arguments() {
        let made = words("/bin/a '$x' \"b {c} d\" -%IP%- !", &KNOCKD).unwrap();
        assert_eq!(made, ["/bin/a", "$x", "b {{c}} d", "-{address}-", "!"]);
        let made = words("/bin/touch /tmp/$SRC_ $TIMEOUT $CLIENT_TIMEOUT", &CYCLE);
        let expected = "/bin/touch /tmp/{address}_ {until_unix} {seconds}";
        assert_eq!(made.unwrap().join(" "), expected);
    }

    #[test]
    fn shell_syntax_is_refused() {
        for text in [
            "",
            " ",
            "/bin/a; b",
            "/bin/a|b",
            "/bin/a & b",
            "/bin/a $HOME",
            "/bin/a `b`",
            "/bin/a >b",
            "/bin/a <b",
            "(/bin/a)",
            "/bin/a \\x",
            "/bin/a *",
            "/bin/a ?",
            "/bin/a [b]",
            "/bin/a ~",
            "/bin/a #",
            "A=b /bin/a",
            "/bin/a 'b",
            "/bin/a \"$(b)\"",
            "/bin/sh -c a",
            "/usr/bin/env a",
            "/bin/a $PKT_SRC",
            "/bin/a $DST",
        ] {
            assert!(words(text, &KNOCKD).is_err(), "{text}");
        }
        assert!(
            absolute(vec!["a".into()]).is_err() && absolute(vec!["/{address}".into()]).is_err()
        );
        assert!(absolute(vec!["/a".into()]).is_ok());
    }
}
