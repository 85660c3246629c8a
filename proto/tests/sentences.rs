//! What the crate's errors and names say of themselves: each its own sentence, and none with a byte of a key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeSet;

use postern_proto::{
    Action, Allow, BadLength, BadSeal, CodeKeyError, EncodeError, GateName, KeyError, KeyMaterial,
    Malformed, OpenBuffer, Request, SealError, ServiceName, SharedKey, UserKeys, seal,
};

#[test]
fn every_error_says_in_a_sentence_of_its_own_what_is_wrong() {
    let said = [
        (BadLength.to_string(), "132 to 516 bytes"),
        (BadSeal.to_string(), "does not open"),
        (KeyError::GateName.to_string(), "1 to 255 bytes"),
        (KeyError::Length.to_string(), "44 characters"),
        (KeyError::Base64.to_string(), "canonical base64"),
        (KeyError::ZeroSecret.to_string(), "all zero"),
        (CodeKeyError::Base32.to_string(), "base32"),
        (CodeKeyError::Length.to_string(), "16 to 64 bytes"),
        (CodeKeyError::Digits.to_string(), "6 to 8 digits"),
        (EncodeError::BodyLength.to_string(), "64 to 448"),
        (SealError::Cipher.to_string(), "cipher"),
    ];
    for (at, (sentence, part)) in said.iter().enumerate() {
        assert!(
            sentence.contains(part),
            "{sentence:?} does not say {part:?}"
        );
        assert!(
            said.iter().skip(at + 1).all(|(other, _)| other != sentence),
            "{sentence:?} is said of two errors"
        );
    }
    // Those that wrap another error say what that one says.
    let rules: BTreeSet<String> = Malformed::ALL.iter().map(Malformed::to_string).collect();
    assert_eq!(rules.len(), Malformed::ALL.len(), "{rules:?}");
    assert!(rules.contains("it would open no service"));
    assert_eq!(
        SealError::Encode(EncodeError::TooLong).to_string(),
        EncodeError::TooLong.to_string()
    );
    assert!(rules.contains(&EncodeError::Malformed(Malformed::NoService).to_string()));
}

#[test]
fn names_are_shown_as_they_are() {
    assert_eq!(
        GateName::new("gate.example.org").unwrap().to_string(),
        "gate.example.org"
    );
    let web = ServiceName::new("web").unwrap();
    assert_eq!(format!("{web} {web:?}"), "web ServiceName(web)");
}

#[test]
fn a_packet_and_an_opened_body_do_not_show_what_is_in_them() {
    let keys = UserKeys::derive(
        &GateName::new("gate.example.org").unwrap(),
        &KeyMaterial::shared(&SharedKey::from_bytes([7; 32])),
    );
    let request = Request {
        action: Action::Close,
        allow: Allow::Source { prefix: 128 },
        timestamp_ms: 64_000,
        duration_s: 0,
        target: None,
        items: Vec::new(),
    };
    let sealed = seal(&keys, &request, [7; 12], 64).unwrap();
    assert_eq!(
        format!("{sealed:?} {:?}", OpenBuffer::new()),
        "Sealed(132 bytes) OpenBuffer(..)"
    );
}
