//! What holds for all sequences: conflicts, bounds, and that only full ones complete.

use proptest::prelude::*;

use super::*;

#[test]
fn conflicts_are_told() {
    let of =
        |sequences: &[&Sequence]| conflict((1..).map(SequenceId).zip(sequences.iter().copied()));
    let [one, two] = [SequenceId(1), SequenceId(2)];
    let short = sequence(&[tcp(1), tcp(2)]);
    let long = sequence(&[tcp(1), tcp(2), tcp(3)]);
    let other = sequence(&[tcp(2), tcp(1)]);
    assert_eq!(of(&[&short, &other]), Ok(()));
    assert_eq!(of(&[&short, &short]), Err(Conflict::Same(one, two)));
    let prefix = |shorter, longer| Err(Conflict::Prefix { shorter, longer });
    assert_eq!(of(&[&short, &long]), prefix(one, two));
    assert_eq!(of(&[&long, &short]), prefix(two, one));
    assert_eq!(of(&[&other, &long, &short]), prefix(SequenceId(3), two));

    let lax = Sequence::new(
        vec![tcp(1), tcp(9)],
        Duration::from_secs(1),
        Flags::default(),
    )
    .unwrap();
    assert_eq!(of(&[&short, &lax]), Err(Conflict::Flags(one, two)));
    let range = Expected { last: 5, ..tcp(1) };
    let overlapping = Err(Conflict::Overlap {
        other: one,
        id: two,
        position: 0,
    });
    assert_eq!(of(&[&short, &sequence(&[range])]), overlapping);
    assert_eq!(of(&[&sequence(&[range]), &short]), overlapping);

    let unwatched = Machine::new([tcp(1)]).insert(one, &short);
    assert_eq!(unwatched, Err(Conflict::Unwatched(one)));
    assert!(short.begins_within(range) && !other.begins_within(tcp(1)));
}

#[test]
fn invalid_sequences_are_refused() {
    let of =
        |hits: Vec<Expected>| Sequence::new(hits, Duration::from_secs(1), Flags::default()).err();
    assert_eq!(of(vec![]), Some(Invalid::Hits));
    assert_eq!(of(vec![tcp(1); 32]), None);
    assert_eq!(of(vec![tcp(1); 33]), Some(Invalid::Hits));
    assert_eq!(of(vec![Expected::port(Protocol::Icmp, 0)]), None);
    let wide = Expected {
        last: 257,
        ..tcp(1)
    };
    let reversed = Expected { last: 1, ..tcp(2) };
    for hit in [tcp(0), wide, reversed, Expected::port(Protocol::Icmp, 1)] {
        assert_eq!(of(vec![hit]), Some(Invalid::Ports), "{hit:?}");
    }
    let both = Flags {
        set: SYN,
        clear: SYN,
    };
    let refused = Sequence::new(vec![tcp(1)], Duration::from_secs(1), both);
    assert_eq!(refused, Err(Invalid::Flags));
    let refused = Sequence::new(vec![tcp(1)], Duration::ZERO, both);
    assert!(refused.is_err());
}

#[test]
fn a_million_sources_take_bounded_memory() {
    let hits = [tcp(1), tcp(2), tcp(3)];
    let mut client = Client::of(machine(&[&hits]));
    let _ = client.hit(tcp(1));
    for number in 0..1_000_000 {
        let mut packet = client.packet(tcp(1));
        packet.source = source(0x0a00_0000 + number);
        client.source_port %= 60_000;
        let _ = client.send(packet);
        // The client's own attempt survives, because its last hit is never the oldest.
        if number == 60_000 {
            assert_eq!(client.hit(tcp(2)), Outcome::Advanced);
        }
        if number == 120_000 {
            assert!(client.completes(&[tcp(3)]));
        }
    }
    assert_eq!(client.machine.sources(), SOURCES_MAX);
    assert_eq!(client.machine.slots_and_nodes(), (SOURCES_MAX, 4));
    client.source = source(0x0a00_0000);
    assert!(!client.completes(&[tcp(2)]), "the oldest is dropped");
    client.source = source(0x0a00_0000 + 999_999);
    assert!(client.completes(&[tcp(2), tcp(3)]));
}

/// A packet of one of three sources to one of a few ports, and how long after the one before.
fn packets() -> impl Strategy<Value = Vec<(u8, u16, u16, bool, u64)>> {
    let packet = (
        0..3_u8,
        1..5_u16,
        0..3_u16,
        any::<bool>(),
        prop_oneof![0..50_u64, 0..9_000_u64],
    );
    proptest::collection::vec(packet, 1..120)
}

proptest! {
    #[test]
    fn only_full_sequences_complete(packets in packets()) {
        let sequences = [vec![tcp(1), tcp(2), tcp(3)], vec![tcp(1), tcp(2), tcp(2), tcp(1)], vec![tcp(4), tcp(1)]];
        let slices: Vec<&[Expected]> = sequences.iter().map(Vec::as_slice).collect();
        let mut machine = machine(&slices);
        let mut now = Timestamp::from_millis(50_000);
        // Of each source: the hits that can count, oldest first.
        let mut seen: [Vec<(Timestamp, u16)>; 3] = Default::default();
        for (from, port, source_port, syn, wait) in packets {
            now = now.plus(Duration::from_millis(wait));
            let hit = Hit {
                source: source(u32::from(from)),
                protocol: Protocol::Tcp,
                port,
                source_port,
                tcp: Some(Tcp { flags: if syn { SYN } else { ACK }, sequence: None }),
            };
            let outcome = machine.hit(now, &hit);
            let seen = &mut seen[usize::from(from)];
            if syn && outcome != Outcome::Ignored {
                seen.push((now, port));
            }
            let Outcome::Completed(done) = outcome else { continue };
            prop_assert!(syn);
            let hits = &sequences[done.id.0 as usize - 7];
            prop_assert!(seen.len() >= hits.len());
            let last = seen.split_off(seen.len() - hits.len());
            prop_assert!(last.iter().map(|(_, port)| *port).eq(hits.iter().map(|hit| hit.first)));
            prop_assert!(now.since(last[0].0) <= Duration::from_secs(15));
        }
    }

    #[test]
    fn full_sequences_complete_after_anything(packets in packets(), which in 0..3_usize) {
        let sequences = [vec![tcp(1), tcp(2), tcp(3)], vec![tcp(1), tcp(2), tcp(2), tcp(1)], vec![tcp(4), tcp(1)]];
        let slices: Vec<&[Expected]> = sequences.iter().map(Vec::as_slice).collect();
        let mut client = Client::of(machine(&slices));
        for (_, port, _, _, wait) in packets {
            client.wait(wait);
            let _ = client.hit(tcp(port));
        }
        client.wait(15_001);
        prop_assert!(client.completes(&sequences[which]));
    }
}
