//! The oracle's second side: what a gate with the imported users and services opens.

use ipnet::Ipv4Net;
use toml::Value;

use super::oracle::{NOW, Opened, Outcome, Request};
use super::*;

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect()
}

fn user_opens(user: &toml::Table, services: &toml::Table, request: &Request) -> Option<Outcome> {
    let fwknop = user["fwknop"].as_table().unwrap();
    let text = |table: &toml::Table, key: &str| {
        table
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mode = Some(text(fwknop, "mode")).filter(|mode| !mode.is_empty());
    let keys = [
        text(fwknop, "key"),
        text(fwknop, "hmac_key"),
        text(fwknop, "hmac"),
        mode.unwrap_or("cbc".into()),
    ];
    let inside = |list: Vec<String>, address| {
        list.is_empty()
            || list
                .iter()
                .any(|net| net.parse::<Ipv4Net>().unwrap().contains(&address))
    };
    let day = user.get("expires").map(|end| {
        let date = end.as_datetime().unwrap().date.unwrap();
        [
            i64::from(date.year),
            i64::from(date.month),
            i64::from(date.day),
        ]
    });
    let states = fwknop
        .get("username")
        .is_none_or(|name| name.as_str() == Some(request.user));
    if keys != request.keys
        || !inside(texts(user.get("from")), request.source)
        || !inside(texts(fwknop.get("destination")), request.to)
        || day.is_some_and(|day| day <= NOW.1)
        || !states
        || user.contains_key("grant_to") && !request.claims
    {
        return None;
    }
    let mine = texts(user.get("services"));
    let holds = |range: &str, (protocol, port): (&str, u16)| {
        let (name, range) = range.split_once('/').unwrap();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        name == protocol && (first.parse().unwrap()..=last.parse().unwrap()).contains(&port)
    };
    let forward = |service: &toml::Table| {
        let (host, port) = service.get("forward")?.as_str()?.split_once(':')?;
        Some((host.parse().unwrap(), port.parse().unwrap()))
    };
    let mut opened = Vec::new();
    for &(protocol, port) in &request.ports {
        let access = fwknop.get("access").and_then(Value::as_table);
        let mapped =
            access.and_then(|map| map.get(&format!("{protocol}/{port}")).or(map.get("any")));
        let mapped = mapped.and_then(Value::as_str);
        match (request.nat, mapped) {
            (Some(to), _) => {
                let leads = |name: &&String| {
                    let service = services.get(*name).and_then(Value::as_table);
                    service.is_some_and(|one| {
                        forward(one) == Some(to)
                            && texts(one.get("ports")) == [format!("{protocol}/{port}")]
                    })
                };
                mine.iter().find(leads)?;
                opened.push(Opened::Forward(protocol, port, to));
            }
            (None, Some(name)) => {
                assert!(mine.contains(&name.to_owned()));
                let service = services[name].as_table().unwrap();
                if let Some(program) = texts(service.get("on_open")).first() {
                    assert!(texts(service.get("ports"))[0].starts_with("udp/"));
                    opened.push(Opened::Program(program.clone()));
                } else {
                    opened.push(Opened::Forward(protocol, port, forward(service)?));
                }
            }
            (None, None) => {
                let is_plain = mine
                    .iter()
                    .any(|range| range.contains('/') && holds(range, (protocol, port)));
                let named = mine
                    .iter()
                    .filter_map(|name| services.get(name)?.as_table());
                let at = format!("{protocol}/{port}");
                let mut there = named.filter(|one| texts(one.get("ports")) == [at.as_str()]);
                opened.push(if is_plain {
                    Opened::Port(protocol, port)
                } else {
                    Opened::Forward(protocol, port, there.find_map(forward)?)
                });
            }
        }
    }
    opened.dedup();
    let seconds = |table: &toml::Table, key: &str| {
        let text = table.get(key)?.as_str()?.strip_suffix('s')?;
        text.parse::<u64>().ok()
    };
    let (usual, most) = (seconds(user, "duration")?, seconds(user, "max_duration")?);
    let length = match request.asked {
        0 => usual,
        asked => asked.min(seconds(fwknop, "max_asked").unwrap_or(most)),
    };
    Some((opened, length.min(most)))
}

/// What a gate with these users and services opens.
pub(super) fn after(made: &Converted) -> impl Fn(&Request) -> Outcome {
    let mut users: Vec<toml::Table> = made
        .users
        .iter()
        .map(|user| user.toml.full.parse().unwrap())
        .collect();
    users.sort_by_key(|user| user["fwknop"].get("order").and_then(Value::as_integer));
    let mut services = toml::Table::new();
    for service in &made.services {
        let one: toml::Table = service.toml.full.parse().unwrap();
        services.extend(one["service"].as_table().unwrap().clone());
    }
    move |request| {
        users
            .iter()
            .find_map(|user| user_opens(user, &services, request))
            .unwrap_or_default()
    }
}
