//! Any bytes as a STUN server's answer: twelve of transaction id, then the datagram.
//!
//! What is read is an answer to that id and to no other; and an address that a server writes is the one that is read.

use std::net::IpAddr;

use postern::client::stun::{NotAnAnswer, TransactionId, request, seen_address};

pub fn run(data: &[u8]) {
    let Some((id, datagram)) = data.split_first_chunk::<12>() else {
        return;
    };
    let said = seen_address(datagram, id);
    if said != Err(NotAnAnswer::Other) {
        let mut other = *id;
        other[0] ^= 1;
        assert_eq!(
            seen_address(datagram, &other),
            Err(NotAnAnswer::Other),
            "an answer to another request"
        );
        assert_eq!(&datagram[8..20], id);
        assert_eq!(
            seen_address(&[datagram, &[0]].concat(), id),
            Err(NotAnAnswer::Other),
            "a byte too many"
        );
    }
    if let Some(octets) = datagram.first_chunk::<16>() {
        for address in [
            IpAddr::from(*octets),
            IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
        ] {
            assert_eq!(seen_address(&answer(address, id), id), Ok(address));
        }
    }
}

/// What a server answers that saw this address.
fn answer(address: IpAddr, id: &TransactionId) -> Vec<u8> {
    let request = request(id);
    let (family, octets) = match address {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    // The mask is the cookie and the id, as in the request.
    let masked = octets
        .iter()
        .zip(&request[4..])
        .map(|(byte, mask)| byte ^ mask);
    let length = u8::try_from(octets.len() + 4).expect("20 at most");
    [1, 1, 0, length + 4]
        .into_iter()
        .chain(request[4..].iter().copied())
        .chain([0, 0x20, 0, length, 0, family, 0, 0])
        .chain(masked)
        .collect()
}
