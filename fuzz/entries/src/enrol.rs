//! Any text as an enrolment line, and any fields under a check that is right: lines are made and pasted by people.
//!
//! The input is `0` and a text, or `1`, `2`, `3` for a request, a token, a secret token, and the bytes of its fields. What reads is written
//! the same way, and says in its first word whether there is a key in it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::client::token::{EnrollRequest, LineKind, Token};
use sha2::{Digest, Sha256};

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let line = match kind {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => line("postern-request-1.", rest),
        2 => line("postern-token-1.", rest),
        _ => line("postern-secret-1.", rest),
    };
    read(&line);
}

/// Whether the line is a request, a token.
pub fn read(line: &str) -> (bool, bool) {
    let compact: String = line.split_ascii_whitespace().collect();
    let request = EnrollRequest::from_line(line);
    if let Ok(request) = &request {
        assert_eq!(
            *request.to_line().expect("what was read can be written"),
            compact,
            "one way to write it"
        );
        assert_eq!(LineKind::of(line), Some(LineKind::Request));
    }
    let token = Token::from_line(line);
    if let Ok(token) = &token {
        assert_eq!(
            *token.to_line().expect("what was read can be written"),
            compact,
            "one way to write it"
        );
        assert_eq!(
            LineKind::of(line),
            Some(if token.is_secret() {
                LineKind::Secret
            } else {
                LineKind::Token
            })
        );
        assert!(
            !token.gate.as_str().contains(char::is_control),
            "it is shown on a terminal"
        );
    }
    for error in [request.as_ref().err(), token.as_ref().err()]
        .into_iter()
        .flatten()
    {
        assert_eq!(error.to_string().lines().count(), 1);
    }
    (request.is_ok(), token.is_ok())
}

pub fn line(prefix: &str, fields: &[u8]) -> String {
    let check = Sha256::new()
        .chain_update(prefix)
        .chain_update(fields)
        .finalize();
    format!(
        "{prefix}{}",
        URL_SAFE_NO_PAD.encode([fields, &check[..4]].concat())
    )
}
