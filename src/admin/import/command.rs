//! Commands of knockd and fwknopd as argument vectors. Nothing is given to a shell, so what only a shell understands is refused.

use crate::model::service::Ports;
use crate::model::time;

/// Why a command cannot become an argument vector, and the cure.
pub(super) type WrongCommand = (String, &'static str);

const SCRIPT: &str = "put it into a script, and write the script's absolute path and its arguments";

/// What only a shell understands.
const SYNTAX: &str = ";|&$`<>()\\*?[]\"'";

const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "ksh", "zsh", "busybox", "env"];

/// Placeholders of fwknopd's CMD_CYCLE_OPEN. Longer ones first: `$PORT` is also the begin of another word.
pub(super) const CYCLE: [(&str, &str); 6] = [
    ("$CLIENT_TIMEOUT", "{seconds}"),
    ("$TIMEOUT", "{until_unix}"),
    ("$PROTO", "{protocol}"),
    ("$PORT", "{first}"),
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

/// What a command does to the firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It lets the address in to these ports.
    Accept(Vec<Ports>),
    /// It takes such a rule away.
    Remove(Vec<Ports>),
    /// It puts the address into a set of nftables, for so many seconds.
    Element(String, Option<u64>),
    /// It takes the address out of a set.
    RemoveElement(String),
    /// Anything else.
    Program,
}

pub(super) fn meaning(words: &[String]) -> Meaning {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((program, arguments)) = words.split_first() else {
        return Meaning::Program;
    };
    let name = program.rsplit('/').next().unwrap_or_default();
    let found = match name {
        "nft" => nft(arguments),
        "iptables" | "iptables-legacy" | "iptables-nft" | "ip6tables" | "ip6tables-legacy"
        | "ip6tables-nft" => iptables(arguments),
        _ => None,
    };
    found.unwrap_or(Meaning::Program)
}

/// A rule of INPUT that accepts ports from the address and has no other condition; `None` for any other.
fn iptables(arguments: &[&str]) -> Option<Meaning> {
    let mut rest = arguments.iter().copied().peekable();
    let (mut deletes, mut chain, mut protocol) = (false, None, None);
    let (mut has_source, mut accepts, mut ports) = (false, false, Vec::new());
    while let Some(option) = rest.next() {
        match option {
            "-w" | "--wait" => {
                rest.next_if(|next| is_number(next));
            }
            "-t" | "--table" => {
                rest.next().filter(|table| *table == "filter")?;
            }
            "-A" | "--append" | "-I" | "--insert" | "-D" | "--delete" => {
                deletes = ["-D", "--delete"].contains(&option);
                chain = rest.next();
                rest.next_if(|next| !deletes && is_number(next));
            }
            "-s" | "--source" | "--src" => {
                let hosts = ["{address}", "{address}/32", "{address}/128"];
                has_source = hosts.contains(&rest.next()?);
            }
            "-p" | "--protocol" | "--proto" => {
                protocol = rest.next().filter(|name| ["tcp", "udp"].contains(name));
                protocol?;
            }
            "-m" | "--match" => {
                let harmless = ["tcp", "udp", "multiport", "state", "conntrack", "comment"];
                rest.next().filter(|name| harmless.contains(name))?;
            }
            "--comment" => {
                rest.next()?;
            }
            "--state" | "--ctstate" => {
                rest.next()
                    .filter(|states| states.split(',').any(|one| one == "NEW"))?;
            }
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                for one in rest.next()?.split(',') {
                    ports.push(one.replace(':', "-"));
                }
            }
            "-j" | "--jump" => accepts = rest.next()? == "ACCEPT",
            _ => return None,
        }
    }
    let ports = ports
        .iter()
        .map(|port| format!("{}/{port}", protocol?).parse().ok());
    let ports: Vec<Ports> = ports.collect::<Option<_>>()?;
    if chain != Some("INPUT") || !has_source || !accepts || ports.is_empty() {
        return None;
    }
    Some(if deletes {
        Meaning::Remove(ports)
    } else {
        Meaning::Accept(ports)
    })
}

fn nft(arguments: &[&str]) -> Option<Meaning> {
    match arguments {
        [
            "add" | "insert",
            "rule",
            "ip" | "ip6" | "inet",
            _,
            chain,
            "ip" | "ip6",
            "saddr",
            "{address}",
            protocol @ ("tcp" | "udp"),
            "dport",
            port,
            rest @ ..,
        ] if chain.eq_ignore_ascii_case("input") => {
            let accepts = matches!(rest, ["accept"] | ["counter", "accept"]);
            let port = format!("{protocol}/{port}").parse().ok()?;
            accepts.then_some(Meaning::Accept(vec![port]))
        }
        [
            change @ ("add" | "delete"),
            "element",
            family,
            table,
            set,
            rest @ ..,
        ] => {
            let inside = rest.join(" ");
            let inside = inside.strip_prefix("{{")?.strip_suffix("}}")?.trim();
            let (address, timeout) = inside.split_once(' ').unwrap_or((inside, ""));
            let set = format!("{family} {table} {set}");
            match (*change, address, timeout.trim().strip_prefix("timeout ")) {
                ("delete", "{address}", None) => Some(Meaning::RemoveElement(set)),
                ("add", "{address}", None) if timeout.is_empty() => {
                    Some(Meaning::Element(set, None))
                }
                ("add", "{address}", Some(timeout)) => {
                    let length = time::parse_duration(timeout).ok()?;
                    Some(Meaning::Element(set, Some(length.as_secs().max(1))))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(text: &str) -> Meaning {
        meaning(&words(text, &KNOCKD).unwrap())
    }

    #[test]
    fn rules_that_accept_ports_are_known() {
        let ports = |text: &str| text.split(' ').map(|one| one.parse().unwrap()).collect();
        let accept = |text: &str| Meaning::Accept(ports(text));
        for (text, expected) in [
            (
                "/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
                accept("tcp/22"),
            ),
            (
                "iptables -w -I INPUT 1 -p udp -s %IP%/32 --dport 60000:61000 -j ACCEPT",
                accept("udp/60000-61000"),
            ),
            (
                "/usr/sbin/ip6tables -t filter -A INPUT -p tcp -m multiport --dports 80,443 -s %IP% -m state --state NEW -m comment --comment 'by knock' -j ACCEPT",
                accept("tcp/80 tcp/443"),
            ),
            (
                "iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
                Meaning::Remove(ports("tcp/22")),
            ),
            (
                "nft add rule inet filter input ip saddr %IP% tcp dport 22 accept",
                accept("tcp/22"),
            ),
            (
                "nft add element inet filter knock { %IP% }",
                Meaning::Element("inet filter knock".into(), None),
            ),
            (
                "nft add element ip nat knock {%IP% timeout 1m}",
                Meaning::Element("ip nat knock".into(), Some(60)),
            ),
            (
                "nft delete element inet filter knock '{ %IP% }'",
                Meaning::RemoveElement("inet filter knock".into()),
            ),
        ] {
            assert_eq!(means(text), expected, "{text}");
        }
    }

    #[test]
    fn other_rules_stay_programs() {
        for text in [
            "iptables -A INPUT -p tcp --dport 22 -j ACCEPT",
            "iptables -A INPUT -s %IP% -j ACCEPT",
            "iptables -A KNOCK -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -A INPUT -i eth0 -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -A INPUT ! -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -A INPUT -s %IP% -p tcp --dport 22 -j DROP",
            "iptables -A INPUT -s %IP% -p tcp --dport ssh -j ACCEPT",
            "iptables -A INPUT -s %IP% -p tcp --dport 22 --state ESTABLISHED -j ACCEPT",
            "iptables -t nat -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -A",
            "nft add rule inet filter input tcp dport 22 accept",
            "nft add element inet filter knock { %IP%, 10.0.0.1 }",
            "ipset add knock %IP%",
            "/bin/true",
        ] {
            assert_eq!(means(text), Meaning::Program, "{text}");
        }
    }

    #[test]
    fn placeholders_and_quotes_become_arguments() {
        let made = words("/bin/a '$x' \"b {c} d\" -%IP%- !", &KNOCKD).unwrap();
        assert_eq!(made, ["/bin/a", "$x", "b {{c}} d", "-{address}-", "!"]);
        let made = words(
            "/bin/touch /tmp/$SRC_$PORT.$PROTO $TIMEOUT $CLIENT_TIMEOUT",
            &CYCLE,
        );
        let expected = "/bin/touch /tmp/{address}_{first}.{protocol} {until_unix} {seconds}";
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
