//! From one door of knockd.conf to a user with a sequence.

use super::command::{self, KNOCKD as PLACEHOLDERS};
use super::command_meaning::{self, Meaning};
use super::converted::{Converted, LONGEST, ServiceKeys, seconds, texts};
use super::knockd::Door;
use super::table::KNOCKD;
use crate::client::profile::{list, quoted};
use crate::model::foreign::{Findings, Setting, TomlText, Verdict, row};

const SEQUENCE_TIMEOUT: u64 = 25;
const SEQUENCE_TIMEOUT_MAX: u64 = 300;
const CMD_TIMEOUT: u64 = 10;
/// A rule that nothing deletes becomes a grant of this length.
const ENDLESS: u64 = 3600;
/// What a sequence runs that only closes.
const CLOSE: [&str; 4] = ["/usr/bin/posternd", "close", "--address", "{address}"];
const HITS_MAX: usize = 32;
const FLAGS: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];

struct Reading<'a> {
    door: &'a Door,
    findings: &'a mut Findings,
    refused: bool,
}

/// What a door does.
enum Does {
    Accepts(Vec<String>, u64),
    Runs(ServiceKeys, u64),
}

pub(super) fn convert(door: &Door, made: &mut Converted) {
    let mut findings = std::mem::take(&mut made.findings);
    let mut reading = Reading {
        door,
        findings: &mut findings,
        refused: door.refused,
    };
    reading.check_names();
    let sequence = reading.sequence();
    let flags = reading.flags();
    let timeout = reading.seconds(&["Seq_Timeout", "Timeout"], SEQUENCE_TIMEOUT_MAX);
    let does = reading.does();
    let networks = reading.networks(does.as_ref());
    let refused = reading.refused;
    made.findings = findings;
    let (Some(sequence), Some(does), false) = (sequence, does, refused) else {
        return;
    };
    let name = made.names.user(&door.name, "knockd");
    let (services, duration) = match does {
        Does::Accepts(ports, duration) => (ports, duration),
        Does::Runs(keys, duration) => {
            let Some(port) = made.own_port() else {
                let what = "no port is left that only its program would have";
                let words = (what, "import fewer doors, or write a [service.NAME] for it");
                made.findings.add(&door.place, None, Verdict::Refuse, words);
                return;
            };
            (vec![made.add_service(&name, "", &[port], &keys)], duration)
        }
    };
    let mut toml = TomlText::new();
    toml.line("name", &quoted(&name));
    toml.line(sequence.0, &sequence.1);
    toml.line(
        "sequence_timeout",
        &seconds(timeout.unwrap_or(SEQUENCE_TIMEOUT)),
    );
    if !flags.is_empty() {
        toml.line("tcp_flags", &list(&flags));
    }
    toml.line("services", &list(&services));
    toml.line("networks", networks);
    toml.line("duration", &seconds(duration));
    // A sequence cannot ask for a duration.
    toml.line("max_duration", &seconds(duration));
    made.add_user(name, &door.place, toml, services, None);
}

impl<'a> Reading<'a> {
    /// The first of these names that the door has.
    fn get(&self, names: &[&str]) -> Option<&'a Setting> {
        let mut settings = self.door.settings.iter();
        settings.find(|setting| names.contains(&setting.name.as_str()))
    }

    fn say(&mut self, setting: &Setting, verdict: Verdict, what: &str, cure: &str) {
        let row = row(&KNOCKD, &setting.name);
        self.findings
            .add(&setting.place, row, verdict, (what, cure));
        self.refused |= verdict == Verdict::Refuse;
    }

    fn refuse(&mut self, setting: &Setting, what: &str, cure: &str) {
        self.say(setting, Verdict::Refuse, what, cure);
    }

    fn refuse_door(&mut self, what: &str, cure: &str) {
        let words = (what, cure);
        self.findings
            .add(&self.door.place, None, Verdict::Refuse, words);
        self.refused = true;
    }

    fn check_names(&mut self) {
        const SAME: [[&str; 2]; 3] = [
            ["Seq_Timeout", "Timeout"],
            ["Start_Command", "Command"],
            ["Start_Command_6", "Command_6"],
        ];
        let settings = &self.door.settings;
        for (at, setting) in settings.iter().enumerate() {
            let name = setting.name.as_str();
            let pair = SAME.iter().find(|pair| pair.contains(&name));
            let names = pair.map_or(vec![name], |pair| pair.to_vec());
            let mut earlier = settings.iter().take(at);
            if earlier.any(|other| names.contains(&other.name.as_str())) {
                self.refuse(
                    setting,
                    "it is given twice in one door",
                    "remove one of the two",
                );
            }
        }
        if let Some((setting, row)) = self.get(&["Target"]).zip(row(&KNOCKD, "Target")) {
            self.refuse(setting, row.why, row.cure);
        }
    }

    /// The key of the sequence and its value.
    fn sequence(&mut self) -> Option<(&'static str, String)> {
        let one_time = self.get(&["One_Time_Sequences"]);
        let sequence = match (self.get(&["Sequence"]), one_time) {
            (Some(_), Some(one_time)) => {
                self.refuse(one_time, "Sequence is there, too", "remove one of the two");
                return None;
            }
            (None, Some(one_time)) => return Some(("sequences_file", quoted(&one_time.value))),
            (None, None) => {
                self.refuse_door("the door has no sequence", "add Sequence, or remove it");
                return None;
            }
            (Some(sequence), None) => sequence,
        };
        let hits = hits(&sequence.value);
        if hits.is_none() {
            let cure = "write 1 to 32 ports with commas between, like 7000,8000:udp";
            self.refuse(sequence, "this is no sequence of ports", cure);
        }
        Some(("sequence", list(&hits?)))
    }

    fn flags(&mut self) -> Vec<String> {
        let Some(setting) = self.get(&["TCPFlags"]) else {
            return Vec::new();
        };
        let flags = setting
            .value
            .split(',')
            .map(|flag| flag.trim().to_ascii_lowercase());
        let flags: Vec<String> = flags.collect();
        let is_flag = |flag: &String| FLAGS.contains(&flag.strip_prefix('!').unwrap_or(flag));
        if !flags.iter().all(is_flag) {
            let cure = "write fin, syn, rst, psh, ack or urg, with ! in front for without";
            self.refuse(setting, "this is no list of TCP flags", cure);
        }
        let is_both = |flag: &String| flags.contains(&format!("!{flag}"));
        if flags.iter().any(is_both) {
            let what = "no packet has a flag both set and not set";
            self.refuse(setting, what, "write each flag once");
        }
        flags
    }

    fn seconds(&mut self, names: &[&str], most: u64) -> Option<u64> {
        let setting = self.get(names)?;
        match setting.value.parse::<u64>() {
            Ok(length) if (1..=most).contains(&length) => Some(length),
            Ok(length) if length > most => {
                let what = format!("the gate keeps {most} s at most");
                self.say(
                    setting,
                    Verdict::Narrow,
                    &what,
                    "nothing to do if that is enough",
                );
                Some(most)
            }
            _ => {
                let cure = format!("write a whole number of seconds, from 1 to {most}");
                self.refuse(setting, "the gate cannot keep this length of time", &cure);
                None
            }
        }
    }

    fn does(&mut self) -> Option<Does> {
        let start = self.get(&["Start_Command", "Command"]);
        let (start, stop) = match (start, self.get(&["Start_Command_6", "Command_6"])) {
            (Some(start), _) => (start, self.get(&["Stop_Command"])),
            (None, Some(start)) => (start, self.get(&["Stop_Command_6"])),
            (None, None) => {
                self.refuse_door(
                    "the door runs no command",
                    "add Start_Command, or remove it",
                );
                return None;
            }
        };
        let timeout = self
            .seconds(&["Cmd_Timeout"], LONGEST)
            .unwrap_or(CMD_TIMEOUT);
        let opening = self.words(start)?;
        let closing = match stop {
            Some(stop) => Some(self.words(stop)?),
            None => None,
        };
        let closes = closing.as_deref().map(command_meaning::meaning);
        match (command_meaning::meaning(&opening), closes) {
            (Meaning::Accept(ports), Some(Meaning::Remove(removed))) if ports == removed => {
                Some(Does::Accepts(texts(&ports), timeout))
            }
            (Meaning::Accept(ports), None) => {
                let what = "nothing deletes this rule, but every grant ends, here after 1h";
                let cure = "write another duration for this user, 720h at most";
                self.say(start, Verdict::Narrow, what, cure);
                Some(Does::Accepts(texts(&ports), ENDLESS))
            }
            (Meaning::Remove(_) | Meaning::RemoveElement(_), None) => {
                let what = "the sequence closes all grants of its address, not only one rule";
                let cure = "nothing to do, or remove the user: grants end by themselves, too";
                self.say(start, Verdict::Narrow, what, cure);
                let keys = ServiceKeys {
                    on_open: Some(CLOSE.map(str::to_owned).to_vec()),
                    ..ServiceKeys::default()
                };
                Some(Does::Runs(keys, timeout))
            }
            (Meaning::Remove(_) | Meaning::RemoveElement(_), Some(_)) => {
                let what = "the sequence closes first and opens later";
                self.refuse(
                    start,
                    what,
                    "write a door that opens, with another sequence",
                );
                None
            }
            (Meaning::Element(set, length), closes) => {
                let length = match (length, closes) {
                    (None, Some(Meaning::RemoveElement(other))) if other == set => timeout,
                    (Some(length), None) => length.min(LONGEST),
                    (None, None) => {
                        let what =
                            "nothing takes the element away, but every grant ends, here after 1h";
                        let cure = "write another duration for this user, 720h at most";
                        self.say(start, Verdict::Narrow, what, cure);
                        ENDLESS
                    }
                    _ => return self.program(opening, closing, start, stop, timeout),
                };
                let keys = ServiceKeys {
                    nft_set: Some(set),
                    ..ServiceKeys::default()
                };
                Some(Does::Runs(keys, length))
            }
            _ => self.program(opening, closing, start, stop, timeout),
        }
    }

    fn program(
        &mut self,
        opening: Vec<String>,
        closing: Option<Vec<String>>,
        start: &Setting,
        stop: Option<&Setting>,
        timeout: u64,
    ) -> Option<Does> {
        let on_open = self.absolute(start, opening)?;
        let on_close = match closing.zip(stop) {
            Some((words, stop)) => Some(self.absolute(stop, words)?),
            None => None,
        };
        let keys = ServiceKeys {
            on_open: Some(on_open),
            on_close,
            ..ServiceKeys::default()
        };
        Some(Does::Runs(keys, timeout))
    }

    fn words(&mut self, setting: &Setting) -> Option<Vec<String>> {
        let words = command::words(&setting.value, &PLACEHOLDERS);
        words
            .map_err(|(what, cure)| self.refuse(setting, &what, cure))
            .ok()
    }

    fn absolute(&mut self, setting: &Setting, words: Vec<String>) -> Option<Vec<String>> {
        let words = command::absolute(words);
        words
            .map_err(|(what, cure)| self.refuse(setting, &what, cure))
            .ok()
    }

    /// IPv6 counts only where its commands open the same ports as those for IPv4.
    fn networks(&mut self, does: Option<&Does>) -> &'static str {
        const V4: &str = "[\"0.0.0.0/0\"]";
        let start = self.get(&["Start_Command_6", "Command_6"]);
        let stop = self.get(&["Stop_Command_6"]);
        match (self.get(&["Start_Command", "Command"]), start) {
            (None, Some(_)) => "[\"::/0\"]",
            (_, None) => {
                if let Some((stop, row)) = stop.zip(row(&KNOCKD, "Stop_Command_6")) {
                    self.findings.add_row(&stop.place, row);
                }
                V4
            }
            (Some(_), Some(start)) => {
                let opens = self
                    .words(start)
                    .map(|words| command_meaning::meaning(&words));
                let closes = match stop {
                    Some(stop) => self
                        .words(stop)
                        .map(|words| command_meaning::meaning(&words)),
                    None => None,
                };
                let same = match (opens, does, closes, self.get(&["Stop_Command"]), stop) {
                    (
                        Some(Meaning::Accept(ports)),
                        Some(Does::Accepts(accepted, _)),
                        closes,
                        four,
                        six,
                    ) => {
                        let removed =
                            closes.is_none_or(|closes| closes == Meaning::Remove(ports.clone()));
                        texts(&ports) == *accepted && removed && four.is_some() == six.is_some()
                    }
                    _ => false,
                };
                if same {
                    return "[\"0.0.0.0/0\", \"::/0\"]";
                }
                if let Some(row) = row(&KNOCKD, &start.name) {
                    self.findings.add_row(&start.place, row);
                }
                V4
            }
        }
    }
}

/// The hits of a sequence as the config has them.
fn hits(text: &str) -> Option<Vec<String>> {
    let hits = text.split(',').map(|hit| {
        let hit = hit.trim();
        let (port, protocol) = hit.split_once(':').unwrap_or((hit, "tcp"));
        let port: u16 = port.trim().parse().ok().filter(|port| *port > 0)?;
        let protocol = protocol.trim().to_ascii_lowercase();
        ["tcp", "udp"]
            .contains(&protocol.as_str())
            .then(|| format!("{protocol}/{port}"))
    });
    let hits: Vec<String> = hits.collect::<Option<_>>()?;
    (hits.len() <= HITS_MAX).then_some(hits)
}
