//! Encrypted sequences, against runs that `openssl enc -aes-256-cbc -md md5` made.

use std::net::Ipv4Addr;

use crate::support::hex;
use postern_fwknop::Allow;
use postern_fwknop::sequence::{Access, HITS, Key, OFFSET, Protocol, Refused, mark};

const RUN: &str = "53616c7465645f5f0102030405060708a0c88cbd4d5562923aa4d438a07bf083";
const LONG_RUN: &str = "53616c7465645f5fc9cacbcccdcecfd09077239245b3c1c634d8386ce662f052";

fn run(text: &str) -> [u8; HITS] {
    hex(text).try_into().unwrap()
}

fn alice() -> Access {
    Access {
        allow: Allow::Address(Ipv4Addr::new(10, 60, 0, 9)),
        protocol: Protocol::Tcp,
        port: 22,
        user: "alice".into(),
    }
}

#[test]
fn another_implementations_runs_open() {
    let key = Key::new(b"mypassword", OFFSET).unwrap();
    assert_eq!(key.open(&run(RUN)), Ok(alice()));
    assert!(key.open(&run(LONG_RUN)).is_err(), "another passphrase");

    let long = Key::new(b"a passphrase of more than thirty-two bytes", OFFSET).unwrap();
    let source = Access {
        allow: Allow::Source,
        protocol: Protocol::Udp,
        port: 53,
        user: String::new(),
    };
    assert_eq!(long.open(&run(LONG_RUN)), Ok(source));
}

#[test]
fn ports_are_the_offset_and_a_byte() {
    let key = Key::new(b"mypassword", OFFSET).unwrap();
    let ports = key.ports(&alice(), &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let expected = run(RUN).map(|byte| OFFSET + u16::from(byte));
    assert_eq!(ports, expected);
    let fixed = [61083, 61097, 61108, 61116, 61101, 61100, 61095, 61095];
    assert_eq!(ports[..8], fixed);
    assert_eq!(key.open_ports(&ports), Ok(alice()));
    let mut outside = ports;
    outside[31] = OFFSET - 1;
    assert_eq!(key.open_ports(&outside), Err(Refused::Port));
    outside[31] = OFFSET + 256;
    assert_eq!(key.open_ports(&outside), Err(Refused::Port));
}

#[test]
fn what_does_not_fit_is_refused() {
    for len in [0, 7, 129] {
        let refused = Key::new(&vec![b'p'; len], OFFSET).err();
        assert_eq!(refused, Some(Refused::Passphrase));
    }
    for offset in [0, 65_281, u16::MAX] {
        assert_eq!(Key::new(b"mypassword", offset).err(), Some(Refused::Offset));
    }
    let key = Key::new(b"mypassword", 65_280).unwrap();
    let refused = |access: Access| key.ports(&access, &[9; 8]).err();
    let with_user = |user: &str| Access {
        user: user.into(),
        ..alice()
    };
    assert_eq!(refused(with_user("7letter")), None);
    assert_eq!(refused(with_user("8letters")), Some(Refused::User));
    assert_eq!(refused(with_user("é")), Some(Refused::User));
    let no_port = Access { port: 0, ..alice() };
    assert_eq!(refused(no_port), Some(Refused::Protocol));

    let mut changed = run(RUN);
    changed[3] ^= 1;
    assert_eq!(key.open(&changed), Err(Refused::Magic));
}

#[test]
fn a_run_has_one_mark() {
    let mut changed = run(RUN);
    changed[31] ^= 1;
    assert_ne!(mark(&run(RUN)), mark(&changed));
    assert_eq!(mark(&run(RUN)), mark(&run(RUN)));
}
