//! Redis's protocol, as much of it as claims need: commands out, bounded replies in.

use std::io::{self, ErrorKind, Read};

/// The longest reply, of all that a claim or a check gets.
const REPLY_MAX: usize = 16 << 10;
const LIST_MAX: usize = 256;
const DEPTH_MAX: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Nil,
    Text(Vec<u8>),
    Error(String),
    Number(i64),
    List(Vec<Reply>),
}

impl Reply {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// A command and its arguments as bytes.
pub(super) fn command(parts: &[&str], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        // Not in one text: a part may be a password, and `bytes` is wiped.
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
}

/// Reads one reply.
pub(super) struct Replies<'s, S> {
    stream: &'s mut S,
    buffer: Vec<u8>,
    taken: usize,
}

impl<'s, S: Read> Replies<'s, S> {
    pub(super) fn of(stream: &'s mut S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            taken: 0,
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Reply> {
        self.reply(0)
    }

    /// Whether nothing was received that nobody asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.buffer.len()
    }

    fn reply(&mut self, depth: usize) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(wrong)?;
        let number = || rest.parse::<i64>().map_err(|_| wrong());
        let length = |most: usize| {
            let length = usize::try_from(number()?).map_err(|_| wrong())?;
            if length > most {
                return Err(wrong());
            }
            Ok(length)
        };
        Ok(match kind {
            "+" => Reply::Text(rest.as_bytes().to_vec()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(number()?),
            "_" => Reply::Nil,
            "$" | "*" if rest == "-1" => Reply::Nil,
            "$" => {
                let length = length(REPLY_MAX)?;
                let bytes = self.bytes(length)?;
                if self.bytes(2)? != b"\r\n" {
                    return Err(wrong());
                }
                Reply::Text(bytes)
            }
            "*" if depth < DEPTH_MAX => {
                let length = length(LIST_MAX)?;
                let items = (0..length).map(|_| self.reply(depth + 1));
                Reply::List(items.collect::<io::Result<_>>()?)
            }
            _ => return Err(wrong()),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            match self.bytes(1)?.as_slice() {
                b"\n" if line.ends_with(b"\r") => break,
                byte => line.extend_from_slice(byte),
            }
        }
        line.pop();
        String::from_utf8(line).map_err(|_| wrong())
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let end = self.taken.saturating_add(length);
        while self.buffer.len() < end {
            let mut part = [0; 1024];
            let count = self.stream.read(&mut part)?;
            let part = part.get(..count).unwrap_or_default();
            if part.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if self.buffer.len().saturating_add(count) > REPLY_MAX {
                return Err(wrong());
            }
            self.buffer.extend_from_slice(part);
        }
        let bytes = self.buffer.get(self.taken..end).unwrap_or_default();
        self.taken = end;
        Ok(bytes.to_vec())
    }
}

fn wrong() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "its answer is not Redis's")
}
