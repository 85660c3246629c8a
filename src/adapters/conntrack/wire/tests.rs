//! The encodings against bytes written down by hand, and against what a kernel never sends.

use proptest::prelude::*;

use super::*;

fn socket(family: u8, local: &str, peer: &str) -> Socket {
    let (local, peer): (SocketAddr, SocketAddr) = (local.parse().unwrap(), peer.parse().unwrap());
    let wide = |address: IpAddr| match (family, address) {
        (INET6, IpAddr::V4(address)) => address.to_ipv6_mapped().octets().to_vec(),
        _ => octets(address),
    };
    let mut id = [0; SOCKET_ID];
    id[..2].copy_from_slice(&local.port().to_be_bytes());
    id[2..4].copy_from_slice(&peer.port().to_be_bytes());
    for (at, end) in [(4, local), (20, peer)] {
        let bytes = wide(end.ip());
        id[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    id[40..].copy_from_slice(b"a cookie");
    Socket {
        local,
        peer,
        family,
        id,
    }
}

/// As the kernel answers: family, state, timer, retransmissions, the id, and five numbers.
fn answer(socket: &Socket) -> Vec<u8> {
    [&[socket.family, 1, 0, 0][..], &socket.id, &[0; 20]].concat()
}

#[test]
fn an_adopted_connection_is_written_as_conntrack_reads_it() {
    let bytes = adoption(&socket(INET, "192.0.2.1:22", "192.0.2.7:40000"));
    // on a little-endian machine, by hand after linux/netfilter/nfnetlink_conntrack.h
    let expected: [&[u8]; 16] = [
        &[2, 0, 0, 0],
        &[
            52, 0, 1, 0x80, 20, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 7, 8, 0, 2, 0, 192, 0, 2, 1,
        ],
        &[28, 0, 2, 0x80, 5, 0, 1, 0, 6, 0, 0, 0],
        &[6, 0, 2, 0, 0x9c, 0x40, 0, 0],
        &[6, 0, 3, 0, 0, 22, 0, 0],
        &[
            52, 0, 2, 0x80, 20, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 1, 8, 0, 2, 0, 192, 0, 2, 7,
        ],
        &[28, 0, 2, 0x80, 5, 0, 1, 0, 6, 0, 0, 0],
        &[6, 0, 2, 0, 0, 22, 0, 0],
        &[6, 0, 3, 0, 0x9c, 0x40, 0, 0],
        &[8, 0, 3, 0, 0, 0, 0, 14],
        &[8, 0, 7, 0, 0, 6, 0x97, 0x80],
        &[32, 0, 4, 0x80],
        &[28, 0, 1, 0x80],
        &[5, 0, 1, 0, 3, 0, 0, 0],
        &[6, 0, 4, 0, 8, 8, 0, 0],
        &[6, 0, 5, 0, 8, 8, 0, 0],
    ];
    if cfg!(target_endian = "little") {
        assert_eq!(bytes, expected.concat());
    }
}

#[test]
fn an_entry_that_was_written_is_read_back_and_deleted_by_its_own_key() {
    for (local, peer, family) in [
        ("192.0.2.1:22", "192.0.2.7:40000", INET),
        ("[2001:db8::1]:22", "[2001:db8::7]:40000", INET6),
    ] {
        let socket = socket(family, local, peer);
        let mut bytes = adoption(&socket);
        let tuple = find(&bytes[4..], TUPLE_ORIGINAL).unwrap().to_vec();
        put(&mut bytes, ZONE, &[0, 5]);
        put(&mut bytes, ID, &[1, 2, 3, 4]);
        let entry = read_entry(&bytes).unwrap();
        assert_eq!(
            (
                entry.original.source,
                entry.original.target,
                entry.original.protocol
            ),
            (socket.peer, socket.local, TCP)
        );
        assert_eq!(
            (entry.reply.source, entry.reply.target),
            (socket.local, socket.peer)
        );
        let mut expected = vec![family, 0, 0, 0];
        put(&mut expected, TUPLE_ORIGINAL | NESTED, &tuple);
        put(&mut expected, ZONE, &[0, 5]);
        put(&mut expected, ID, &[1, 2, 3, 4]);
        assert_eq!(deletion(&entry), expected);
    }
}

#[test]
fn a_ping_has_no_ports() {
    let mut tuple = Vec::new();
    nest(&mut tuple, TUPLE_IP, |out| {
        put(out, 1, &[192, 0, 2, 7]);
        put(out, 2, &[192, 0, 2, 1]);
    });
    nest(&mut tuple, TUPLE_PROTOCOL, |out| {
        put(out, PROTOCOL_NUMBER, &[1]);
        put(out, 4, &[7, 7]);
        put(out, 5, &[8]);
        put(out, 6, &[0]);
    });
    let read = Tuple::read(&tuple).unwrap();
    assert_eq!(
        (read.protocol, read.source, read.target.port()),
        (1, "192.0.2.7:0".parse().unwrap(), 0)
    );
}

#[test]
fn a_dump_of_one_source_names_it_and_asks_for_it_alone() {
    assert_eq!(entries(true, None), [10, 0, 0, 0]);
    let bytes = entries(false, Some("192.0.2.7".parse().unwrap()));
    if cfg!(target_endian = "little") {
        let tuple = [16, 0, 1, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 7];
        let filter = [12, 0, 25, 0x80, 8, 0, 1, 0, 1, 0, 0, 0];
        assert_eq!(bytes, [&[2, 0, 0, 0][..], &tuple, &filter].concat());
    }
}

#[test]
fn sockets_are_read_in_all_forms_and_an_ipv4_peer_of_an_ipv6_socket_is_ipv4() {
    for (family, local, peer) in [
        (INET, "192.0.2.1:22", "192.0.2.7:40000"),
        (INET6, "192.0.2.1:22", "192.0.2.7:40000"),
        (INET6, "[2001:db8::1]:22", "[2001:db8::7]:40000"),
    ] {
        let socket = socket(family, local, peer);
        assert_eq!(read_socket(&answer(&socket)), Some(socket.clone()));
        let destroyed = destruction(&socket);
        assert_eq!(
            (destroyed.len(), &destroyed[..2], &destroyed[8..]),
            (56, &[family, TCP][..], &socket.id[..])
        );
    }
    assert_eq!(sockets(true).len(), 56);
    assert_eq!(sockets(false)[4..8], 0b1011_0011_0010_u32.to_ne_bytes());
}

#[test]
fn the_own_end_of_a_link_is_the_hosts_address() {
    let mut link = vec![INET, 24, 0, 0, 1, 0, 0, 0];
    put(&mut link, 1, &[192, 0, 2, 9]);
    assert_eq!(read_address(&link), Some("192.0.2.9".parse().unwrap()));
    put(&mut link, 2, &[192, 0, 2, 1]);
    assert_eq!(read_address(&link), Some("192.0.2.1".parse().unwrap()));
}

proptest! {
    #[test]
    fn no_bytes_of_an_answer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200, byte: u8) {
        let mut near = adoption(&socket(INET, "192.0.2.1:22", "192.0.2.7:40000"));
        let at = at % near.len();
        near[at] = byte;
        for bytes in [&bytes[..], &near, &near[..at]] {
            let _ = (read_entry(bytes), read_socket(bytes), read_address(bytes));
        }
    }
}
