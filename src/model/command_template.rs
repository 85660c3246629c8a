//! A program to run and its arguments, with placeholders that a grant fills in.
//!
//! Owns the text form of an argument and what each placeholder stands for. A value fills a place inside one argument and can
//! never become two, and no shell sees it (invariant 6). Runs nothing by itself and judges only how a run ended (invariant 10).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::grant::Grant;
use crate::model::run::{Call, OUTPUT, Ran, Run};
use crate::model::service::Ports;
use crate::model::time::{Timestamp, millis};

/// A program by its absolute path, and its arguments. Its text form is the list that a config has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CommandTemplate {
    program: PathBuf,
    arguments: Vec<Argument>,
}

/// One argument: text and placeholders.
#[derive(Clone, PartialEq, Eq)]
pub struct Argument(Vec<Part>);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

/// What may stand in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Id,
    User,
    Allow,
    Address,
    Prefix,
    Family,
    Target,
    Protocol,
    First,
    Last,
    Ports,
    Service,
    Until,
    UntilUnix,
    Seconds,
}

const PLACES: [(&str, Place); 15] = [
    ("id", Place::Id),
    ("user", Place::User),
    ("allow", Place::Allow),
    ("address", Place::Address),
    ("prefix", Place::Prefix),
    ("family", Place::Family),
    ("target", Place::Target),
    ("protocol", Place::Protocol),
    ("first", Place::First),
    ("last", Place::Last),
    ("ports", Place::Ports),
    ("service", Place::Service),
    ("until", Place::Until),
    ("until_unix", Place::UntilUnix),
    ("seconds", Place::Seconds),
];

/// Why a text is no argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnArgument {
    /// No placeholder has this name.
    #[error("there is no such placeholder")]
    Unknown(String),
    /// A brace without its other half.
    #[error("a brace stands alone")]
    Brace,
    /// No program can be given a zero byte.
    #[error("there is a zero byte in it")]
    Zero,
}

/// What a template is filled in with: one grant, one of its services, the time.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The grant.
    pub grant: &'a Grant,
    /// One of its services.
    pub ports: Ports,
    /// The time now.
    pub now: Timestamp,
}

/// Every placeholder as a config writes it, for those who wrote another.
pub fn places() -> String {
    PLACES.map(|(name, _)| format!("{{{name}}}")).join(" ")
}

impl Argument {
    /// Reads an argument: `{user}` is a placeholder, `{{` and `}}` are single braces.
    ///
    /// # Errors
    /// What is wrong with the braces.
    pub fn read(text: &str) -> Result<Self, NotAnArgument> {
        if text.contains('\0') {
            return Err(NotAnArgument::Zero);
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some((single, after)) = ["{{", "}}"]
                .into_iter()
                .find_map(|twice| Some((twice.get(1..)?, brace.strip_prefix(twice)?)))
            {
                plain.push_str(single);
                rest = after;
                continue;
            }
            let inside = brace.strip_prefix('{').ok_or(NotAnArgument::Brace)?;
            let (name, after) = inside.split_once('}').ok_or(NotAnArgument::Brace)?;
            let place = PLACES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, place)| *place);
            let place = place.ok_or_else(|| NotAnArgument::Unknown(name.to_owned()))?;
            parts.extend((!plain.is_empty()).then(|| Part::Text(std::mem::take(&mut plain))));
            parts.push(Part::Place(place));
            rest = after;
        }
        plain.push_str(rest);
        parts.extend((!plain.is_empty()).then_some(Part::Text(plain)));
        Ok(Self(parts))
    }

    /// Whether it is the same whatever the grant.
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    fn text(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.replace('{', "{{").replace('}', "}}"),
            Part::Place(place) => {
                let name = PLACES
                    .iter()
                    .find(|(_, known)| known == place)
                    .map_or("", |(name, _)| name);
                format!("{{{name}}}")
            }
        };
        self.0.iter().map(part).collect()
    }

    fn filled(&self, case: Option<&Case<'_>>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Place(place) => case.map(|case| case.value(*place)).unwrap_or_default(),
        };
        self.0.iter().map(part).collect()
    }
}

impl CommandTemplate {
    /// This program with these arguments.
    pub fn new(program: PathBuf, arguments: Vec<Argument>) -> Self {
        Self { program, arguments }
    }

    /// The program's path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The arguments for this case; without one every placeholder is empty.
    pub fn arguments(&self, case: Option<&Case<'_>>) -> Vec<String> {
        self.arguments
            .iter()
            .map(|argument| argument.filled(case))
            .collect()
    }

    /// Runs it to its end, and returns what it wrote to standard output.
    ///
    /// # Errors
    /// That it failed, how, and the first line of what it said.
    pub fn carry_out(&self, run: &mut dyn Run, case: Option<&Case<'_>>) -> Result<String, Failed> {
        let arguments = self.arguments(case);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let call = Call {
            program: &self.program,
            args: &arguments,
            stdin: b"",
            most: OUTPUT,
        };
        let failed = |how: String, hung| Failed {
            line: format!("{} {how}", self.program.display()),
            hung,
        };
        match run.run(&call) {
            Ok(Ran {
                status: Some(0),
                stdout,
                ..
            }) => Ok(stdout),
            Ok(Ran {
                status,
                stdout,
                stderr,
            }) => {
                let how = status.map_or("was ended by a signal".to_owned(), |status| {
                    format!("failed with exit status {status}")
                });
                let said = first_line(&stderr)
                    .or_else(|| first_line(&stdout))
                    .map_or(String::new(), |said| format!(": {said}"));
                Err(failed(how + &said, false))
            }
            Err(error) => Err(failed(
                error.to_string(),
                matches!(error, crate::model::run::RunError::Deadline(_)),
            )),
        }
    }
}

/// A program that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Which program, how it failed and what it said, in one line.
    pub line: String,
    /// Whether its time was up: to run another of its kind at once might take as long.
    pub hung: bool,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// The first line with something in it, without control characters, at most 200 characters of it.
pub fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(
        line.chars()
            .filter(|letter| !letter.is_control())
            .take(200)
            .collect(),
    )
}

impl Case<'_> {
    fn value(&self, place: Place) -> String {
        let Grant {
            id,
            user,
            allow,
            target,
            until,
            ..
        } = self.grant;
        let port = |which: fn((u16, u16)) -> u16| {
            self.ports
                .range()
                .map(which)
                .map_or(String::new(), |port| port.to_string())
        };
        match place {
            Place::Id => id.to_string(),
            Place::User => user.clone(),
            Place::Allow => allow.to_string(),
            Place::Address => allow.addr().to_string(),
            Place::Prefix => allow.prefix_len().to_string(),
            Place::Family => if allow.addr().is_ipv4() { "4" } else { "6" }.to_owned(),
            Place::Target => target.map_or(String::new(), |target| target.to_string()),
            Place::Protocol => self.ports.protocol_name().to_owned(),
            Place::First => port(|(first, _)| first),
            Place::Last => port(|(_, last)| last),
            Place::Ports => match self.ports.range() {
                Some((first, last)) if first < last => format!("{first}-{last}"),
                _ => port(|(first, _)| first),
            },
            Place::Service => self.ports.to_string(),
            Place::Until => {
                Timestamp::from_millis(whole_seconds(until.as_millis()).saturating_mul(1000))
                    .to_string()
            }
            Place::UntilUnix => whole_seconds(until.as_millis()).to_string(),
            Place::Seconds => whole_seconds(millis(until.since(self.now))).to_string(),
        }
    }
}

/// Rounded up: a program that counts in seconds itself must not end before the grant, and to many a program 0 means for ever.
fn whole_seconds(millis: u64) -> u64 {
    millis.div_ceil(1000)
}

impl From<CommandTemplate> for Vec<String> {
    fn from(template: CommandTemplate) -> Self {
        let program = template.program.to_string_lossy().into_owned();
        std::iter::once(program)
            .chain(template.arguments.iter().map(Argument::text))
            .collect()
    }
}

impl TryFrom<Vec<String>> for CommandTemplate {
    type Error = NotAnArgument;

    fn try_from(words: Vec<String>) -> Result<Self, NotAnArgument> {
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default().into();
        let arguments: Result<Vec<Argument>, NotAnArgument> =
            words.map(|text| Argument::read(&text)).collect();
        Ok(Self {
            program,
            arguments: arguments?,
        })
    }
}

/// Arguments are a config's own text and may hold anything, so they are not shown.
impl fmt::Debug for CommandTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Recipe({} with {} arguments)",
            self.program.display(),
            self.arguments.len()
        )
    }
}

impl fmt::Debug for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Argument({} parts)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::grant::GrantId;
    use crate::model::run::RunError;

    fn grant(allow: &str, target: Option<&str>) -> Grant {
        Grant {
            id: GrantId(17),
            user: "alice".to_owned(),
            allow: allow.parse().unwrap(),
            target: target.map(|text| text.parse().unwrap()),
            services: vec!["tcp/22".parse().unwrap()],
            forwards: Vec::new(),
            until: Timestamp::from_millis(1_760_000_000_001),
        }
    }

    fn filled(text: &str, grant: &Grant, ports: &str) -> String {
        let case = Case {
            grant,
            ports: ports.parse().unwrap(),
            now: Timestamp::from_millis(1_759_999_990_000),
        };
        Argument::read(text).unwrap().filled(Some(&case))
    }

    #[test]
    fn every_placeholder_says_what_the_grant_says() {
        let four = grant("192.0.2.0/24", None);
        let six = grant("2001:db8::7/128", Some("fd00::5"));
        for (text, of_four, of_six) in [
            ("{id}", "17", "17"),
            ("{user}", "alice", "alice"),
            ("{allow}", "192.0.2.0/24", "2001:db8::7/128"),
            ("{address}/{prefix}", "192.0.2.0/24", "2001:db8::7/128"),
            ("ip{family}", "ip4", "ip6"),
            ("to={target}", "to=", "to=fd00::5"),
            ("{protocol}:{first}:{last}", "tcp:80:90", "icmpv6::"),
            ("{ports}", "80-90", ""),
            ("{service}", "tcp/80-90", "icmpv6"),
            ("{until}", "2025-10-09T08:53:21Z", "2025-10-09T08:53:21Z"),
            ("{until_unix}", "1760000001", "1760000001"),
            ("timeout {seconds}s", "timeout 11s", "timeout 11s"),
            ("{{ {{user}} }}", "{ {user} }", "{ {user} }"),
            ("", "", ""),
        ] {
            assert_eq!(Argument::read(text).unwrap().text(), text);
            assert_eq!(
                (
                    filled(text, &four, "tcp/80-90"),
                    filled(text, &six, "icmpv6")
                ),
                (of_four.to_owned(), of_six.to_owned()),
                "{text}"
            );
        }
        assert_eq!(filled("{ports} {first}", &four, "tcp/22"), "22 22");
        assert_eq!(PLACES.len(), places().split(' ').count());
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        for (text, wrong) in [
            ("{}", NotAnArgument::Unknown(String::new())),
            ("a{User}", NotAnArgument::Unknown("User".to_owned())),
            ("{ user}", NotAnArgument::Unknown(" user".to_owned())),
            ("{{{x}", NotAnArgument::Unknown("x".to_owned())),
            ("{user", NotAnArgument::Brace),
            ("user}", NotAnArgument::Brace),
            ("{user}}", NotAnArgument::Brace),
            ("a\0", NotAnArgument::Zero),
        ] {
            assert_eq!(Argument::read(text).map(|_| ()), Err(wrong), "{text}");
        }
    }

    struct Ends(Result<Ran, RunError>, Vec<String>);

    impl Run for Ends {
        fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
            self.1 = call.args.iter().map(ToString::to_string).collect();
            self.0.clone()
        }
    }

    #[test]
    fn a_value_stays_inside_its_argument_and_a_failure_says_its_first_line() {
        let arguments = ["{user} {user}", "x"]
            .map(|text| Argument::read(text).unwrap())
            .to_vec();
        let template = CommandTemplate::new("/bin/open".into(), arguments);
        let spaced = Grant {
            user: "a; rm -rf *".to_owned(),
            ..grant("192.0.2.7/32", None)
        };
        let case = Case {
            grant: &spaced,
            ports: spaced.services[0],
            now: Timestamp::default(),
        };
        let ran = |status, stdout: &str, stderr: &str| {
            Ok(Ran {
                status,
                stdout: stdout.to_owned(),
                stderr: stderr.to_owned(),
            })
        };
        let mut run = Ends(ran(Some(0), "done\n", "warned"), Vec::new());
        assert_eq!(
            template.carry_out(&mut run, Some(&case)),
            Ok("done\n".to_owned())
        );
        assert_eq!(run.1, ["a; rm -rf * a; rm -rf *", "x"]);
        for (outcome, line) in [
            (
                ran(Some(3), "out\n", "\n  no\u{1b}[1m set\nmore"),
                "/bin/open failed with exit status 3: no[1m set",
            ),
            (
                ran(Some(1), "out\nmore", ""),
                "/bin/open failed with exit status 1: out",
            ),
            (ran(None, "", ""), "/bin/open was ended by a signal"),
            (
                Err(RunError::Deadline(std::time::Duration::from_secs(5))),
                "/bin/open did not finish within 5s and was killed",
            ),
        ] {
            let hung = matches!(outcome, Err(RunError::Deadline(_)));
            assert_eq!(
                template.carry_out(&mut Ends(outcome, Vec::new()), None),
                Err(Failed {
                    line: line.to_owned(),
                    hung
                })
            );
        }
        assert!(
            !format!("{template:?}").contains("user"),
            "an argument may be anything"
        );
    }
}
