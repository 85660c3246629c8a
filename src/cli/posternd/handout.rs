//! What is printed for a client: its profile, the same as a token, a QR code, and the next commands.
//!
//! It holds keys, so the text is built in a buffer that is wiped and never grows.

use std::io::IsTerminal;
use std::process::ExitCode;

use serde::Serialize;
use zeroize::Zeroizing;

use super::output::print;
use super::qr;
use crate::adapters::control;
use crate::admin::add::Handout;
use crate::admin::reload::ReloadResult;
use crate::client::profile;
use crate::client::token::{Token, TokenKey, short_name};
use crate::model::exit::{ExitError, FAILED};
use crate::model::time::Timestamp;

/// Enough for two QR codes and the text around them.
const MAX_TEXT: usize = 128 << 10;

#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    user: &'a str,
    file: String,
    profile_name: &'a str,
    profile: &'a str,
    token: &'a str,
    secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_until: Option<Timestamp>,
    reload: serde_json::Value,
    notes: &'a [String],
}

pub(super) struct Presentation<'a> {
    pub(super) done: String,
    pub(super) old_until: Option<Timestamp>,
    pub(super) qr: bool,
    pub(super) json: bool,
    pub(super) config: &'a str,
}

/// Prints it. Exit code 1 if the running daemon did not accept the config.
pub(super) fn print_handout(
    handout: &Handout,
    presentation: &Presentation<'_>,
) -> Result<ExitCode, ExitError> {
    let token = &handout.token;
    let name = token.profile.clone();
    let name = name.unwrap_or_else(|| short_name(token.gate.as_str()));
    let profile = profile::section(&name, token, &format!("{name}.key"));
    let line = token.to_line();
    let line = line.map_err(|error| ExitError::new(FAILED, error))?;
    let show = if presentation.json { json } else { text };
    print(&show(handout, presentation, &name, &profile, &line)?)?;
    exit_code(&handout.reload)
}

pub(super) fn exit_code(reload: &ReloadResult) -> Result<ExitCode, ExitError> {
    match reload {
        ReloadResult::Done | ReloadResult::NotRunning => Ok(ExitCode::SUCCESS),
        ReloadResult::Refused(why) => {
            let what = "the change is made, but the running posternd does not accept the config";
            Err(ExitError::new(FAILED, format!("{what}: {why}")))
        }
        ReloadResult::Failed(why) => {
            let what = "whether the running posternd has read it is not known";
            Err(ExitError::new(
                FAILED,
                format!("the change is made, but {what}: {why}"),
            ))
        }
    }
}

pub(super) fn reload_json(reload: &ReloadResult) -> serde_json::Value {
    match reload {
        ReloadResult::Done => "done".into(),
        ReloadResult::NotRunning => "not-running".into(),
        ReloadResult::Refused(why) => serde_json::json!({ "refused": why }),
        ReloadResult::Failed(why) => serde_json::json!({ "failed": why }),
    }
}

pub(super) fn reload_text(reload: &ReloadResult) -> &'static str {
    match reload {
        ReloadResult::Done => "the running posternd has read it: it is in force",
        ReloadResult::NotRunning => {
            "no posternd is running: it is in force once posternd is started"
        }
        ReloadResult::Refused(_) | ReloadResult::Failed(_) => {
            "it is not known to be in force: see the error below"
        }
    }
}

fn json(
    handout: &Handout,
    presentation: &Presentation<'_>,
    name: &str,
    profile: &str,
    line: &str,
) -> Result<Zeroizing<String>, ExitError> {
    let json = Json {
        version: control::VERSION,
        user: &handout.token.user,
        file: handout.file.display().to_string(),
        profile_name: name,
        profile,
        token: line,
        secret: handout.token.is_secret(),
        totp_uri: handout.totp_uri.as_ref().map(|uri| uri.as_str()),
        old_until: presentation.old_until,
        reload: reload_json(&handout.reload),
        notes: &handout.notes,
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TEXT));
    serde_json::to_writer_pretty(&mut *bytes, &json)
        .map_err(|error| ExitError::new(FAILED, error))?;
    bytes.push(b'\n');
    let text = std::str::from_utf8(&bytes).map_err(|error| ExitError::new(FAILED, error))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn text(
    handout: &Handout,
    presentation: &Presentation<'_>,
    name: &str,
    profile: &str,
    line: &str,
) -> Result<Zeroizing<String>, ExitError> {
    let token = &handout.token;
    let colours = std::io::stdout().is_terminal();
    let mut text = Zeroizing::new(String::with_capacity(MAX_TEXT));
    let mut put = |parts: &[&str]| {
        parts.iter().for_each(|part| text.push_str(part));
        text.push('\n');
    };
    put(&[&presentation.done]);
    put(&[reload_text(&handout.reload)]);
    handout.notes.iter().for_each(|note| put(&["note: ", note]));
    if let TokenKey::Pair { .. } = &token.key {
        put(&[
            "note: the private key was made here and must be sent to the client; postern enroll at the client avoids this",
        ]);
    }
    put(&["\nThe client's profile:\n\n", profile]);
    let content = if token.is_secret() {
        "which holds the key"
    } else {
        "in which nothing is secret"
    };
    put(&["The same as a token, ", content, ":\n\n", line]);
    if presentation.qr {
        put(&["\n", qr::lines(line, colours)?.trim_end_matches('\n')]);
    }
    if let Some(uri) = &handout.totp_uri {
        put(&[
            "\nFor the authenticator program, a second secret; send it over another channel than the token:\n\n",
            uri,
        ]);
        if presentation.qr {
            put(&["\n", qr::lines(uri, colours)?.trim_end_matches('\n')]);
        }
    }
    put(&["\nnext:"]);
    next(token, &handout.reload, presentation, name)
        .iter()
        .for_each(|line| put(&["  ", line]));
    Ok(text)
}

fn next(
    token: &Token,
    reload: &ReloadResult,
    presentation: &Presentation<'_>,
    name: &str,
) -> Vec<String> {
    let mut next = Vec::new();
    if *reload == ReloadResult::NotRunning {
        let run = format!("posternd run{}", presentation.config);
        next.push(format!(
            "here, start the gate: {run} (with --trial 5m the first time)"
        ));
    }
    let replace = presentation.old_until.map_or("", |_| " --replace");
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
