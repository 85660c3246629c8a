//! Runs the client in its namespace, with the arguments of `postern`.

use std::ffi::OsStr;
use std::process::{Child, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::namespaces::Namespace;
use crate::adapters::process::{self, StartOptions};
use crate::model::exit::{ExitError, FAILED};

pub(super) fn postern(space: &Namespace, arguments: &[&str]) -> Result<(bool, String), ExitError> {
    let words = ["as-client"].iter().chain(arguments);
    let words: Vec<String> = words.map(ToString::to_string).collect();
    let ran = space.run(move || {
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let options = StartOptions {
            stdin: Stdio::null(),
            stdout: Stdio::piped(),
            stderr: Stdio::piped(),
            env: &[],
        };
        process::start_self(&words, options).and_then(Child::wait_with_output)
    })?;
    let output = ran.map_err(ExitError::system("running postern"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    Ok((output.status.success(), text))
}

/// A knock with the profile of this file, not sent.
pub(super) fn packet(
    space: &Namespace,
    profile: &str,
    file: &str,
    open_for: Duration,
) -> Result<Vec<u8>, ExitError> {
    let time = format!("{}s", open_for.as_secs());
    let arguments = [
        "knock", profile, "--config", file, "--for", &time, "--print",
    ];
    let (succeeded, output) = postern(space, &arguments)?;
    let packet = STANDARD.decode(output.trim());
    packet
        .ok()
        .filter(|_| succeeded)
        .ok_or_else(|| ExitError::new(FAILED, format!("postern knock --print: {output}")))
}
