//! Packets of fwknop's own client, field by field.

use std::collections::BTreeSet;

use crate::support::{open, vectors};
use postern_fwknop::{MacKind, Packet, Reason};
use sha2::{Digest, Sha256};

#[test]
fn the_clients_packets_decode_field_by_field() {
    let mut types = BTreeSet::new();
    for vector in vectors() {
        let name = &vector.name;
        let opened = open(&vector.key(), vector.wire.as_bytes())
            .unwrap_or_else(|reason| panic!("{name}: {reason}"));
        let (request, expect) = (&opened.request, &vector.expect);
        assert_eq!(opened.random, expect.rand, "{name}");
        assert_eq!(request.user, expect.username, "{name}");
        assert_eq!(request.timestamp_s, expect.timestamp, "{name}");
        assert_eq!(opened.version, expect.version, "{name}");
        assert_eq!(request.type_number(), expect.kind, "{name}");
        assert_eq!(request.message_text(), expect.message, "{name}");
        let nat = request.target().map(ToString::to_string);
        assert_eq!(nat, expect.nat_access, "{name}");
        assert_eq!(opened.server_auth, None, "{name}");
        // A command has no time-out on the wire, and the client prints the one that it was asked for.
        if expect.kind != 0 {
            let timeout_s = request.timeout_s.unwrap_or(0);
            assert_eq!(timeout_s, expect.client_timeout, "{name}");
        }
        let auth = opened.server_auth.as_deref();
        assert_eq!(
            auth,
            expect.server_auth.as_deref().map(str::as_bytes),
            "{name}"
        );
        assert_eq!(opened.encoded, expect.encoded, "{name}");
        assert_eq!(opened.digest, expect.digest, "{name}");
        types.insert(expect.kind);
    }
    assert!(types.into_iter().eq(0..=6), "a vector for each type");
}

/// The client of ours writes the fields of a request as fwknop's own client did; only the random number differs.
#[test]
fn requests_are_written_as_the_client_does() {
    for vector in vectors() {
        let key = vector.key();
        let request = open(&key, vector.wire.as_bytes()).unwrap().request;
        let wire = key.seal(&request, &[7; 16]).unwrap();
        let written = open(&key, wire.as_bytes()).unwrap();
        let fields = |encoded: &str| encoded.split_once(':').unwrap().1.to_owned();
        let expected = fields(&vector.expect.encoded);
        assert_eq!(fields(&written.encoded), expected, "{}", vector.name);
    }
}

#[test]
fn the_mark_is_the_payloads_hash() {
    let mut marks = BTreeSet::new();
    for vector in vectors() {
        let mark = Packet::parse(vector.wire.as_bytes()).unwrap().mark();
        assert_eq!(mark.0[..], Sha256::digest(&vector.wire)[..16]);
        assert!(marks.insert(mark), "{}", vector.name);
    }
}

#[test]
fn each_vector_opens_with_its_own_key_only() {
    let vectors = vectors();
    let macs: BTreeSet<&str> = vectors.iter().map(|v| v.hmac_type.as_str()).collect();
    for kind in MacKind::ALL {
        assert!(macs.contains(kind.as_str()), "a vector for {kind:?}");
    }
    for vector in &vectors {
        for other in &vectors {
            let same = vector.encryption_key_hex == other.encryption_key_hex
                && vector.hmac_type == other.hmac_type
                && vector.encryption_mode == other.encryption_mode;
            if !same {
                let refused = open(&other.key(), vector.wire.as_bytes()).unwrap_err();
                let expected = matches!(
                    refused,
                    Reason::Blocks | Reason::SpareBits | Reason::Mac | Reason::Key | Reason::Text
                );
                assert!(expected, "{} with {}: {refused}", vector.name, other.name);
            }
        }
    }
}

#[test]
fn any_changed_character_is_refused() {
    for vector in vectors() {
        let key = vector.key();
        for at in 0..vector.wire.len() {
            for new in *b"A8+/=: " {
                let mut wire = vector.wire.clone().into_bytes();
                if wire[at] != new {
                    wire[at] = new;
                    let opened = open(&key, &wire);
                    assert!(opened.is_err(), "{}: {new} at {at}", vector.name);
                }
            }
        }
    }
}
