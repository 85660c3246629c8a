//! The sentences of the crate's errors, its names as text, and equal keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeSet;

use postern_proto::{
    BadLength, BadSeal, CodeKeyError, EncodeError, GateName, KeyError, Malformed, SealError,
    ServiceName, SharedKey,
};

#[test]
fn each_error_has_its_own_sentence() {
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
        (EncodeError::Unspecified.to_string(), "all-zero address"),
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
    // Wrapping errors repeat the inner sentence.
    let rules: BTreeSet<String> = Malformed::ALL.iter().map(Malformed::to_string).collect();
    assert_eq!(rules.len(), Malformed::ALL.len(), "{rules:?}");
    assert!(rules.contains("it would open no service"));
    let found = SealError::Encode(EncodeError::TooLong).to_string();
    assert_eq!(found, EncodeError::TooLong.to_string());
    assert!(rules.contains(&EncodeError::Malformed(Malformed::NoService).to_string()));
}

#[test]
fn names_are_shown_and_keys_are_compared() {
    let name = ServiceName::new("web").unwrap();
    assert_eq!(
        (name.to_string(), format!("{name:?}")),
        ("web".to_owned(), "ServiceName(web)".to_owned())
    );
    assert_eq!(GateName::new("g").unwrap().to_string(), "g");
    let key = |byte| SharedKey::from_bytes([byte; 32]);
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
}
