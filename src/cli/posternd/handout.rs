//! What is printed for a client: its profile, the token that says the same in one line, a QR code, and what comes next.
//!
//! There are keys in it, so the text is put together in a buffer that is wiped and does not grow.

use std::io::IsTerminal;
use std::process::ExitCode;

use serde::Serialize;
use zeroize::Zeroizing;

use super::qr;
use super::say::say;
use crate::adapters::control;
use crate::admin::add::Handout;
use crate::admin::reload::Outcome;
use crate::client::profile;
use crate::client::token::{Token, TokenKey, short_name};
use crate::model::exit::{ExitError, FAILED};
use crate::model::time::Timestamp;

/// Room for two QR codes and all around them.
const TEXT_MAX: usize = 128 << 10;

/// The same as JSON.
#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    user: &'a str,
    file: String,
    profile_name: &'a str,
    profile: &'a str,
    token: &'a str,
    /// Whether there is a key in the token.
    secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_uri: Option<&'a str>,
    /// Until when the key of before counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_until: Option<Timestamp>,
    reload: serde_json::Value,
    notes: &'a [String],
}

/// How it is told.
pub(super) struct Telling<'a> {
    /// The first line: what was done.
    pub(super) done: String,
    /// Until when the key of before counts.
    pub(super) old_until: Option<Timestamp>,
    pub(super) qr: bool,
    pub(super) json: bool,
    /// ` --config FILE` where it is not the usual one.
    pub(super) config: &'a str,
}

/// Tells it, and ends with exit code 1 where the running daemon did not take the config.
pub(super) fn tell(handout: &Handout, telling: &Telling<'_>) -> Result<ExitCode, ExitError> {
    let token = &handout.token;
    let name = token
        .profile
        .clone()
        .unwrap_or_else(|| short_name(token.gate.as_str()));
    let profile = profile::section(&name, token, &format!("{name}.key"));
    let line = token
        .to_line()
        .map_err(|error| ExitError::new(FAILED, error))?;
    if telling.json {
        say(&json(handout, telling, &name, &profile, &line)?)?;
    } else {
        say(&text(handout, telling, &name, &profile, &line)?)?;
    }
    ending(&handout.reload)
}

/// Exit code and error of a command that has written its file.
pub(super) fn ending(reload: &Outcome) -> Result<ExitCode, ExitError> {
    match reload {
        Outcome::Done | Outcome::NotRunning => Ok(ExitCode::SUCCESS),
        Outcome::Refused(why) => Err(ExitError::new(
            FAILED,
            format!("the change is made, but the running posternd does not take the config: {why}"),
        )),
        Outcome::Failed(why) => Err(ExitError::new(
            FAILED,
            format!(
                "the change is made, but whether the running posternd has read it is not known: {why}"
            ),
        )),
    }
}

/// What a reload came to, as JSON.
pub(super) fn reload_json(reload: &Outcome) -> serde_json::Value {
    match reload {
        Outcome::Done => "done".into(),
        Outcome::NotRunning => "not-running".into(),
        Outcome::Refused(why) => serde_json::json!({ "refused": why }),
        Outcome::Failed(why) => serde_json::json!({ "failed": why }),
    }
}

/// What a reload came to, as a sentence.
pub(super) fn reload_text(reload: &Outcome) -> &'static str {
    match reload {
        Outcome::Done => "the running posternd has read it: it is in force",
        Outcome::NotRunning => "no posternd is running: it is in force once posternd is started",
        Outcome::Refused(_) | Outcome::Failed(_) => {
            "it is not known to be in force: see the error below"
        }
    }
}

fn json(
    handout: &Handout,
    telling: &Telling<'_>,
    name: &str,
    profile: &str,
    line: &str,
) -> Result<Zeroizing<String>, ExitError> {
    let said = Json {
        version: control::VERSION,
        user: &handout.token.user,
        file: handout.file.display().to_string(),
        profile_name: name,
        profile,
        token: line,
        secret: handout.token.is_secret(),
        totp_uri: handout.totp_uri.as_ref().map(|uri| uri.as_str()),
        old_until: telling.old_until,
        reload: reload_json(&handout.reload),
        notes: &handout.notes,
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(TEXT_MAX));
    serde_json::to_writer_pretty(&mut *bytes, &said)
        .map_err(|error| ExitError::new(FAILED, error))?;
    bytes.push(b'\n');
    let text = std::str::from_utf8(&bytes).map_err(|error| ExitError::new(FAILED, error))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn text(
    handout: &Handout,
    telling: &Telling<'_>,
    name: &str,
    profile: &str,
    line: &str,
) -> Result<Zeroizing<String>, ExitError> {
    let token = &handout.token;
    let colours = std::io::stdout().is_terminal();
    let mut text = Zeroizing::new(String::with_capacity(TEXT_MAX));
    let mut put = |parts: &[&str]| {
        parts
            .iter()
            .chain(&["\n"])
            .for_each(|part| text.push_str(part))
    };
    put(&[&telling.done]);
    put(&[reload_text(&handout.reload)]);
    handout.notes.iter().for_each(|note| put(&["note: ", note]));
    if let TokenKey::Pair { .. } = &token.key {
        put(&[
            "note: the private key was made here and has to travel; with postern enroll at the client it would not",
        ]);
    }
    put(&["\nThe client's profile:\n\n", profile]);
    put(&[
        "The same as a token",
        if token.is_secret() {
            ", which holds the key:\n\n"
        } else {
            ", in which nothing is secret:\n\n"
        },
        line,
    ]);
    if telling.qr {
        put(&["\n", qr::lines(line, colours)?.trim_end_matches('\n')]);
    }
    if let Some(uri) = &handout.totp_uri {
        put(&[
            "\nFor the authenticator program, a second secret, on another way than the token:\n\n",
            uri,
        ]);
        if telling.qr {
            put(&["\n", qr::lines(uri, colours)?.trim_end_matches('\n')]);
        }
    }
    put(&["\nnext:"]);
    next(token, &handout.reload, telling, name)
        .iter()
        .for_each(|line| put(&["  ", line]));
    Ok(text)
}

fn next(token: &Token, reload: &Outcome, telling: &Telling<'_>, name: &str) -> Vec<String> {
    let mut next = Vec::new();
    if *reload == Outcome::NotRunning {
        next.push(format!(
            "here, start the gate: posternd run{} (with --trial 5m the first time)",
            telling.config
        ));
    }
    let replace = if telling.old_until.is_some() {
        " --replace"
    } else {
        ""
    };
    if token.is_secret() {
        next.push("hand the token over so that nobody else reads it".to_owned());
        next.push(format!(
            "at the client, run this and paste it: postern import{replace}"
        ));
    } else {
        next.push("send the token to the client, by mail if you like".to_owned());
        next.push(format!(
            "at the client: postern import{replace} postern-token-…"
        ));
    }
    next.push(format!("and then: postern knock {name}"));
    next
}
