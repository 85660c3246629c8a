//! Tokens that read back, and other texts, which are refused.

use std::time::Duration;

use postern_proto::limits::KEY_LEN;
use postern_proto::{GateName, PresharedKey, PrivateKey, SharedKey};
use proptest::prelude::*;

use super::line::Fields;
use super::*;
use crate::model::grant_to::GrantTo;
use crate::model::quota::Quota;

fn private(byte: u8) -> PrivateKey {
    PrivateKey::from_bytes([byte; KEY_LEN])
}

fn psk() -> Option<PresharedKey> {
    Some(PresharedKey::from_bytes([3; KEY_LEN]))
}

fn token(key: TokenKey) -> Token {
    Token {
        user: "alice".to_owned(),
        gate: GateName::new("gate.example.org").unwrap(),
        addresses: ["gate.example.org", "[2001:db8::1]:5000"]
            .map(|a| a.parse().unwrap())
            .to_vec(),
        services: ["tcp/22", "web"]
            .map(|service| service.parse().unwrap())
            .to_vec(),
        duration: Some(Duration::from_secs(600)),
        grant_to: GrantTo::Observed,
        quota: "5/10s".parse().unwrap(),
        code: true,
        profile: Some("home".to_owned()),
        key,
    }
}

fn shared() -> Token {
    token(TokenKey::Shared(SharedKey::from_bytes([0x5a; KEY_LEN])))
}

fn enrolled(psk: Option<PresharedKey>) -> Token {
    token(TokenKey::Enrolled {
        own: private(1).public(),
        gate: private(2).public(),
        psk,
    })
}

fn pair(psk: Option<PresharedKey>) -> Token {
    token(TokenKey::Pair {
        own: private(1),
        gate: private(2).public(),
        psk,
    })
}

fn request() -> EnrollRequest {
    EnrollRequest {
        public_key: private(1).public(),
        profile: None,
    }
}

/// A line of this kind with any fields.
fn line(kind: LineKind, fields: &[(u8, &[u8])]) -> String {
    let mut all = Fields::new();
    for (tag, value) in fields {
        all.add(*tag, "test", value).unwrap();
    }
    all.into_line(kind).unwrap().to_string()
}

#[test]
fn lines_read_back_and_tell_if_secret() {
    let least = Token {
        addresses: vec!["g".parse().unwrap()],
        duration: None,
        grant_to: GrantTo::Either,
        quota: Quota::default(),
        code: false,
        profile: None,
        ..shared()
    };
    let claimed = Token {
        grant_to: GrantTo::Claimed,
        ..shared()
    };
    for (token, word) in [
        (claimed, "postern-secret-1."),
        (least, "postern-secret-1."),
        (shared(), "postern-secret-1."),
        (pair(None), "postern-secret-1."),
        (pair(psk()), "postern-secret-1."),
        (enrolled(psk()), "postern-secret-1."),
        (enrolled(None), "postern-token-1."),
    ] {
        let line = token.to_line().unwrap();
        let is_one_word = !line.contains(char::is_whitespace);
        assert!(line.starts_with(word) && is_one_word, "{token:?}");
        let (one, other) = line.split_at(40);
        let wrapped = Token::from_line(&format!(" {one}\r\n  {other}\n"));
        assert_eq!(wrapped.as_ref(), Ok(&token));
        assert_eq!(Token::from_line(&line), Ok(token));
    }
    for profile in [None, Some("home".to_owned())] {
        let request = EnrollRequest {
            profile,
            ..request()
        };
        let line = request.to_line().unwrap();
        assert!(line.starts_with("postern-request-1."), "{}", *line);
        assert_eq!(EnrollRequest::from_line(&line), Ok(request));
    }
}

#[test]
fn every_single_error_is_damage() {
    let line = enrolled(None).to_line().unwrap();
    for at in "postern-token-1.".len()..line.len() {
        let (before, after) = (&line[..at], &line[at + 1..]);
        let other = ['A', 'B'][usize::from(line.as_bytes()[at] == b'A')];
        for wrong in [
            before.to_owned(),
            format!("{before}{after}"),
            format!("{before}{other}{after}"),
            format!("{before}{other}{}", &line[at..]),
        ] {
            assert_eq!(Token::from_line(&wrong), Err(LineError::Damaged), "{wrong}");
        }
    }
    let renamed = shared().to_line().unwrap().replace("secret", "token");
    assert_eq!(Token::from_line(&renamed), Err(LineError::Damaged));
    let renamed = request().to_line().unwrap().replace("request", "token");
    assert_eq!(Token::from_line(&renamed), Err(LineError::Damaged));
}

#[test]
fn kind_version_and_damage_are_told_apart() {
    let request = request().to_line().unwrap();
    let long = format!("postern-token-1.{}", "A".repeat(LINE_MAX));
    for (text, error) in [
        (request.as_str(), LineError::NotAToken),
        ("postern-token-2.AAAA", LineError::Version),
        ("postern-token-1", LineError::Damaged),
        ("postern-token-.AAAA", LineError::Damaged),
        (&long, LineError::Damaged),
        (&"fyPbTQjV".repeat(5), LineError::Kind),
        ("", LineError::Kind),
    ] {
        assert_eq!(Token::from_line(text), Err(error), "{text}");
    }
    let request = EnrollRequest::from_line(&shared().to_line().unwrap());
    assert_eq!(request, Err(LineError::NotARequest));
}

#[test]
fn invalid_content_is_refused_despite_checksum() {
    let good: [(u8, &[u8]); 5] = [
        (tag::USER, b"alice"),
        (tag::GATE, b"g"),
        (tag::ADDRESS, b"g:1"),
        (tag::SERVICE, b"tcp/22"),
        (tag::SHARED_KEY, &[7; KEY_LEN]),
    ];
    assert!(Token::from_line(&line(LineKind::Secret, &good)).is_ok());
    let public = Token::from_line(&line(LineKind::Token, &good));
    assert_eq!(public, Err(LineError::Content("kind")));
    let with = |at: usize, field: (u8, &'static [u8])| {
        let mut fields = good.to_vec();
        fields[at] = field;
        fields
    };
    let and = |field: (u8, &'static [u8])| {
        let mut fields = [&good[..], &[field]].concat();
        fields.sort_by_key(|(tag, _)| *tag);
        fields
    };
    let key: &[u8] = &[7; KEY_LEN];
    for fields in [
        with(0, (tag::USER, b"../alice")),
        with(0, (tag::USER, b"")),
        with(0, (tag::USER, b"\xff")),
        with(1, (tag::GATE, b"")),
        with(1, (tag::GATE, b"g\x1b[2J")),
        with(2, (tag::ADDRESS, b"g")),
        with(2, (tag::ADDRESS, b"g:0")),
        with(3, (tag::SERVICE, b"tcp/22-22")),
        with(3, (tag::SERVICE, b"TCP/22")),
        with(4, (tag::SHARED_KEY, b"short")),
        with(4, (tag::PSK, key)),
        with(4, (tag::PRIVATE_KEY, key)),
        and((tag::DURATION, b"\0\0\0\0")),
        and((tag::DURATION, b"\0\x01")),
        and((tag::SOURCE_ONLY, b"\x01")),
        and((tag::GRANT_TO, b"observed")),
        and((tag::GRANT_TO, b"either")),
        and((tag::QUOTA, b"30/min")),
        and((tag::QUOTA, b"5/1min")),
        and((tag::QUOTA, b"0/min")),
        and((tag::PROFILE, b"../home")),
        and((tag::PROFILE, b".home")),
        and((tag::PRIVATE_KEY, key)),
        and((tag::PUBLIC_KEY, key)),
        and((tag::GATE_KEY, key)),
        and((tag::PSK, key)),
        and((tag::LAST + 1, b"")),
        and((0, b"")),
        and((tag::USER, b"bob")),
        good[..4].to_vec(),
        good[1..].to_vec(),
        good.iter().rev().copied().collect(),
    ] {
        let read = Token::from_line(&line(LineKind::Secret, &fields));
        let is_refused = matches!(read, Err(LineError::Content(_)));
        assert!(is_refused, "{fields:?}: {read:?}");
    }
    for (tag, value, most) in [
        (tag::SERVICE, b"tcp/1".as_slice(), SERVICES_MAX),
        (tag::ADDRESS, b"g:1", ADDRESSES_MAX),
    ] {
        for (count, valid) in [(0, false), (most, true), (most + 1, false)] {
            let mut fields = good.to_vec();
            fields.retain(|(found, _)| *found != tag);
            fields.extend(std::iter::repeat_n((tag, value), count));
            fields.sort_by_key(|(tag, _)| *tag);
            let read = Token::from_line(&line(LineKind::Secret, &fields));
            assert_eq!(read.is_ok(), valid, "{count}");
        }
    }
}

#[test]
fn too_long_token_is_refused_not_cut() {
    let address = |length| format!("{}:62201", "h".repeat(length)).parse().unwrap();
    let service = |n| format!("{}{n:02}", "s".repeat(30)).parse().unwrap();
    let mut token = Token {
        user: "a".repeat(64),
        gate: GateName::new(&"g".repeat(255)).unwrap(),
        profile: Some("p".repeat(32)),
        services: (0..SERVICES_MAX).map(service).collect(),
        addresses: vec![address(248); ADDRESSES_MAX],
        ..pair(psk())
    };
    let line = token.to_line().unwrap();
    assert!(line.len() < LINE_MAX, "{}", line.len());
    assert_eq!(Token::from_line(&line).as_ref(), Ok(&token));
    let too_many = vec![address(1); ADDRESSES_MAX + 1];
    for addresses in [vec![address(253)], Vec::new(), too_many] {
        token.addresses = addresses;
        assert_eq!(token.to_line().err(), Some(LineError::Content("address")));
    }
    token.addresses.truncate(1);
    token.services.push("tcp/22".parse().unwrap());
    assert_eq!(token.to_line().err(), Some(LineError::Content("services")));
}

#[test]
fn profile_name_comes_from_the_gate() {
    for (gate, name) in [
        ("gate.example.org", "gate"),
        ("bastion", "bastion"),
        ("192.0.2.1", "gate"),
        ("ä", "gate"),
        ("2001:db8::1", "gate"),
    ] {
        assert_eq!(short_name(gate), name);
    }
}

proptest! {
    #[test]
    fn valid_line_is_canonical(fields in proptest::collection::vec((0_u8..16, proptest::collection::vec(any::<u8>(), 0..40)), 0..8)) {
        let fields: Vec<(u8, &[u8])> = fields.iter().map(|(tag, value)| (*tag, value.as_slice())).collect();
        for kind in LineKind::ALL {
            let line = line(kind, &fields);
            if let Ok(token) = Token::from_line(&line) {
                prop_assert_eq!(token.to_line().unwrap().to_string(), line.clone());
            }
            if let Ok(request) = EnrollRequest::from_line(&line) {
                prop_assert_eq!(request.to_line().unwrap().to_string(), line.clone());
            }
        }
    }

    #[test]
    fn no_text_panics(text in "(postern-(request|token|secret)-[0-9]?\\.)?.{0,100}") {
        let _ = (Token::from_line(&text), EnrollRequest::from_line(&text), LineKind::of(&text));
    }
}
