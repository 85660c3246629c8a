//! A minimal HTTP/1.1 server for `GET /metrics` on a loopback address.
//!
//! It serves one connection at a time, with limits on length and time, and closes it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Protocol, Socket, Type};

const BACKLOG: i32 = 8;
const REQUEST_MAX: usize = 8192;
/// The most reads for a request, and the deadline for each.
const READS: u32 = 16;
const READ_WITHIN: Duration = Duration::from_millis(250);
/// The deadline for a client to read the answer.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections in TIME_WAIT must not keep a restart from listening.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // An engine could change whether a shared socket blocks, so none relies on it.
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Waits for a connection.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    poll(&mut [PollFd::new(listener, PollFlags::IN)], None)?;
    listener.accept().map(|(stream, _)| stream)
}

/// Serves one connection. `metrics` is called only for a valid request; `None` means unavailable now.
pub(crate) fn serve(
    mut stream: TcpStream,
    metrics: impl FnOnce() -> Option<String>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_WITHIN))?;
    stream.set_write_timeout(Some(WRITE_WITHIN))?;
    answer(&mut stream, metrics)
}

#[derive(Debug, PartialEq, Eq)]
enum HttpRequest {
    Metrics { head: bool },
    Other(&'static str),
}

fn answer(
    stream: &mut (impl Read + Write),
    metrics: impl FnOnce() -> Option<String>,
) -> io::Result<()> {
    let (status, head, metrics) = match parse(&request(stream)?) {
        HttpRequest::Other(status) => (status, false, None),
        HttpRequest::Metrics { head } => match metrics() {
            Some(metrics) => ("200 OK", head, Some(metrics)),
            None => ("503 Service Unavailable", head, None),
        },
    };
    let (kind, body) = metrics.map_or_else(
        || ("text/plain; charset=utf-8", format!("{status}\n")),
        |metrics| (TYPE, metrics),
    );
    let allow = if status.starts_with("405") {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\n{allow}Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if !head {
        bytes.push_str(&body);
    }
    stream.write_all(bytes.as_bytes())
}

fn request(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1024);
    let mut piece = [0; 1024];
    for _ in 0..READS {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => bytes.extend_from_slice(piece.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if ends(&bytes) || bytes.len() > REQUEST_MAX {
            break;
        }
    }
    Ok(bytes)
}

fn ends(request: &[u8]) -> bool {
    request.windows(4).any(|four| four == b"\r\n\r\n")
}

fn parse(request: &[u8]) -> HttpRequest {
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .and_then(|line| std::str::from_utf8(line).ok())
        .unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words.as_slice() else {
        return HttpRequest::Other("400 Bad Request");
    };
    if !version.starts_with("HTTP/1.") || !ends(request) {
        return HttpRequest::Other("400 Bad Request");
    }
    if *target != "/metrics" && !target.starts_with("/metrics?") {
        return HttpRequest::Other("404 Not Found");
    }
    match *method {
        "GET" => HttpRequest::Metrics { head: false },
        "HEAD" => HttpRequest::Metrics { head: true },
        _ => HttpRequest::Other("405 Method Not Allowed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Client(Vec<Vec<u8>>, Vec<u8>);

    impl Read for Client {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let mut piece = self.0.remove(0);
            let len = piece.len().min(buffer.len());
            buffer[..len].copy_from_slice(&piece[..len]);
            if len < piece.len() {
                self.0.insert(0, piece.split_off(len));
            }
            Ok(len)
        }
    }

    impl Write for Client {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(pieces: &[&[u8]]) -> (io::Result<()>, String) {
        let pieces = pieces.iter().map(|piece| piece.to_vec());
        let mut client = Client(pieces.collect(), Vec::new());
        let result = answer(&mut client, || Some("page\n".to_owned()));
        (result, String::from_utf8(client.1).unwrap())
    }

    #[test]
    fn metrics_are_served_with_length_and_type() {
        let (_, whole) =
            said(&[b"GET /metrics HTTP/1.1\r\nHost: localhost:9162\r\nAccept: */*\r\n\r\n"]);
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for part in [TYPE, "\r\nContent-Length: 5\r\n"] {
            assert!(head.contains(part), "{head}");
        }
        assert!(head.ends_with("Connection: close"), "{whole}");
        assert!(body == "page\n", "{whole}");
        let found = said(&[b"GET /met", b"rics?x=y HTTP/1.0\r", b"\n\r\n"]).1;
        assert_eq!(found, whole, "in pieces");
        let (_, without) = said(&[b"HEAD /metrics HTTP/1.1\r\n\r\n"]);
        assert_eq!(without, format!("{head}\r\n\r\n"));
    }

    #[test]
    fn other_request_has_a_status_and_no_metrics() {
        let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'x'; REQUEST_MAX]].concat();
        let cases: [(&[u8], &str); 9] = [
            (b"GET / HTTP/1.1\r\n\r\n", "404 "),
            (b"GET /metricsx HTTP/1.1\r\n\r\n", "404 "),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405 "),
            (b"GET /metrics HTTP/2\r\n\r\n", "400 "),
            (b"GET /metrics\r\n\r\n", "400 "),
            (b"\r\n\r\n", "400 "),
            (b"\xff\xfe\0\r\n\r\n", "400 "),
            (b"GET  /metrics HTTP/1.1\r\n\r\n", "400 "),
            (&long, "400 "),
        ];
        for (request, status) in cases {
            let (_, answer) = said(&[request]);
            let has_status = answer.starts_with(&format!("HTTP/1.1 {status}"));
            assert!(has_status && !answer.contains("page"), "{answer}");
        }
        let (_, post) = said(&[b"POST /metrics HTTP/1.1\r\n\r\n"]);
        assert!(post.contains("\r\nAllow: GET, HEAD\r\n"), "{post}");
    }

    #[test]
    fn slow_client_is_cut_off() {
        assert!(said(&[b"GET /metrics HTTP/1.1\r\n"]).0.is_err(), "silence");
        let letters: Vec<&[u8]> = b"GET /metrics HTTP/1.1\r\n\r\n".chunks(1).collect();
        let (_, answer) = said(&letters);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let mut closed = Client(vec![Vec::new()], Vec::new());
        let no_page = || panic!("the page is for those who ask for it");
        super::answer(&mut closed, no_page).unwrap();
        assert!(closed.1.starts_with(b"HTTP/1.1 400 "));
    }

    #[test]
    fn unavailable_metrics_are_503() {
        let mut client = Client(vec![b"GET /metrics HTTP/1.1\r\n\r\n".to_vec()], Vec::new());
        answer(&mut client, || None).unwrap();
        assert!(client.1.starts_with(b"HTTP/1.1 503 "));
    }
}
