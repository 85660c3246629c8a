//! `posternd user`: adds, lists, shows, disables, enables and removes users, and gives them new keys.

use std::io::Read;
use std::process::ExitCode;

use serde_json::json;

use super::handout::{self, Presentation};
use super::output::{answer, print, print_json};
use super::shared_arguments::config_option;
use super::user_arguments::{Add, KeyPair, Named, Remove, Rotate, UserCommand};
use super::user_text;
use crate::adapters::clock;
use crate::admin;
use crate::admin::add::{NewUser, add};
use crate::admin::change::{self, Changed};
use crate::admin::keys::{self, KeyChoice};
use crate::admin::rotate::{Rotation, rotate};
use crate::client::profile::{list, quoted};
use crate::client::token::{EnrollRequest, LINE_MAX};
use crate::model::exit::{ExitError, IO, USAGE};

pub(super) fn carry_out(command: UserCommand) -> Result<ExitCode, ExitError> {
    let now = clock::wall();
    match command {
        UserCommand::Add(arguments) => added(&arguments),
        UserCommand::List(report) => {
            let users = admin::config_files::users(&report.config.config)?;
            if report.json {
                return print_json(&user_text::JsonList::of(&users, now));
            }
            print(&user_text::table(&users, now))
        }
        UserCommand::Show(Named { name, report }) => {
            let user = admin::config_files::user(&report.config.config, &name)?;
            let json = json!({ "user": user_text::json(&user, now) });
            answer(&report, json, &user_text::details(&user, now))
        }
        UserCommand::Disable(named) => disabled(&named, true),
        UserCommand::Enable(named) => disabled(&named, false),
        UserCommand::Remove(Remove { named, unprotect }) => {
            let config = &named.report.config.config;
            let changed = change::remove(config, &named.name, unprotect)?;
            let next = format!("next: posternd user list{}", config_option(config));
            report_change(&named, &changed, "removed", &next)
        }
        UserCommand::Rotate(arguments) => rotated(&arguments),
    }
}

fn added(arguments: &Add) -> Result<ExitCode, ExitError> {
    let Named { name, report } = &arguments.named;
    let lists = [
        ("targets", &arguments.targets),
        ("from", &arguments.from),
        ("networks", &arguments.networks),
    ];
    let texts = [
        ("grant_to", &arguments.grant_to),
        ("max_duration", &arguments.max_duration),
        ("expires", &arguments.expires),
        ("quota", &arguments.quota),
    ];
    let lists = lists
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(key, values)| (key, list(values)));
    let texts = texts
        .into_iter()
        .filter_map(|(key, value)| Some((key, quoted(value.as_ref()?))));
    let user = NewUser {
        name: name.clone(),
        services: arguments.services.clone(),
        settings: lists.chain(texts).collect(),
        duration: arguments.duration,
        addresses: arguments.output.address.clone(),
        key: key_choice(&arguments.key)?,
        totp: arguments.totp,
    };
    let handout = add(&report.config.config, &user)?;
    let presentation = Presentation {
        done: format!("user {name} is added, in {}", handout.file.display()),
        old_until: None,
        qr: arguments.output.qr,
        json: report.json,
        config: &config_option(&report.config.config),
    };
    handout::print_handout(&handout, &presentation)
}

fn rotated(arguments: &Rotate) -> Result<ExitCode, ExitError> {
    let Named { name, report } = &arguments.named;
    let rotation = Rotation {
        name: name.clone(),
        request: request(&arguments.key)?,
        pair: arguments.key.pair,
        psk: arguments.key.psk,
        keep_old: arguments.keep_old,
        addresses: arguments.output.address.clone(),
    };
    let (handout, until) = rotate(&report.config.config, &rotation)?;
    let old = until.map_or("the old one no longer works".to_owned(), |until| {
        format!("the old one works until {until}")
    });
    let file = handout.file.display();
    let presentation = Presentation {
        done: format!("user {name} has a new key, in {file}; {old}"),
        old_until: Some(until.unwrap_or_else(clock::wall)),
        qr: arguments.output.qr,
        json: report.json,
        config: &config_option(&report.config.config),
    };
    handout::print_handout(&handout, &presentation)
}

fn disabled(named: &Named, disabled: bool) -> Result<ExitCode, ExitError> {
    let config = &named.report.config.config;
    let changed = change::disable(config, &named.name, disabled)?;
    let (what, back) = if disabled {
        ("disabled", "enable")
    } else {
        ("enabled", "disable")
    };
    let (name, config) = (&named.name, config_option(config));
    let back = format!("to undo: posternd user {back} {name}{config}");
    report_change(named, &changed, what, &back)
}

fn report_change(
    named: &Named,
    changed: &Changed,
    what: &str,
    then: &str,
) -> Result<ExitCode, ExitError> {
    let (name, file) = (&named.name, changed.file.display().to_string());
    let reload = changed.reload.as_ref();
    let json = json!({
        "user": name, "file": file, what: true, "changed": changed.is_new, "reload": reload.map(handout::reload_json),
    });
    let already = if changed.is_new { "" } else { " already" };
    let mut text = format!("user {name} is {what}{already}, in {file}\n");
    if let Some(reload) = reload {
        text += &format!("{}\n", handout::reload_text(reload));
    }
    if let Some(left) = &changed.left {
        let (what, cure) = ("is still there", "remove it if no other user has it");
        text += &format!("note: the key's file {} {what}; {cure}\n", left.display());
    }
    let done = answer(&named.report, json, &format!("{text}{then}\n"))?;
    reload.map_or(Ok(done), handout::exit_code)
}

fn key_choice(pair: &KeyPair) -> Result<KeyChoice, ExitError> {
    match (request(pair)?, pair.pair) {
        (Some(request), _) => Ok(KeyChoice::Enrolled {
            request,
            psk: pair.psk,
        }),
        (None, true) => Ok(KeyChoice::Pair { psk: pair.psk }),
        (None, false) if pair.psk => Err(keys::psk_alone()),
        (None, false) => Ok(KeyChoice::Shared),
    }
}

/// The request that a client made; `-` reads it from standard input.
fn request(pair: &KeyPair) -> Result<Option<EnrollRequest>, ExitError> {
    let Some(line) = &pair.request else {
        return Ok(None);
    };
    let mut read = String::new();
    let line = if line == "-" {
        let most = u64::try_from(LINE_MAX.saturating_add(1)).unwrap_or(u64::MAX);
        let mut input = std::io::stdin().lock().take(most);
        input
            .read_to_string(&mut read)
            .map_err(|error| ExitError::new(IO, format!("standard input: {error}")))?;
        &read
    } else {
        line
    };
    EnrollRequest::from_line(line)
        .map(Some)
        .map_err(|error| ExitError::new(USAGE, format!("--request: {error}")))
}
