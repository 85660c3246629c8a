//! The input of `explain`: a packet as an argument, a file or standard input, with base64 text or a recording.

use std::io::{BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::adapters::capture::recording::begins;
use crate::adapters::files;
use crate::client::profile::without_secrets;
use crate::model::exit::{DATA, ExitError, IO, NO_INPUT};

/// A knock has at least 176 characters. A much shorter argument is a mistyped file name.
const PACKET_TEXT_MIN: usize = 100;

type Source = Box<dyn Read>;

pub(crate) struct Input {
    pub(crate) kind: Kind,
    pub(crate) source: BufReader<Source>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Packets,
    Recording,
}

impl Input {
    /// Opens the input: `-` is standard input, anything else a file or a packet in base64.
    pub(crate) fn of(argument: &str) -> Result<Self, ExitError> {
        let path = Path::new(argument);
        if argument == "-" {
            return Self::begin(Box::new(std::io::stdin()), "standard input");
        }
        if path.exists() {
            let said = path.display().to_string();
            let file = files::open_input(path)
                .map_err(|error| ExitError::new(IO, format!("{said}: {error}")))?;
            return Self::begin(Box::new(file), &said);
        }
        let text = argument.trim();
        let is_fwknop = postern_fwknop::looks_like(text.as_bytes());
        if argument.len() >= PACKET_TEXT_MIN && (is_fwknop || STANDARD.decode(text).is_ok()) {
            let source: Source = Box::new(Cursor::new(argument.to_owned().into_bytes()));
            return Ok(Self {
                kind: Kind::Packets,
                source: BufReader::new(source),
            });
        }
        let what = "is neither a file nor a packet in base64";
        let cure = "give a packet as `postern knock --print` or `fwknop -B` writes it";
        let said = without_secrets(argument);
        Err(ExitError::new(NO_INPUT, format!("{said} {what}; {cure}")))
    }

    fn begin(mut source: Source, said: &str) -> Result<Self, ExitError> {
        let mut head = Vec::new();
        let read = (&mut source).take(4).read_to_end(&mut head);
        read.map_err(|error| match error.kind() {
            ErrorKind::IsADirectory => {
                let what = format!("{said}: is a folder, not a file; name a file");
                ExitError::new(DATA, what)
            }
            _ => ExitError::new(IO, format!("{said}: {error}")),
        })?;
        let kind = if begins(&head) {
            Kind::Recording
        } else {
            Kind::Packets
        };
        let source: Source = Box::new(Cursor::new(head).chain(source));
        Ok(Self {
            kind,
            source: BufReader::new(source),
        })
    }
}
