//! From one stanza of access.conf to a user. What cannot be expressed exactly is narrowed or refused, never widened.

use jiff::civil;
use jiff::tz::TimeZone;
use postern_fwknop::is_user_name;

use super::access::Stanza;
use super::converted::{Converted, seconds};
use super::ports;
use super::reading::Reading;
use super::rules::Rules;
use super::stanza_keys;
use super::stanza_services::{self, Opens};
use super::table::ACCESS;
use crate::client::profile::{list, quoted};
use crate::model::foreign::{TomlText, Verdict, row};

/// fwknopd's defaults.
const DURATION: u64 = 30;
const MAX_DURATION: u64 = 300;
const USERNAME: &str = "REQUIRE_USERNAME";
/// Converts a stanza, the one of this number, into a user. `rules` are those of fwknopd.conf.
pub(super) fn convert(
    stanza: &Stanza,
    number: usize,
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
    let keys = stanza_keys::read(&mut reading);
    let opens = stanza_services::read(&mut reading, rules);
    let (duration, max_duration) = durations(&mut reading);
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
    let services = match opens {
        Opens::Ports(ports) => ports,
        Opens::Named(services) => {
            let add = |(end, ports, keys): (String, Vec<String>, _)| {
                made.add_service(&name, &end, &ports, &keys)
            };
            services.into_iter().map(add).collect()
        }
    };
    let mut toml = TomlText::new();
    toml.line("name", &quoted(&name));
    keys.write(&mut toml, user.map(|user| user.value.as_str()));
    toml.line("services", &list(&services));
    toml.line("from", &list(&from));
    // fwknop's packets carry IPv4 addresses only.
    toml.line("networks", "[\"0.0.0.0/0\"]");
    toml.line("duration", &seconds(duration));
    toml.line("max_duration", &seconds(max_duration));
    if claimed {
        toml.line("grant_to", "\"claimed\"");
    }
    if let Some(expires) = expires {
        toml.line("expires", &expires);
    }
    made.add_user(name, &stanza.place, toml, services);
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
            "DESTINATION" => ports::networks(&setting.value)
                .is_none_or(|networks| networks.iter().all(|network| network.prefix_len() > 0)),
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

/// `duration` and `max_duration`. fwknopd cuts what a client asks for to MAX_FW_TIMEOUT, but not its own default. Postern
/// cuts both, so the default is cut, too: a longer maximum would give clients more than they could ask for.
fn durations(reading: &mut Reading<'_>) -> (u64, u64) {
    let longest = reading.seconds("MAX_FW_TIMEOUT").unwrap_or(MAX_DURATION);
    let setting = reading.get("FW_ACCESS_TIMEOUT");
    let usual = match setting {
        // fwknopd takes its default for 0.
        Some(setting) if *setting.value == "0" => DURATION,
        _ => reading.seconds("FW_ACCESS_TIMEOUT").unwrap_or(DURATION),
    };
    if let Some(timer) = cycle_timer(reading) {
        return (timer, timer);
    }
    let about = setting.or(reading.get("MAX_FW_TIMEOUT"));
    if let Some(setting) = about.filter(|_| usual > longest) {
        let what = format!("a grant lasts {longest} s at most, which is MAX_FW_TIMEOUT");
        let cure = format!("write MAX_FW_TIMEOUT {usual}, if clients may ask for that long");
        reading.say(setting, Verdict::Narrow, &what, &cure);
    }
    (usual.min(longest), longest)
}

/// What fwknopd takes for a program without a firewall rule.
fn cycle_timer(reading: &mut Reading<'_>) -> Option<u64> {
    reading.get("CMD_CYCLE_OPEN")?;
    reading.seconds("CMD_CYCLE_TIMER")
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
    let date = civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    let is_whole = parts.next().is_none() && year.len() == 4 && date.year() >= 1970;
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
        for text in [
            "",
            "30/06/2027",
            "02/30/2027",
            "2027-06-30",
            "06/30/27",
            "06/30/2027/1",
        ] {
            assert_eq!(ends(text), None, "{text}");
        }
    }
}
