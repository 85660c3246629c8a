//! `posternd roster`: makes, changes, signs and verifies rosters, and takes one at a gate.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::handout;
use super::output::{answer, print, print_json};
use super::roster_arguments::{
    Add, Apply, Change, Init, Publish, Pull, Remove, RosterCommand, Verify,
};
use super::shared_arguments::Report;
use crate::adapters::clock;
use crate::adapters::control;
use crate::admin::roster::author::{self, NewKey, NewUser, Signing, State};
use crate::admin::roster::gate::{self, Applied, NotApplied};
use crate::admin::roster::{SignedFile, publish, trust};
use crate::model::exit::{ExitError, FAILED};
use crate::model::roster::RosterRefusal;
use crate::model::time::count;

pub(super) fn carry_out(command: RosterCommand) -> Result<ExitCode, ExitError> {
    match command {
        RosterCommand::Init(Init { change, gates }) => {
            let (file, signing) = parts(&change);
            let state = author::init(&file, &gates, &signing)?;
            changed(&change, &state, "made")
        }
        RosterCommand::Add(arguments) => added(&arguments),
        RosterCommand::Remove(Remove { name, change }) => {
            let (file, signing) = parts(&change);
            let state = author::remove(&file, &name, &signing)?;
            changed(&change, &state, &format!("changed: {name} is removed"))
        }
        RosterCommand::Sign(change) => {
            let (file, signing) = parts(&change);
            changed(&change, &author::sign(&file, &signing)?, "kept")
        }
        RosterCommand::Verify(arguments) => verified(&arguments),
        RosterCommand::Apply(Apply { file, pull }) => {
            let applied = gate::apply(
                &pull.report.config.config,
                &SignedFile::new(&file),
                pull.unprotect,
            );
            taken(&pull.report, applied)
        }
        RosterCommand::Publish(arguments) => published(&arguments),
        RosterCommand::Pull(Pull { unprotect, report }) => {
            taken(&report, gate::pull(&report.config.config, unprotect))
        }
    }
}

fn parts(change: &Change) -> (SignedFile, Signing<'_>) {
    let signing = Signing {
        key: change.signing_key.as_deref(),
        until: change.until,
    };
    (SignedFile::new(&change.file), signing)
}

fn added(arguments: &Add) -> Result<ExitCode, ExitError> {
    let (file, signing) = parts(&arguments.change);
    let key = match (&arguments.public_key, &arguments.key_file) {
        (Some(key), _) => NewKey::Public(*key),
        (None, Some(path)) => NewKey::Shared(path),
        (None, None) => return Err(ExitError::new(FAILED, "a user needs a key")),
    };
    let new = NewUser {
        name: &arguments.name,
        policy: &arguments.policy,
        gates: &arguments.gates,
        key,
        expires: arguments.expires.as_deref(),
    };
    let state = author::add(&file, &new, &signing)?;
    let done = format!("changed: {} is added", arguments.name);
    changed(&arguments.change, &state, &done)
}

/// What the roster is now, and what to do next.
fn changed(change: &Change, state: &State, done: &str) -> Result<ExitCode, ExitError> {
    let file = change.file.display().to_string();
    let public = state.public.map(|key| key.line());
    let json = json!({
        "roster": roster_json(&file, state), "public_key": public,
        "new_key": state.is_key_new.then(|| change.signing_key.as_deref().map(|path| path.display().to_string())).flatten(),
    });
    if change.json {
        return print_version(json);
    }
    let (roster, signers) = (&state.roster, &state.signers);
    let mut text = format!(
        "{file}: {done}; version {}, {}, until {}\n",
        roster.version,
        count(roster.user.len(), "user"),
        roster.until()
    );
    if roster.until() <= clock::wall() {
        text += "it has ended, so no gate takes it; next: posternd roster sign --until 30d\n";
    }
    if let Some(path) = change.signing_key.as_ref().filter(|_| state.is_key_new) {
        text += &format!(
            "the signing key is new, in {}; keep it off the gates\n",
            path.display()
        );
    }
    text += &match signers.len() {
        0 => "not signed; next: posternd roster sign --roster FILE --signing-key FILE\n".to_owned(),
        number if number < roster.signatures => {
            format!(
                "signed by {}; {} must sign it\n",
                signers.join(", "),
                roster.signatures
            )
        }
        _ => format!("signed by {}\n", signers.join(", ")),
    };
    if let Some(key) = public.as_ref().filter(|_| done == "made") {
        text += &format!(
            "gates that trust this key have in their config:\n  [roster]\n  trust = [\"{key}\"]\n"
        );
    }
    print(&text)
}

fn roster_json(file: &str, state: &State) -> Value {
    let roster = &state.roster;
    json!({
        "file": file, "number": roster.version, "until": roster.until(), "users": roster.user.len(),
        "gates": roster.gate.keys().collect::<Vec<_>>(), "signatures": roster.signatures, "signers": state.signers,
    })
}

fn print_version(mut json: Value) -> Result<ExitCode, ExitError> {
    if let Some(fields) = json.as_object_mut() {
        fields.insert("version".to_owned(), control::VERSION.into());
    }
    print_json(&json)
}

fn verified(arguments: &Verify) -> Result<ExitCode, ExitError> {
    let report = &arguments.report;
    let trust = trust(&report.config.config, &arguments.public_keys)?;
    let file = SignedFile::new(&arguments.file);
    let path = arguments.file.display().to_string();
    match author::verify(&file, &trust)? {
        Err(refusal) => refused(report, &refusal),
        Ok((roster, signers)) => {
            let state = State {
                roster,
                signers,
                public: None,
                is_key_new: false,
            };
            let (roster, signers) = (&state.roster, state.signers.join(", "));
            let text = format!(
                "{path}: good; version {}, {}, until {}\nsigned by {signers}\n",
                roster.version,
                count(roster.user.len(), "user"),
                roster.until()
            );
            answer(
                report,
                json!({ "roster": roster_json(&path, &state) }),
                &text,
            )
        }
    }
}

fn taken(report: &Report, applied: Result<Applied, NotApplied>) -> Result<ExitCode, ExitError> {
    let Applied { taken, reload } = match applied {
        Ok(applied) => applied,
        Err(NotApplied::Refused(refusal)) => return refused(report, &refusal),
        Err(NotApplied::Failed(error)) => return Err(error),
    };
    let what = if taken.is_new { "taken" } else { "confirmed" };
    let json = json!({
        "roster": { "number": taken.version, "until": taken.until, "users": taken.users, "signers": taken.signers },
        "new": taken.is_new, "reload": reload.as_ref().map(handout::reload_json),
    });
    let mut text = format!(
        "roster version {} is {what}: {} for this gate, until {}; signed by {}\n",
        taken.version,
        count(taken.users, "user"),
        taken.until,
        taken.signers.join(", ")
    );
    if let Some(reload) = &reload {
        text += &format!("{}\n", handout::reload_text(reload));
    }
    let done = answer(report, json, &text)?;
    reload.map_or(Ok(done), |reload| handout::exit_code(&reload))
}

fn published(arguments: &Publish) -> Result<ExitCode, ExitError> {
    let report = &arguments.report;
    let file = SignedFile::new(&arguments.file);
    let published = match publish::publish(&report.config.config, &file) {
        Ok(published) => published,
        Err(NotApplied::Refused(refusal)) => return refused(report, &refusal),
        Err(NotApplied::Failed(error)) => return Err(error),
    };
    let (version, users, until) = (published.version, published.users, published.until);
    let json = json!({
        "roster": { "number": version, "until": until, "users": users, "signers": published.signers },
    });
    let text = format!(
        "roster version {version} is at the coordinator: {}, until {until}; signed by {}\n",
        count(users, "user"),
        published.signers.join(", ")
    );
    answer(report, json, &text)
}

/// Exit code 1, with the reason.
fn refused(report: &Report, refusal: &RosterRefusal) -> Result<ExitCode, ExitError> {
    if report.json {
        let json = json!({ "refused": { "reason": refusal.fault.name(), "why": refusal.why } });
        print_version(json)?;
        return Ok(ExitCode::from(FAILED));
    }
    Err(ExitError::new(
        FAILED,
        format!("the roster is refused, {refusal}"),
    ))
}
