//! Reading of what the kernel sends, and of arbitrary bytes. That the kernel takes the messages is tested in
//! `tests/kernel/connections`.

use proptest::prelude::*;

use super::*;

const PAIRS: [(u8, &str, &str); 3] = [
    (INET, "192.0.2.1:22", "192.0.2.7:40000"),
    (INET6, "192.0.2.1:22", "192.0.2.7:40000"),
    (INET6, "[2001:db8::1]:22", "[2001:db8::7]:40000"),
];

fn socket((family, local, peer): (u8, &str, &str)) -> TcpSocket {
    let (local, peer): (SocketAddr, SocketAddr) = (local.parse().unwrap(), peer.parse().unwrap());
    let mut id = [0; SOCKET_ID_LEN];
    for (port_at, at, end) in [(0, 4, local), (2, 20, peer)] {
        id[port_at..port_at + 2].copy_from_slice(&end.port().to_be_bytes());
        let bytes = match (family, end.ip()) {
            (INET6, IpAddr::V4(address)) => address.to_ipv6_mapped().octets().to_vec(),
            (_, address) => octets(address),
        };
        id[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    id[40..].copy_from_slice(b"a cookie");
    TcpSocket {
        local,
        peer,
        is_open: true,
        family,
        id,
    }
}

#[test]
fn entry_is_deleted_by_its_own_key() {
    for pair in [PAIRS[0], PAIRS[2]] {
        let socket = socket(pair);
        let own = Attributes::new()
            .bytes(ZONE, &[0, 5])
            .bytes(ID, &[1, 2, 3, 4]);
        let body = [add_entry(&socket).body, own.as_bytes().to_vec()].concat();
        let entry = read_entry(&body).unwrap();
        assert_eq!(entry.original.protocol, TCP);
        let found = (entry.original.source, entry.original.target);
        assert_eq!(found, (socket.peer, socket.local));
        assert_eq!(
            (entry.reply.source, entry.reply.target),
            (socket.local, socket.peer)
        );
        let tuple = find(&body[4..], TUPLE_ORIGINAL).unwrap();
        let tuple = Attributes::new().bytes(TUPLE_ORIGINAL | NLA_F_NESTED, tuple);
        let expected = [&[pair.0, 0, 0, 0], tuple.as_bytes(), own.as_bytes()].concat();
        assert_eq!(delete_entry(&entry).body, expected);
    }
}

#[test]
fn own_address_of_a_point_to_point_link() {
    let peer = Attributes::new().bytes(1, &[192, 0, 2, 9]);
    let both = peer.clone().bytes(2, &[192, 0, 2, 1]);
    for (attributes, own) in [(peer, "192.0.2.9"), (both, "192.0.2.1")] {
        let body = [&[INET, 24, 0, 0, 1, 0, 0, 0], attributes.as_bytes()].concat();
        assert_eq!(read_address(&body), Some(own.parse().unwrap()));
    }
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0_usize..200,
        byte: u8,
    ) {
        let mut near = add_entry(&socket(PAIRS[0])).body;
        let at = at % near.len();
        near[at] = byte;
        for bytes in [&bytes[..], &near, &near[..at]] {
            let _ = (read_entry(bytes), read_socket(bytes), read_address(bytes));
        }
    }
}
