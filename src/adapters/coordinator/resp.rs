//! Redis's protocol, as much of it as claims need: commands out, bounded replies in.

use std::io::{self, ErrorKind, Read};

const LIST_MAX: usize = 256;
/// Entries of a stream are this deep: streams, a stream, its entries, an entry, its fields.
const DEPTH_MAX: usize = 5;

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
pub(super) fn command(parts: &[impl AsRef<[u8]>], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts.iter().map(AsRef::as_ref) {
        // Not in one text: a part may be a password, and `bytes` is wiped.
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// Reads one reply.
pub(super) struct Replies<'s, S> {
    stream: &'s mut S,
    buffer: Vec<u8>,
    taken: usize,
    most: usize,
}

impl<'s, S: Read> Replies<'s, S> {
    /// All replies together may have this many bytes. Longer ones are [`ErrorKind::FileTooLarge`].
    pub(super) fn of(stream: &'s mut S, most: usize) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            taken: 0,
            most,
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
                let length = length(usize::MAX)?;
                if length > self.most {
                    return Err(too_long());
                }
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
        let mut searched = self.taken;
        loop {
            let new = self.buffer.get(searched..).unwrap_or_default();
            if let Some(found) = new.iter().position(|byte| *byte == b'\n') {
                let end = searched.saturating_add(found);
                let line = self.buffer.get(self.taken..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").ok_or_else(wrong)?.to_vec();
                self.taken = end.saturating_add(1);
                return String::from_utf8(line).map_err(|_| wrong());
            }
            searched = self.buffer.len();
            self.fill()?;
        }
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let end = self.taken.saturating_add(length);
        while self.buffer.len() < end {
            self.fill()?;
        }
        let bytes = self.buffer.get(self.taken..end).unwrap_or_default();
        self.taken = end;
        Ok(bytes.to_vec())
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut part = [0; 4096];
        let count = self.stream.read(&mut part)?;
        let part = part.get(..count).unwrap_or_default();
        if part.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if self.buffer.len().saturating_add(count) > self.most {
            return Err(too_long());
        }
        self.buffer.extend_from_slice(part);
        Ok(())
    }
}

fn wrong() -> io::Error {
    not_redis(ErrorKind::InvalidData)
}

fn too_long() -> io::Error {
    not_redis(ErrorKind::FileTooLarge)
}

fn not_redis(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "its answer is not Redis's")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> io::Result<Reply> {
        Replies::of(&mut bytes, 100).next()
    }

    #[test]
    fn replies_are_read_whole() {
        let entry = Reply::List(vec![Reply::Text(b"1-0".to_vec()), Reply::List(Vec::new())]);
        for (bytes, reply) in [
            ("+OK\r\n", Reply::Text(b"OK".to_vec())),
            ("-ERR no\r\n", Reply::Error("ERR no".to_owned())),
            (":-7\r\n", Reply::Number(-7)),
            ("$-1\r\n", Reply::Nil),
            ("*-1\r\n", Reply::Nil),
            ("$4\r\na\r\nb\r\n", Reply::Text(b"a\r\nb".to_vec())),
            ("*2\r\n$3\r\n1-0\r\n*0\r\n", entry),
        ] {
            assert_eq!(read(bytes.as_bytes()).unwrap(), reply);
        }
    }

    #[test]
    fn lies_are_not_read() {
        let long = "x".repeat(200);
        for bytes in [
            "",
            "\r\n",
            "?\r\n",
            "+OK",
            "+OK\n",
            &long,
            ":x\r\n",
            "$5\r\nab\r\n",
            "$2\r\nabc\r\n",
            "$-2\r\n",
            "$101\r\n",
            "$99999999999999999999\r\n",
            "*257\r\n",
            "*1000000000\r\n",
            &"*1\r\n".repeat(20),
        ] {
            assert!(read(bytes.as_bytes()).is_err(), "{bytes}");
        }
        assert!(read(b"+\xff\r\n").is_err());
    }
}
