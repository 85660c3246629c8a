//! Payloads that must be refused: no packet, another text of a packet, another mode, a wrong mac.

use crate::support::{
    CipherMode, KEY, MAC_KEY, b64, digested, encrypted, encrypted_raw, open, packet, user,
    user_without_mac, vectors, with_mac,
};
use postern_fwknop::{Key, MacKind, Mode, Reason};

/// The plaintext of a packet in which nothing is wrong.
fn plain() -> String {
    digested("1939033380625416:YWxpY2U:1795333319:3.0.0:1:MjAzLjAuMTEzLjcsdGNwLzIy")
}

#[test]
fn bytes_that_are_no_packet_are_refused() {
    let wire = packet(&plain());
    let key = user();
    let cases = [
        (String::new(), Reason::Length),
        (wire[..139].to_owned(), Reason::Length),
        (wire.repeat(7), Reason::Length),
        (format!("U2FsdGVkX1{wire}"), Reason::FirstByte),
        (format!("A{wire}"), Reason::FirstByte),
        (format!("{wire}="), Reason::Alphabet),
        (format!("{wire}=="), Reason::Alphabet),
        (format!("{wire}\n"), Reason::Alphabet),
        (wire.replace('A', "-"), Reason::Alphabet),
        (wire.replace('A', "\0"), Reason::Alphabet),
        (format!("{wire}A"), Reason::Blocks),
        (wire[..wire.len() - 1].to_owned(), Reason::Blocks),
        (format!("8{}", "A".repeat(140)), Reason::Blocks),
        (wire[..wire.len() - 43].to_owned(), Reason::Blocks),
        // glued: two packets, and the mac twice
        (wire.repeat(2), Reason::Blocks),
        (format!("{wire}{}", &wire[wire.len() - 43..]), Reason::Mac),
    ];
    for (payload, expected) in cases {
        assert_eq!(
            open(&key, payload.as_bytes()).err(),
            Some(expected),
            "{payload}"
        );
    }
}

#[test]
fn appended_padding_makes_no_new_packet() {
    for vector in vectors().iter().filter(|vector| vector.hmac_type == "none") {
        for end in ["=", "==", "===", "A", "\n"] {
            let wire = format!("{}{end}", vector.wire);
            let reason = open(&vector.key(), wire.as_bytes()).unwrap_err();
            assert!(
                matches!(reason, Reason::Alphabet | Reason::Blocks),
                "{end:?}"
            );
        }
    }
}

#[test]
fn spare_bits_make_no_new_packet() {
    let other = |last: u8, bits: usize| {
        let alphabet: Vec<u8> = (b'A'..=b'Z')
            .chain(b'a'..=b'z')
            .chain(b'0'..=b'9')
            .chain(*b"+/")
            .collect();
        alphabet[alphabet.iter().position(|byte| *byte == last).unwrap() ^ bits]
    };
    // Of the ciphertext: none, two or four bits, by its length.
    let mut tried = 0;
    for name in (1..=48).step_by(12).map(|len| "u".repeat(len)) {
        let fields = format!(
            "1939033380625416:{}:1:3.0.0:1:MS4yLjMuNCx0Y3AvMjI",
            b64(name.as_bytes())
        );
        let wire = encrypted(digested(&fields).as_bytes(), CipherMode::Cbc);
        assert!(open(&user_without_mac(), wire.as_bytes()).is_ok());
        let (last, start) = wire.as_bytes().split_last().unwrap();
        let spare = [0, 0, 4, 2][(wire.len() + 10) % 4];
        tried |= spare;
        for bits in 1..1 << spare {
            let wire = [start, &[other(*last, bits)]].concat();
            assert_eq!(
                open(&user_without_mac(), &wire).err(),
                Some(Reason::SpareBits)
            );
        }
    }
    assert_eq!(tried, 6, "two and four");
    // Of the mac.
    for vector in vectors().iter().filter(|vector| vector.hmac_type != "none") {
        let (last, start) = vector.wire.as_bytes().split_last().unwrap();
        for bits in 1..4 {
            let wire = [start, &[other(*last, bits)]].concat();
            assert_eq!(
                open(&vector.key(), &wire).err(),
                Some(Reason::Mac),
                "{}",
                vector.name
            );
        }
    }
}

#[test]
fn padding_is_16_at_most_and_whole() {
    let plain = plain();
    let pad = 16 - plain.len() % 16;
    let padded = |padding: &[u8]| {
        let wire = encrypted_raw(&[plain.as_bytes(), padding].concat(), CipherMode::Cbc);
        open(&user(), with_mac(&wire).as_bytes()).err()
    };
    assert_eq!(padded(&vec![pad as u8; pad]), None);
    for last in [0, 1, 15, 17, 32, 255] {
        let mut padding = vec![last; pad];
        padding[0] = last ^ 1;
        assert!(padded(&padding).is_some(), "{last}");
    }
    assert!(padded(&vec![pad as u8 + 16; pad + 16]).is_some());
}

#[test]
fn other_modes_are_told() {
    let plain = plain();
    for (mode, reason) in [
        (CipherMode::Ecb, Reason::ModeEcb),
        (CipherMode::Cfb, Reason::ModeCfb),
        (CipherMode::Ofb, Reason::ModeOfb),
        (CipherMode::Ctr, Reason::ModeCtr),
    ] {
        let wire = encrypted(plain.as_bytes(), mode);
        assert_eq!(
            open(&user_without_mac(), wire.as_bytes()).err(),
            Some(reason)
        );
        assert_eq!(
            open(&user(), with_mac(&wire).as_bytes()).err(),
            Some(reason)
        );
    }
    let text = include_str!("vectors/client-other-modes.json");
    for vector in serde_json::from_str::<crate::support::File>(text)
        .unwrap()
        .vectors
    {
        let reason = open(&vector.key(), vector.wire.as_bytes()).unwrap_err();
        assert_eq!(reason.as_str(), format!("mode-{}", vector.encryption_mode));
    }
}

#[test]
fn a_mac_is_never_left_out() {
    let wire = encrypted(plain().as_bytes(), CipherMode::Cbc);
    assert!(open(&user_without_mac(), wire.as_bytes()).is_ok());
    let without = open(&user(), wire.as_bytes()).unwrap_err();
    assert!(
        matches!(without, Reason::Blocks | Reason::Mac),
        "by its length"
    );
    let forged = format!("{wire}{}", "A".repeat(43));
    assert_eq!(open(&user(), forged.as_bytes()).err(), Some(Reason::Mac));
    for kind in MacKind::ALL {
        let other = Key::new(KEY, kind, MAC_KEY).unwrap();
        let opened = open(&other, with_mac(&wire).as_bytes());
        assert_eq!(opened.is_ok(), kind == MacKind::Sha256, "{kind:?}");
    }
}

#[test]
fn keys_have_their_lengths() {
    for len in [0, 33, 128] {
        assert!(Key::new(&vec![1; len], MacKind::Md5, b"k").is_err());
        assert!(Key::without_mac(&vec![1; len], Mode::Legacy).is_err());
    }
    for len in [0, 129] {
        assert!(Key::new(b"k", MacKind::Md5, &vec![1; len]).is_err());
    }
    let shown = format!("{:?} {:?}", user(), user_without_mac());
    assert_eq!(shown, "Key(.., MacKey(sha256, ..)) Key(..)");
}
