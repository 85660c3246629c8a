//! What `explain` is given: a packet on the command line, a file, or standard input; and whether what is in a file is a recording.

use std::io::{BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::adapters::capture::recording::begins;
use crate::adapters::files;
use crate::client::profile::without_secrets;
use crate::model::exit::{DATA, ExitError, IO, NO_INPUT};

/// A knock has 176 letters at least. What is much shorter is a name that was mistyped, though it may be base64 by chance.
const PACKET_TEXT_MIN: usize = 100;

type Source = Box<dyn Read>;

/// Something to explain.
pub struct Input {
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub source: BufReader<Source>,
}

/// What is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Packets in base64.
    Packets,
    /// A recording of packets.
    Recording,
}

impl Input {
    /// What this argument means: `-` is standard input, a file is read, anything else must be a packet in base64.
    ///
    /// # Errors
    /// Exit 66 where it is neither file nor packet, 74 where it can't be read.
    pub fn of(argument: &str) -> Result<Self, ExitError> {
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
        if argument.len() >= PACKET_TEXT_MIN && STANDARD.decode(argument.trim()).is_ok() {
            let source: Source = Box::new(Cursor::new(argument.to_owned().into_bytes()));
            return Ok(Self {
                kind: Kind::Packets,
                source: BufReader::new(source),
            });
        }
        let said = without_secrets(argument);
        Err(ExitError::new(
            NO_INPUT,
            format!(
                "{said} is neither a file nor a packet in base64; give a packet as `postern knock --print` writes it"
            ),
        ))
    }

    /// Looks at the first bytes.
    fn begin(mut source: Source, said: &str) -> Result<Self, ExitError> {
        let mut head = Vec::new();
        let read = (&mut source).take(4).read_to_end(&mut head);
        read.map_err(|error| match error.kind() {
            ErrorKind::IsADirectory => ExitError::new(
                DATA,
                format!("{said}: is a folder, not a file; name a file"),
            ),
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
