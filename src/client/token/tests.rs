//! Lines that read back, lines that are damaged, and lines that nobody may write.

use proptest::prelude::*;

use super::*;

fn shared() -> SharedKey {
    SharedKey::from_bytes([0x5a; KEY_LEN])
}

fn private(byte: u8) -> PrivateKey {
    PrivateKey::from_bytes([byte; KEY_LEN])
}

fn token(key: TokenKey) -> Token {
    Token {
        user: "alice".to_owned(),
        gate: GateName::new("gate.example.org").unwrap(),
        addresses: vec![
            "gate.example.org".parse().unwrap(),
            "[2001:db8::1]:5000".parse().unwrap(),
        ],
        services: vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()],
        duration: Some(Duration::from_secs(600)),
        source_only: true,
        code: true,
        profile: Some("home".to_owned()),
        key,
    }
}

fn enrolled(psk: Option<PresharedKey>) -> Token {
    token(TokenKey::Enrolled {
        own: private(1).public(),
        gate: private(2).public(),
        psk,
    })
}

fn least() -> Token {
    let token = token(TokenKey::Shared(shared()));
    Token {
        addresses: vec!["g".parse().unwrap()],
        duration: None,
        source_only: false,
        code: false,
        profile: None,
        ..token
    }
}

/// Fields as a line of this kind, whatever they say.
fn line(kind: Kind, fields: &[(u8, &[u8])]) -> String {
    let mut all = Fields::new();
    fields
        .iter()
        .for_each(|(tag, value)| all.add(*tag, "test", value).unwrap());
    all.into_line(kind).unwrap().to_string()
}

#[test]
fn every_kind_of_token_reads_back_and_says_in_its_first_word_whether_it_is_secret() {
    let psk = || Some(PresharedKey::from_bytes([3; KEY_LEN]));
    let pair = |psk| {
        token(TokenKey::Pair {
            own: private(1),
            gate: private(2).public(),
            psk,
        })
    };
    for (token, word) in [
        (least(), "postern-secret-1."),
        (token(TokenKey::Shared(shared())), "postern-secret-1."),
        (pair(None), "postern-secret-1."),
        (pair(psk()), "postern-secret-1."),
        (enrolled(psk()), "postern-secret-1."),
        (enrolled(None), "postern-token-1."),
    ] {
        let line = token.to_line().unwrap();
        assert!(
            line.starts_with(word) && !line.contains(char::is_whitespace),
            "{token:?}"
        );
        assert_eq!(Token::from_line(&line), Ok(token));
    }
}

#[test]
fn a_request_reads_back_and_holds_the_public_key_alone() {
    for profile in [None, Some("home".to_owned())] {
        let request = Request {
            public_key: private(1).public(),
            profile,
        };
        let line = request.to_line().unwrap();
        assert!(line.starts_with("postern-request-1."), "{}", *line);
        assert_eq!(Request::from_line(&line), Ok(request));
    }
}

#[test]
fn a_line_that_was_wrapped_or_has_space_around_it_is_the_same_line() {
    let line = least().to_line().unwrap();
    let (one, other) = line.split_at(40);
    assert_eq!(
        Token::from_line(&format!(" {one}\r\n  {other}\n")),
        Ok(least())
    );
}

#[test]
fn one_character_that_is_missing_changed_or_too_many_is_told_as_damage() {
    let line = enrolled(None).to_line().unwrap();
    let start = "postern-token-1.".len();
    for at in start..line.len() {
        let (before, after) = (&line[..at], &line[at + 1..]);
        let other = if line.as_bytes()[at] == b'A' {
            'B'
        } else {
            'A'
        };
        for wrong in [
            format!("{before}{after}"),
            format!("{before}{other}{after}"),
            format!("{before}{other}{}", &line[at..]),
        ] {
            assert_eq!(Token::from_line(&wrong), Err(NotALine::Damaged), "{wrong}");
        }
        assert_eq!(Token::from_line(before), Err(NotALine::Damaged));
    }
}

#[test]
fn the_first_word_is_part_of_what_is_checked() {
    let line = least().to_line().unwrap();
    assert_eq!(
        Token::from_line(&line.replace("secret", "token")),
        Err(NotALine::Damaged)
    );
    let request = Request {
        public_key: private(1).public(),
        profile: None,
    }
    .to_line()
    .unwrap();
    assert_eq!(
        Request::from_line(&request.replace("request", "token")),
        Err(NotALine::Damaged)
    );
}

#[test]
fn another_kind_another_version_and_no_line_at_all_are_told_apart() {
    let request = Request {
        public_key: private(1).public(),
        profile: None,
    }
    .to_line()
    .unwrap();
    let said = |text: &str| Token::from_line(text).unwrap_err().to_string();
    assert_eq!(
        said(&request),
        "this is a request, not a token; a token is what posternd user add prints"
    );
    assert!(
        Request::from_line(&least().to_line().unwrap())
            .unwrap_err()
            .to_string()
            .starts_with("this is a token, not a request")
    );
    assert!(said("postern-token-2.AAAA").contains("another version"));
    assert!(
        said("postern-token-1").contains("cut or mistyped")
            && said("postern-token-.AAAA").contains("cut or mistyped")
    );
    assert!(said("fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU=").contains("no enrolment line; "));
    assert!(said("").contains("no enrolment line; "));
    assert!(said(&format!("postern-token-1.{}", "A".repeat(LINE_MAX))).contains("cut or mistyped"));
}

#[test]
fn what_nobody_may_write_is_refused_although_its_check_is_right() {
    let key = [7; KEY_LEN];
    let good: [(u8, &[u8]); 5] = [
        (tag::USER, b"alice"),
        (tag::GATE, b"g"),
        (tag::ADDRESS, b"g:1"),
        (tag::SERVICE, b"tcp/22"),
        (tag::SHARED_KEY, &key),
    ];
    assert!(Token::from_line(&line(Kind::Secret, &good)).is_ok());
    let with = |at: usize, field: (u8, &'static [u8])| {
        let mut fields = good.to_vec();
        fields[at] = field;
        fields
    };
    let and = |field: (u8, &'static [u8])| {
        let mut fields = good.to_vec();
        fields.push(field);
        fields.sort_by_key(|(tag, _)| *tag);
        fields
    };
    let cases = [
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
        with(4, (tag::PSK, &[7; KEY_LEN])),
        with(4, (tag::PRIVATE_KEY, &[7; KEY_LEN])),
        and((tag::DURATION, b"\0\0\0\0")),
        and((tag::DURATION, b"\0\x01")),
        and((tag::SOURCE_ONLY, b"\x01")),
        and((tag::PROFILE, b"../home")),
        and((tag::PROFILE, b".home")),
        and((tag::PRIVATE_KEY, &[7; KEY_LEN])),
        and((tag::PUBLIC_KEY, &[7; KEY_LEN])),
        and((tag::GATE_KEY, &[7; KEY_LEN])),
        and((tag::PSK, &[7; KEY_LEN])),
        and((tag::LAST + 1, b"")),
        and((0, b"")),
        and((tag::USER, b"bob")),
        good[..4].to_vec(),
        good[1..].to_vec(),
        good.iter().rev().copied().collect(),
    ];
    for fields in cases {
        let read = Token::from_line(&line(Kind::Secret, &fields));
        assert!(
            matches!(read, Err(NotALine::Content(_))),
            "{fields:?}: {read:?}"
        );
    }
    let many = |tag: u8, value: &'static [u8], count: usize| {
        let mut fields = good.to_vec();
        fields.retain(|(found, _)| *found != tag);
        fields.extend(std::iter::repeat_n((tag, value), count));
        fields.sort_by_key(|(tag, _)| *tag);
        Token::from_line(&line(Kind::Secret, &fields)).is_ok()
    };
    assert!(
        many(tag::SERVICE, b"tcp/1", SERVICES_MAX)
            && !many(tag::SERVICE, b"tcp/1", SERVICES_MAX + 1)
            && !many(tag::SERVICE, b"tcp/1", 0)
    );
    assert!(
        many(tag::ADDRESS, b"g:1", ADDRESSES_MAX)
            && !many(tag::ADDRESS, b"g:1", ADDRESSES_MAX + 1)
            && !many(tag::ADDRESS, b"g:1", 0)
    );
}

#[test]
fn a_secret_under_a_word_that_says_there_is_none_is_refused() {
    let key = [7; KEY_LEN];
    let fields: [(u8, &[u8]); 5] = [
        (tag::USER, b"alice"),
        (tag::GATE, b"g"),
        (tag::ADDRESS, b"g:1"),
        (tag::SERVICE, b"tcp/22"),
        (tag::SHARED_KEY, &key),
    ];
    assert_eq!(
        Token::from_line(&line(Kind::Token, &fields)),
        Err(NotALine::Content("kind"))
    );
}

#[test]
fn the_longest_token_fits_into_a_line_and_what_is_too_long_is_refused_not_cut() {
    let mut token = token(TokenKey::Pair {
        own: private(1),
        gate: private(2).public(),
        psk: Some(PresharedKey::from_bytes([3; KEY_LEN])),
    });
    token.user = "a".repeat(64);
    token.gate = GateName::new(&"g".repeat(255)).unwrap();
    token.profile = Some("p".repeat(PROFILE_NAME_MAX));
    token.services = (0..SERVICES_MAX)
        .map(|n| format!("{}{n:02}", "s".repeat(30)).parse().unwrap())
        .collect();
    token.addresses = vec![format!("{}:62201", "h".repeat(248)).parse().unwrap(); ADDRESSES_MAX];
    let line = token.to_line().unwrap();
    assert!(line.len() < LINE_MAX, "{}", line.len());
    assert_eq!(Token::from_line(&line).as_ref(), Ok(&token));
    token.addresses = vec![format!("{}:62201", "h".repeat(253)).parse().unwrap()];
    assert_eq!(token.to_line().err(), Some(NotALine::Content("address")));
    for count in [0, ADDRESSES_MAX + 1] {
        token.addresses = vec!["g".parse().unwrap(); count];
        assert_eq!(
            token.to_line().err(),
            Some(NotALine::Content("address")),
            "{count}"
        );
    }
    token.addresses.truncate(1);
    token.services.push("tcp/22".parse().unwrap());
    assert_eq!(token.to_line().err(), Some(NotALine::Content("services")));
}

#[test]
fn no_key_shows_in_debug_or_in_an_error() {
    let shown = format!("{:?}", token(TokenKey::Shared(shared())));
    assert!(shown.contains("SharedKey(..)"), "{shown}");
}

#[test]
fn names_of_profiles_are_no_paths() {
    for name in ["a", "home", "home-2", "H_1", &"a".repeat(32)] {
        assert!(is_profile_name(name), "{name}");
    }
    for name in [
        "",
        ".",
        "..",
        "-a",
        "_a",
        "a/b",
        "../a",
        "a.b",
        "a b",
        "ä",
        "a\n",
        &"a".repeat(33),
    ] {
        assert!(!is_profile_name(name), "{name}");
    }
}

#[test]
fn a_gate_is_called_by_the_first_part_of_its_name() {
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
    fn what_reads_is_written_the_same_way(fields in proptest::collection::vec((0_u8..14, proptest::collection::vec(any::<u8>(), 0..40)), 0..8)) {
        for kind in Kind::ALL {
            let fields: Vec<(u8, &[u8])> = fields.iter().map(|(tag, value)| (*tag, value.as_slice())).collect();
            let line = line(kind, &fields);
            if let Ok(token) = Token::from_line(&line) {
                let again = token.to_line().unwrap();
                prop_assert_eq!(again.as_str(), &line);
            }
            if let Ok(request) = Request::from_line(&line) {
                let again = request.to_line().unwrap();
                prop_assert_eq!(again.as_str(), &line);
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(postern-(request|token|secret)-[0-9]?\\.)?.{0,100}") {
        let _ = (Token::from_line(&text), Request::from_line(&text), Kind::of(&text));
    }
}
