//! `posternd import`: reads configs of fwknopd and knockd, and adds their users and services.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::handout;
use super::output::{answer, note};
use super::shared_arguments::Report;
use crate::admin::import::{self, Imported};
use crate::admin::reload::ReloadResult;
use crate::model::exit::{ExitError, FAILED};
use crate::model::foreign::{Finding, Verdict};

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Import {
    /// Read these files: access.conf, fwknopd.conf, knockd.conf, or OpenWrt's /etc/config/fwknopd
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print the users and services with … in place of each key, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    report: Report,
}

const AFTER: &str = "\
Name fwknopd.conf together with access.conf: its settings change what the stanzas mean. Included files are read, too.
Each setting that is not converted as it is gets a line on standard error: file, line, reason and cure.
Exit status 1 if a setting was refused; what could be converted is written even so.";

pub(super) fn carry_out(arguments: &Import) -> Result<ExitCode, ExitError> {
    let (report, dry_run) = (&arguments.report, arguments.dry_run);
    let imported = import::import(&report.config.config, &arguments.files, dry_run)?;
    let findings = &imported.converted.findings;
    if !report.json {
        findings.0.iter().for_each(|one| note(&one.to_string()));
    }
    let text = if dry_run {
        shown(&imported)
    } else {
        written(&imported)
    };
    let done = answer(report, object(&imported, dry_run), &text)?;
    if findings.has_refused() {
        return Ok(ExitCode::from(FAILED));
    }
    imported
        .reload
        .as_ref()
        .map_or(Ok(done), handout::exit_code)
}

/// The files as they would be, without keys.
fn shown(imported: &Imported) -> String {
    let made = &imported.converted;
    let users = made.users.iter().map(|one| &one.toml);
    let texts = users.chain(made.services.iter().map(|one| &one.toml));
    let mut text = String::new();
    if imported.files.is_empty() {
        text += "# nothing to write\n";
    } else {
        text += "# dry run: nothing is written, and … stands for a key\n";
    }
    for (path, toml) in imported.files.iter().zip(texts) {
        text += &format!("\n# {}\n{}", path.display(), toml.masked);
    }
    text
}

fn written(imported: &Imported) -> String {
    let made = &imported.converted;
    let mut text = String::new();
    for (user, path) in made.users.iter().zip(&imported.files) {
        let (name, place) = (&user.name, &user.place);
        text += &format!("user {name} from {place} is added, in {}\n", path.display());
    }
    let services = imported.files.iter().skip(made.users.len());
    for (service, path) in made.services.iter().zip(services) {
        text += &format!("service {} is added, in {}\n", service.name, path.display());
    }
    if imported.files.is_empty() {
        return "nothing to write\n".to_owned();
    }
    if let Some(reload) = &imported.reload {
        text += &format!("{}\n", handout::reload_text(reload));
        text += match reload {
            ReloadResult::Done => "next: posternd check\n",
            ReloadResult::NotRunning => "next: posternd check, then posternd run --trial 5m\n",
            ReloadResult::Refused(_) | ReloadResult::Failed(_) => "",
        };
    }
    text
}

fn object(imported: &Imported, dry_run: bool) -> Value {
    let made = &imported.converted;
    let file = |at: usize| {
        imported
            .files
            .get(at)
            .map(|path| path.display().to_string())
    };
    let users = made.users.iter().enumerate().map(|(at, user)| {
        json!({
            "name": user.name, "file": file(at),
            "from": { "file": user.place.file.display().to_string(), "line": user.place.line },
        })
    });
    let services = made.services.iter().enumerate();
    let services = services.map(|(at, service)| {
        json!({ "name": service.name, "file": file(made.users.len().saturating_add(at)) })
    });
    json!({
        "written": !dry_run && !imported.files.is_empty(),
        "users": users.collect::<Vec<_>>(),
        "services": services.collect::<Vec<_>>(),
        "findings": made.findings.0.iter().map(finding).collect::<Vec<_>>(),
        "refused": made.findings.0.iter().filter(|one| one.verdict == Verdict::Refuse).count(),
        "reload": imported.reload.as_ref().map(handout::reload_json),
    })
}

fn finding(one: &Finding) -> Value {
    let setting = Some(one.setting).filter(|name| !name.is_empty());
    json!({
        "file": one.place.file.display().to_string(), "line": one.place.line, "setting": setting,
        "verdict": one.verdict.word(), "what": one.what, "cure": one.cure,
    })
}
