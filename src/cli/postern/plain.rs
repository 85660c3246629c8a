//! The commonest command line, `postern knock PROFILE`, read without clap.
//!
//! The tree of all arguments costs a tenth of the time of a knock. Whatever is not exactly this goes to clap.

use std::ffi::OsString;

use super::arguments::{Arguments, Command, Gate, Knock, RequestArguments};
use crate::cli::deferred::Deferred;
use crate::client::token::is_profile_name;

/// `knock PROFILE`, with `--config FILE` before or after it; `None` for anything else. `variable` is POSTERN_CONFIG.
pub(super) fn knock(arguments: &[OsString], variable: Option<OsString>) -> Option<Arguments> {
    // clap refuses it even beside --config.
    if variable.as_ref().is_some_and(|file| file.is_empty()) {
        return None;
    }
    let (config, rest) = match arguments {
        [option, file, rest @ ..] | [rest @ .., option, file] if option == "--config" => {
            (Some(file.clone()), rest)
        }
        rest => (variable, rest),
    };
    let is_file = |file: &OsString| !file.is_empty() && !file.as_encoded_bytes().starts_with(b"-");
    if !config.iter().all(is_file) {
        return None;
    }
    let [command, profile] = rest else {
        return None;
    };
    let profile = profile.to_str().filter(|name| is_profile_name(name))?;
    let gate = Gate {
        profile: Some(profile.to_owned()),
        ..Gate::default()
    };
    let request = RequestArguments {
        gate,
        ..RequestArguments::default()
    };
    let knock = Knock {
        request,
        ..Knock::default()
    };
    (command == "knock").then(|| Arguments {
        command: Command::Knock(Deferred(knock)),
        config: config.map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn read(line: &str) -> Option<Arguments> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        knock(&arguments, None)
    }

    #[test]
    fn plain_knock_is_read_as_by_clap() {
        for line in [
            "knock home",
            "knock help",
            "knock 1-2_x --config f",
            "--config /a/b knock home",
        ] {
            let by_clap = Arguments::try_parse_from(["postern"].into_iter().chain(line.split(' ')));
            let (plain, by_clap) = (read(line).unwrap(), by_clap.unwrap());
            assert_eq!(format!("{plain:?}"), format!("{by_clap:?}"));
        }
    }

    #[test]
    fn other_lines_go_to_clap() {
        for line in [
            "",
            "knock",
            "close home",
            "knock home office",
            "knock --json home",
            "knock -h",
            "knock home --config",
            "knock home --config -x",
            "knock home --config=f",
            "--config f knock home --config f",
            "knock h.ome",
        ] {
            assert!(read(line).is_none(), "{line}");
        }
        let line = ["knock".into(), "home".into()];
        assert!(knock(&line, Some(OsString::new())).is_none());
        let config = knock(&line, Some("f".into())).and_then(|arguments| arguments.config);
        assert_eq!(config, Some("f".into()));
    }
}
