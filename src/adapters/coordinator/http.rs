//! HTTP/1.1, as much of it as etcd's JSON gateway needs: one request, and an answer that is bounded or read in parts.
//!
//! Not a crate: the answer to a watch has no end, and each event in it has its own deadline.

use std::io::{self, ErrorKind, Read, Write};

use zeroize::Zeroizing;

/// The longest head of an answer, and the longest line before or after a chunk.
const HEAD_MAX: usize = 16 << 10;
const LINE_MAX: usize = 1 << 10;

pub(super) struct Request<'r> {
    pub(super) host: &'r str,
    pub(super) path: &'r str,
    pub(super) token: Option<&'r str>,
    pub(super) body: &'r [u8],
}

impl Request<'_> {
    /// In one piece, and wiped: the body may hold a password.
    pub(super) fn send(&self, stream: &mut impl Write) -> io::Result<()> {
        let Self { host, path, .. } = self;
        let length = self.body.len();
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.saturating_add(1 << 10)));
        write!(
            bytes,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
        )?;
        if let Some(token) = self.token.filter(|token| is_header(token)) {
            write!(bytes, "Authorization: {token}\r\n")?;
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body);
        stream.write_all(&bytes)?;
        stream.flush()
    }
}

/// The server chose the token.
fn is_header(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An answer whose body is read in parts. A read that failed for its deadline can be tried again.
pub(super) struct Answer<'s, S> {
    stream: &'s mut S,
    buffer: Vec<u8>,
    pub(super) status: u16,
    /// The connection can be used again after the last part.
    is_kept: bool,
    body: Body,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// This many bytes, and then the end.
    Length(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    End,
}

impl<'s, S: Read> Answer<'s, S> {
    /// Reads the head.
    pub(super) fn read(stream: &'s mut S) -> io::Result<Self> {
        let mut answer = Self {
            stream,
            buffer: Vec::new(),
            status: 0,
            is_kept: true,
            body: Body::Length(0),
        };
        let mut left = HEAD_MAX;
        let mut line = |answer: &mut Self| {
            let line = answer.line(left)?;
            left = left.saturating_sub(line.len());
            Ok::<_, io::Error>(line)
        };
        let first = line(&mut answer)?;
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        answer.status = status
            .and_then(|status| status.parse().ok())
            .ok_or_else(wrong)?;
        let mut is_bounded = false;
        loop {
            let header = line(&mut answer)?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or_else(wrong)?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" if !is_bounded => {
                    answer.body = Body::Length(value.parse().map_err(|_| wrong())?);
                    is_bounded = true;
                }
                "transfer-encoding" if !is_bounded && value.eq_ignore_ascii_case("chunked") => {
                    answer.body = Body::ChunkSize;
                    is_bounded = true;
                }
                "content-length" | "transfer-encoding" => return Err(wrong()),
                "connection" => answer.is_kept &= !value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        // An answer that ends with its connection is none of etcd's.
        if !is_bounded {
            return Err(wrong());
        }
        Ok(answer)
    }

    pub(super) fn stream(&mut self) -> &mut S {
        self.stream
    }

    /// The whole body, and whether the connection can be used again. A longer one is [`ErrorKind::FileTooLarge`].
    pub(super) fn whole(mut self, most: usize) -> io::Result<(Vec<u8>, bool)> {
        let mut whole = Vec::new();
        while self.part(&mut whole)? {
            if whole.len() > most {
                return Err(not_etcd(ErrorKind::FileTooLarge));
            }
        }
        // The server sent more than was asked for.
        Ok((whole, self.is_kept && self.buffer.is_empty()))
    }

    /// Appends what comes next. Returns false at the end.
    pub(super) fn part(&mut self, to: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match self.body {
                Body::Length(0) | Body::End => return Ok(false),
                Body::Length(left) => {
                    self.body = Body::Length(left - self.some(left, to)?);
                    return Ok(true);
                }
                Body::Chunk(left) => {
                    let left = left - self.some(left, to)?;
                    self.body = if left == 0 {
                        Body::ChunkEnd
                    } else {
                        Body::Chunk(left)
                    };
                    return Ok(true);
                }
                Body::ChunkSize => {
                    let line = self.line(LINE_MAX)?;
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    self.body = match usize::from_str_radix(digits, 16).map_err(|_| wrong())? {
                        0 => Body::Trailer,
                        size => Body::Chunk(size),
                    };
                }
                Body::ChunkEnd => {
                    if !self.line(LINE_MAX)?.is_empty() {
                        return Err(wrong());
                    }
                    self.body = Body::ChunkSize;
                }
                Body::Trailer => {
                    if self.line(LINE_MAX)?.is_empty() {
                        self.body = Body::End;
                    }
                }
            }
        }
    }

    /// At least one byte and at most this many.
    fn some(&mut self, most: usize, to: &mut Vec<u8>) -> io::Result<usize> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        let count = most.min(self.buffer.len());
        to.extend(self.buffer.drain(..count));
        Ok(count)
    }

    fn line(&mut self, most: usize) -> io::Result<String> {
        let mut searched = 0;
        loop {
            let found = self
                .buffer
                .iter()
                .skip(searched)
                .position(|byte| *byte == b'\n');
            if let Some(end) = found.map(|found| found.saturating_add(searched)) {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.pop() != Some(b'\r') {
                    return Err(wrong());
                }
                return String::from_utf8(line).map_err(|_| wrong());
            }
            searched = self.buffer.len();
            if searched > most {
                return Err(wrong());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut part = [0; 4096];
        let count = self.stream.read(&mut part)?;
        let part = part.get(..count).unwrap_or_default();
        if part.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(part);
        Ok(())
    }
}

fn wrong() -> io::Error {
    not_etcd(ErrorKind::InvalidData)
}

fn not_etcd(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "its answer is not etcd's")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte at each read.
    struct Slow<'b>(&'b [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1);
            self.0.read(&mut to[..count])
        }
    }

    fn whole(answer: &str) -> io::Result<(u16, String, bool)> {
        let mut stream = Slow(answer.as_bytes());
        let answer = Answer::read(&mut stream)?;
        let status = answer.status;
        let (body, is_kept) = answer.whole(20)?;
        Ok((status, String::from_utf8(body).unwrap(), is_kept))
    }

    #[test]
    fn answers_of_both_lengths_are_read() {
        for (answer, status, body, is_kept) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                200,
                "abc",
                true,
            ),
            (
                "HTTP/1.1 401 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                401,
                "",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
                200,
                "abc0123456789",
                true,
            ),
        ] {
            assert_eq!(whole(answer).unwrap(), (status, body.to_owned(), is_kept));
        }
    }

    #[test]
    fn lies_are_not_read() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(20 << 10));
        let chunks = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            "2\r\nxx\r\n".repeat(20)
        );
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\n\r\nno end",
            "HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxx",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            &long,
            &chunks,
        ] {
            assert!(whole(answer).is_err(), "{answer}");
        }
    }
}
