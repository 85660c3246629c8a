//! `postern enroll` and `postern import`.
//!
//! A token with a key is never taken from the command line and never shown.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde::Serialize;
use zeroize::Zeroizing;

use super::arguments::{Enroll, Import};
use super::output::{hint, say};
use super::{gate, json};
use crate::adapters::files;
use crate::client::import_fwknoprc;
use crate::client::profile;
use crate::client::token::LineKind;
use crate::client::{self, unreadable};
use crate::model::exit::{ExitError, FAILED, USAGE};
use crate::model::foreign::Verdict;

/// More than the longest token, and enough for a profile with many comments.
const SOURCE_MAX: usize = 64 << 10;

const NAME: &str = "home";

#[derive(Serialize)]
struct EnrollJson<'a> {
    request: &'a str,
    public_key: &'a str,
    file: &'a str,
    profile: &'a str,
}

#[derive(Serialize)]
struct ImportJson {
    profile: String,
    gate: String,
    user: Option<String>,
    config: String,
    replaced: bool,
    addresses: Vec<String>,
    services: Vec<String>,
}

pub(super) fn enroll(arguments: &Enroll, config: Option<&Path>) -> Result<(), ExitError> {
    let config = config_path(config)?;
    let (name, profile) = (arguments.name.as_deref(), arguments.profile.as_deref());
    let name = name.or(profile).unwrap_or(NAME);
    let profile = profile.unwrap_or(name);
    let made = client::enroll(&config, name, profile)?;
    let request = made.request.to_line();
    let request = request
        .map_err(|error| ExitError::new(FAILED, format!("{error}; choose a shorter name")))?;
    let file = made.file.display().to_string();
    if arguments.json {
        let enrolled = EnrollJson {
            request: &request,
            public_key: &made.request.public_key.to_base64(),
            file: &file,
            profile,
        };
        return json::write("enroll", enrolled);
    }
    say(&format!("{}\n", *request))?;
    hint(&format!("the private key is in {file} and stays there"));
    hint(
        "next: send the line above to the gate's administrator, who runs this; the line is not secret",
    );
    let request = request.as_str();
    hint(&format!(
        "  posternd user add NAME -s tcp/22 --request {request}"
    ));
    hint("then import the token that you get back: postern import postern-token-…");
    Ok(())
}

pub(super) fn import(arguments: &Import, config: Option<&Path>) -> Result<(), ExitError> {
    let config = config_path(config)?;
    let source = source(arguments.source.as_deref())?;
    if import_fwknoprc::is_fwknoprc(&source) {
        return import_profiles(arguments, &source, &config);
    }
    if arguments.dry_run {
        let what = "--dry-run is for a .fwknoprc; run postern import without it";
        return Err(ExitError::new(USAGE, what));
    }
    let name = arguments.profile.as_deref();
    let imported = client::import(&source, &config, name, arguments.replace)?;
    let (profile, gate, user) = (imported.profile, imported.gate, imported.user);
    let (replaced, config) = (imported.replaced, config.display().to_string());
    let (addresses, services) = (imported.addresses, imported.services);
    if arguments.json {
        let imported = ImportJson {
            profile,
            gate,
            user,
            config,
            replaced,
            addresses,
            services,
        };
        return json::write("import", imported);
    }
    let what = if replaced { "replaced" } else { "added" };
    let user = user.map_or(String::new(), |user| format!(", where you are {user}"));
    let done = format!("{what} profile {profile} for gate {gate}{user}, in {config}");
    let services = match services.as_slice() {
        [] => "for what each command names".to_owned(),
        services => format!("for {}", services.join(", ")),
    };
    let knocks = format!("it knocks at {} {services}", addresses.join(", "));
    say(&format!(
        "{done}\n{knocks}\nnext: postern knock {profile}\n"
    ))
}

#[derive(Serialize)]
struct ImportProfilesJson {
    /// `None` with `--dry-run`.
    config: Option<String>,
    profiles: Vec<String>,
    findings: Vec<FindingJson>,
    refused: usize,
}

#[derive(Serialize)]
struct FindingJson {
    file: String,
    line: usize,
    setting: Option<&'static str>,
    verdict: &'static str,
    what: String,
    cure: String,
}

/// Imports the sections of a .fwknoprc as profiles. Fails after that if a setting was refused.
fn import_profiles(arguments: &Import, source: &str, config: &Path) -> Result<(), ExitError> {
    if arguments.profile.is_some() {
        let what = "a .fwknoprc names its profiles itself; run postern import without --profile";
        return Err(ExitError::new(USAGE, what));
    }
    let path = arguments.source.as_deref().unwrap_or("-");
    let (profiles, findings) = import_fwknoprc::convert(Path::new(path), source);
    let replaced = if arguments.dry_run || profiles.is_empty() {
        Vec::new()
    } else {
        import_fwknoprc::add(&profiles, config, arguments.replace)?
    };
    let refused = findings.0.iter();
    let refused = refused.filter(|one| one.verdict == Verdict::Refuse).count();
    if arguments.json {
        let findings = findings.0.into_iter().map(|one| FindingJson {
            file: one.place.file.display().to_string(),
            line: one.place.line,
            setting: Some(one.setting).filter(|name| !name.is_empty()),
            verdict: one.verdict.word(),
            what: one.what,
            cure: one.cure,
        });
        let imported = ImportProfilesJson {
            config: (!arguments.dry_run).then(|| config.display().to_string()),
            profiles: profiles.into_iter().map(|one| one.name).collect(),
            findings: findings.collect(),
            refused,
        };
        json::write("import", imported)?;
    } else {
        findings.0.iter().for_each(|one| hint(&one.to_string()));
        if arguments.dry_run {
            say("# dry run: nothing is written, and … stands for a key\n")?;
        }
        for new in &profiles {
            let (name, place) = (&new.name, &new.place);
            if arguments.dry_run {
                say(&format!("\n{}", new.toml.masked))?;
                continue;
            }
            let done = if replaced.contains(name) {
                "replaced"
            } else {
                "added"
            };
            let config = config.display();
            say(&format!(
                "{done} profile {name} from {place}, in {config}\n"
            ))?;
        }
        if let (Some(first), false) = (profiles.first(), arguments.dry_run) {
            say(&format!("next: postern knock {}\n", first.name))?;
        }
    }
    match refused {
        0 => Ok(()),
        count => {
            let what =
                format!("settings that were refused: {count}; correct them and import again");
            Err(ExitError::new(FAILED, what))
        }
    }
}

/// The token or the profile, from standard input, a file, or an argument without a key.
fn source(argument: Option<&str>) -> Result<Zeroizing<String>, ExitError> {
    let Some(text) = argument.filter(|text| *text != "-") else {
        if io::stdin().is_terminal() {
            hint("paste the token or the profile here, then press Enter and Ctrl-D");
        }
        return gate::read_input(SOURCE_MAX);
    };
    match LineKind::of(text) {
        Some(LineKind::Secret) => Err(ExitError::new(
            USAGE,
            "this token holds a key, and other users of this machine can see a command line; \
             run postern import without it and paste it there, or use a private file",
        )),
        Some(_) => Ok(Zeroizing::new(text.to_owned())),
        None => in_file(Path::new(text)),
    }
}

/// Refuses a file with a key that others can read.
fn in_file(path: &Path) -> Result<Zeroizing<String>, ExitError> {
    let (text, private) = files::read_open(path).map_err(|error| unreadable(&error))?;
    let may_hold_a_key = match LineKind::of(&text) {
        Some(kind) => kind == LineKind::Secret,
        None => profile::renamed(&text, None).is_ok() || import_fwknoprc::is_fwknoprc(&text),
    };
    match private {
        Err(error) if may_hold_a_key => Err(unreadable(&error)),
        _ => Ok(text),
    }
}

fn config_path(config: Option<&Path>) -> Result<PathBuf, ExitError> {
    config
        .map(Path::to_owned)
        .or_else(profile::default_path)
        .ok_or_else(gate::no_home)
}
