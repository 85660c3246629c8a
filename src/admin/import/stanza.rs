//! From one stanza of access.conf to a user. What cannot be expressed exactly is narrowed or refused, never widened.

use jiff::civil;
use jiff::tz::TimeZone;
use postern_fwknop::is_user_name;

use super::access::Stanza;
use super::converted::{Converted, Opens, Service, Turn, seconds};
use super::ports;
use super::reading::Reading;
use super::rules::Rules;
use super::stanza_keys::{self, Beside};
use super::stanza_services;
use super::table::ACCESS;
use crate::client::profile::{list, quoted};
use crate::model::foreign::{TomlText, Verdict, row};

/// The longest time that a packet can ask for.
const ASKED_MAX: u64 = 65_536;
/// fwknopd's defaults.
const DURATION: u64 = 30;
const MAX_DURATION: u64 = 300;
const USERNAME: &str = "REQUIRE_USERNAME";
/// Converts a stanza, the one of this number, into a user. `rules` are those of fwknopd.conf, `turn` is that of the
/// stanza among those who share its keys.
pub(super) fn convert(
    stanza: &Stanza,
    (number, turn): (usize, Option<Turn>),
    rules: &Rules,
    zone: &TimeZone,
    made: &mut Converted,
) {
    let mut findings = std::mem::take(&mut made.findings);
    let mut reading = Reading {
        stanza,
        findings: &mut findings,
        refused: stanza.refused,
    };
    known_settings(&mut reading);
    check_username(&mut reading);
    let from = source(&mut reading);
    let destination = destination(&mut reading);
    let keys = stanza_keys::read(&mut reading);
    let opens = stanza_services::read(&mut reading, rules);
    let lengths = durations(&mut reading);
    let expires = expires(&mut reading, zone);
    let refused = reading.refused;
    let claimed = reading.is_yes("REQUIRE_SOURCE_ADDRESS") || reading.is_yes("REQUIRE_SOURCE");
    made.findings = findings;
    let (Some(from), Some(keys), Some(opens), false) = (from, keys, opens, refused) else {
        return;
    };
    let mut settings = stanza.settings.iter();
    let user = settings.find(|setting| setting.name == USERNAME);
    let otherwise = format!("fwknop-{number}");
    let wanted = user.map_or(otherwise.as_str(), |user| user.value.as_str());
    let name = made.names.user(wanted, &otherwise);
    let mut beside = Beside {
        username: user.map(|user| user.value.as_str()),
        destination,
        access: Vec::new(),
        max_asked: lengths.max_asked,
        order: turn.map(|turn| turn.order),
    };
    let services = match opens {
        Opens::Ports(ports) => ports,
        Opens::Named(services) => {
            let mut names = Vec::with_capacity(services.len());
            for service in services {
                let Service {
                    asked,
                    end,
                    mut ports,
                    keys,
                } = service;
                if ports.is_empty() {
                    ports.extend(made.own_port());
                }
                if ports.is_empty() {
                    let what = "no port is left that only its program would have";
                    let words = (
                        what,
                        "import fewer stanzas, or write a [service.NAME] for it",
                    );
                    made.findings
                        .add(&stanza.place, None, Verdict::Refuse, words);
                    return;
                }
                let service = made.add_service(&name, &end, &ports, &keys);
                beside
                    .access
                    .extend(asked.map(|asked| (asked, service.clone())));
                names.push(service);
            }
            names
        }
    };
    let mut toml = TomlText::new();
    toml.line("name", &quoted(&name));
    keys.write(&mut toml, &beside);
    toml.line("services", &list(&services));
    toml.line("from", &list(&from));
    // fwknop's packets carry IPv4 addresses only.
    toml.line("networks", "[\"0.0.0.0/0\"]");
    toml.line("duration", &seconds(lengths.usual));
    toml.line("max_duration", &seconds(lengths.longest));
    if claimed {
        toml.line("grant_to", "\"claimed\"");
    }
    if let Some(expires) = expires {
        toml.line("expires", &expires);
    }
    made.add_user(name, &stanza.place, toml, services, turn);
}

/// Reports what the table narrows or refuses, and what it does not know.
fn known_settings(reading: &mut Reading<'_>) {
    let settings = &reading.stanza.settings;
    let has_key = ["KEY", "KEY_BASE64"]
        .iter()
        .any(|key| reading.get(key).is_some());
    let has_nat = reading.get("FORCE_NAT").is_some();
    let runs_commands = reading.is_yes("ENABLE_CMD_EXEC");
    let mut gpg_told = false;
    for (at, setting) in settings.iter().enumerate() {
        let Some(row) = row(&ACCESS, &setting.name).filter(|row| row.name == setting.name) else {
            let cure = "correct its name; fwknopd ignores it, so remove it if it is not needed";
            reading.refuse(setting, "fwknopd has no setting of this name", cure);
            continue;
        };
        if settings
            .iter()
            .take(at)
            .any(|other| other.name == setting.name)
        {
            reading.refuse(
                setting,
                "it is given twice in one stanza",
                "remove one of the two",
            );
            continue;
        }
        let is_switch = setting.name.starts_with("ENABLE_")
            || ["FORWARD_ALL", "DISABLE_DNAT", "GPG_ALLOW_NO_PW"].contains(&row.name);
        let is_gpg = setting.name.starts_with("GPG_");
        let applies = match row.name {
            name if name.starts_with("CMD_EXEC") || name.starts_with("CMD_SUDO") => runs_commands,
            _ => !is_switch || setting.is_yes(),
        };
        match row.verdict {
            _ if !applies => {}
            Verdict::Narrow => reading.findings.add_row(&setting.place, row),
            Verdict::Refuse if is_gpg && std::mem::replace(&mut gpg_told, true) => {}
            Verdict::Refuse if row.name == "FORWARD_ALL" && has_nat => {
                let what = "only the ports of FORCE_NAT lead to the inner host";
                reading.say(setting, Verdict::Narrow, what, row.cure);
            }
            Verdict::Refuse if is_gpg && has_key => {
                reading.say(setting, Verdict::Narrow, row.why, row.cure);
            }
            Verdict::Refuse => reading.refuse(setting, row.why, row.cure),
            Verdict::Ignore | Verdict::Convert => {}
        }
    }
}

fn check_username(reading: &mut Reading<'_>) {
    let Some(setting) = reading.get(USERNAME) else {
        return;
    };
    if !is_user_name(&setting.value) {
        let cure = "write the name that the client sends, 1 to 48 letters, digits and the like";
        reading.refuse(setting, "no packet can state this user name", cure);
    }
}

fn source(reading: &mut Reading<'_>) -> Option<Vec<String>> {
    let Some(setting) = reading.get("SOURCE") else {
        let words = (
            "there is no SOURCE",
            "add it, with ANY or a list of networks",
        );
        let place = &reading.stanza.place;
        reading
            .findings
            .add(place, row(&ACCESS, "SOURCE"), Verdict::Refuse, words);
        reading.refused = true;
        return None;
    };
    let networks = ports::networks(&setting.value);
    if networks.is_none() {
        let cure = "write ANY, or IPv4 addresses and networks with commas between";
        reading.refuse(setting, "this is no list of networks", cure);
    }
    Some(texts_of(&networks?))
}

fn texts_of(networks: &[ipnet::Ipv4Net]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

/// The address of the gate that packets must be sent to; empty for any.
fn destination(reading: &mut Reading<'_>) -> Vec<String> {
    let Some(setting) = reading.get("DESTINATION") else {
        return Vec::new();
    };
    let Some(networks) = ports::networks(&setting.value) else {
        let cure = "write ANY, or IPv4 addresses and networks with commas between";
        reading.refuse(setting, "this is no list of networks", cure);
        return Vec::new();
    };
    if networks.iter().any(|network| network.prefix_len() == 0) {
        return Vec::new();
    }
    texts_of(&networks)
}

/// How long grants last, in seconds.
struct Lengths {
    usual: u64,
    longest: u64,
    /// What clients may ask for, if that is less than `longest`.
    max_asked: Option<u64>,
}

/// fwknopd cuts what a client asks for to MAX_FW_TIMEOUT, but not its own default.
fn durations(reading: &mut Reading<'_>) -> Lengths {
    let most = reading.seconds("MAX_FW_TIMEOUT").unwrap_or(MAX_DURATION);
    let usual = match reading.get("FW_ACCESS_TIMEOUT") {
        // fwknopd takes its default for 0.
        Some(setting) if *setting.value == "0" => DURATION,
        _ => reading.seconds("FW_ACCESS_TIMEOUT").unwrap_or(DURATION),
    };
    if reading.get("CMD_CYCLE_OPEN").is_some() {
        // fwknopd takes these times for a program, and lets clients ask for any.
        let timer = reading.seconds("CMD_CYCLE_TIMER").unwrap_or(DURATION);
        return Lengths {
            usual: timer,
            longest: timer.max(ASKED_MAX),
            max_asked: None,
        };
    }
    Lengths {
        usual,
        longest: usual.max(most),
        max_asked: (most < usual).then_some(most),
    }
}

/// `expires` in RFC 3339.
fn expires(reading: &mut Reading<'_>, zone: &TimeZone) -> Option<String> {
    let day = reading.get("ACCESS_EXPIRE");
    let epoch = reading.get("ACCESS_EXPIRE_EPOCH");
    if let (Some(_), Some(epoch)) = (day, epoch) {
        reading.refuse(
            epoch,
            "ACCESS_EXPIRE is there, too",
            "remove one of the two",
        );
        return None;
    }
    if let Some(day) = day {
        let moment = midnight(&day.value, zone);
        if moment.is_none() {
            reading.refuse(
                day,
                "this is no day",
                "write it like 06/30/2027: month, day, year",
            );
        }
        return moment;
    }
    let epoch = epoch?;
    let seconds = epoch
        .value
        .parse::<i64>()
        .ok()
        .filter(|seconds| *seconds > 0);
    let moment = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    if moment.is_none() {
        let cure = "write the seconds since 1970";
        reading.refuse(epoch, "this is no point in time", cure);
    }
    moment.map(|moment| moment.to_string())
}

/// 00:00 of a day in the zone of the host, where the stanza ends.
fn midnight(text: &str, zone: &TimeZone) -> Option<String> {
    let mut parts = text.split('/');
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    // fwknopd takes 27 for 2027.
    let century = if year.len() <= 2 { 2000 } else { 0 };
    let year = i16::try_from(year.parse::<u16>().ok()?).ok()?;
    let year = year.checked_add(century)?;
    let date = civil::Date::new(year, month.parse().ok()?, day.parse().ok()?).ok()?;
    let is_whole = parts.next().is_none() && date.year() >= 1970;
    let moment = date.to_zoned(zone.clone()).ok().filter(|_| is_whole)?;
    Some(moment.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanza_ends_at_local_midnight() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let ends = |text| midnight(text, &zone);
        assert_eq!(ends("06/30/2027").unwrap(), "2027-06-30T00:00:00+02:00");
        assert_eq!(ends("6/3/2027").unwrap(), "2027-06-03T00:00:00+02:00");
        assert_eq!(ends("06/30/27").unwrap(), "2027-06-30T00:00:00+02:00");
        for text in [
            "",
            "30/06/2027",
            "02/30/2027",
            "2027-06-30",
            "06/30/-1",
            "06/30/2027/1",
        ] {
            assert_eq!(ends(text), None, "{text}");
        }
    }
}
