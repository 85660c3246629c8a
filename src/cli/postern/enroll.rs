//! `postern enroll` and `postern import`: from a key pair that never leaves this machine, or a token, to a profile.
//!
//! Owns where a token comes from. One with a key in it is never taken from the command line, and never shown.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde::Serialize;
use zeroize::Zeroizing;

use super::arguments::{Enroll, Import};
use super::{Exit, Failure, gate, hint, json, say};
use crate::adapters::files;
use crate::client::profile;
use crate::client::token::Kind;
use crate::client::{self, Imported};

/// Room for the longest token, and for a profile with many comments.
const SOURCE_MAX: usize = 64 << 10;

/// The name of a key and of its profile where none is given.
const NAME: &str = "home";

#[derive(Serialize)]
struct Enrolled<'a> {
    request: &'a str,
    public_key: &'a str,
    file: String,
    profile: &'a str,
}

#[derive(Serialize)]
struct Added {
    profile: String,
    gate: String,
    user: Option<String>,
    config: String,
    replaced: bool,
}

pub(super) fn enroll(arguments: &Enroll, config: Option<&Path>) -> Result<(), Failure> {
    let config = config_path(config)?;
    let name = arguments
        .name
        .as_deref()
        .or(arguments.profile.as_deref())
        .unwrap_or(NAME);
    let profile = arguments.profile.as_deref().unwrap_or(name);
    let made = client::enroll(&config, name, profile)?;
    let request = made
        .request
        .to_line()
        .map_err(|error| Failure::new(Exit::Failed, error, "choose a shorter name"))?;
    let file = made.file.display().to_string();
    if arguments.json {
        let public_key = made.request.public_key.to_base64();
        return json::write(
            "enroll",
            Enrolled {
                request: &request,
                public_key: &public_key,
                file,
                profile,
            },
        );
    }
    say(&format!("{}\n", *request))?;
    hint(&format!("the private key is in {file} and stays there"));
    hint(
        "next: send the line above to the gate's administrator; nothing in it is secret. There it is used so:",
    );
    hint(&format!(
        "  posternd user add NAME -s tcp/22 --request {}",
        *request
    ));
    hint("then import the token that comes back: postern import postern-token-…");
    Ok(())
}

pub(super) fn import(arguments: &Import, config: Option<&Path>) -> Result<(), Failure> {
    let config = config_path(config)?;
    let source = source(arguments.source.as_deref())?;
    let Imported {
        profile,
        gate,
        user,
        replaced,
    } = client::import(
        &source,
        &config,
        arguments.profile.as_deref(),
        arguments.replace,
    )?;
    let config = config.display().to_string();
    if arguments.json {
        return json::write(
            "import",
            Added {
                profile,
                gate,
                user,
                config,
                replaced,
            },
        );
    }
    let who = user
        .map(|user| format!(", where you are {user}"))
        .unwrap_or_default();
    let what = if replaced { "replaced" } else { "added" };
    say(&format!(
        "{what} profile {profile} for gate {gate}{who}, in {config}\nnext: postern knock {profile}\n"
    ))
}

/// The token or the profile: standard input, a file, or a token without a key as it is.
fn source(argument: Option<&str>) -> Result<Zeroizing<String>, Failure> {
    match argument {
        None | Some("-") => {
            if io::stdin().is_terminal() {
                hint("paste the token or the profile here, then press Enter and Ctrl-D");
            }
            gate::read_input(SOURCE_MAX)
        }
        Some(text) => match Kind::of(text) {
            Some(Kind::Secret) => Err(Failure::new(
                Exit::Usage,
                "this token holds a key, and other users of this machine can see a command line",
                "run postern import without it and paste it there, or keep it in a file that only you may read and name that",
            )),
            Some(_) => Ok(Zeroizing::new(text.to_owned())),
            None => in_file(Path::new(text)),
        },
    }
}

/// What holds a key must be readable by its owner only.
fn in_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let (text, private) = files::read_open(path).map_err(|error| Failure::from_file(&error))?;
    let may_hold_a_key = match Kind::of(&text) {
        Some(kind) => kind == Kind::Secret,
        None => profile::renamed(&text, None).is_ok(),
    };
    match private {
        Err(error) if may_hold_a_key => Err(Failure::from_file(&error)),
        _ => Ok(text),
    }
}

fn config_path(config: Option<&Path>) -> Result<PathBuf, Failure> {
    config
        .map(Path::to_owned)
        .or_else(profile::default_path)
        .ok_or_else(gate::no_home)
}
