//! The bytes of a STUN Binding request and its answer (RFC 8489).
//!
//! Uses no socket, clock or random source. An answer is untrusted: every length is checked, and any error makes it no answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The default UDP port of a server.
pub const PORT: u16 = 3478;
/// The longest answer in bytes; a longer one is cut and therefore refused.
pub const ANSWER_MAX: usize = 1500;

/// The 12 random bytes that an answer must repeat.
pub type TransactionId = [u8; 12];

const HEADER: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;
const MAPPED_ADDRESS: u16 = 0x0001;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// An unknown attribute up to this number makes the answer invalid (RFC 8489, section 6.3.1).
const REQUIRED_MAX: u16 = 0x7fff;
/// The known attributes of RFC 3489, 5389 and 8489; most are skipped.
const UNDERSTOOD: [u16; 17] = [
    0x0001, 0x0002, 0x0003, 0x0004, 0x0005, 0x0006, 0x0007, 0x0008, 0x0009, 0x000a, 0x000b, 0x0014,
    0x0015, 0x001c, 0x001d, 0x001e, 0x0020,
];

/// Why a datagram gives no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAnswer {
    /// It is not a valid answer to this request. The real one may still come.
    #[error("it sent an invalid answer")]
    Other,
    /// The server refuses, with this code.
    #[error("the server refuses with code {0}")]
    Refused(u16),
    /// The answer has no address.
    #[error("the answer has no address")]
    NoAddress,
}

/// A Binding request without attributes.
pub fn request(id: &TransactionId) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let head = REQUEST
        .to_be_bytes()
        .into_iter()
        .chain([0, 0])
        .chain(COOKIE.to_be_bytes());
    for (to, from) in bytes.iter_mut().zip(head.chain(*id)) {
        *to = from;
    }
    bytes
}

/// The address that a server saw the request come from.
///
/// XOR-MAPPED-ADDRESS takes precedence over MAPPED-ADDRESS, which only servers older than RFC 5389 send alone.
pub fn seen_address(datagram: &[u8], id: &TransactionId) -> Result<IpAddr, NotAnAnswer> {
    let (kind, mut rest) = message(datagram, id).ok_or(NotAnAnswer::Other)?;
    let (mut plain, mut masked, mut refused) = (None, None, None);
    while !rest.is_empty() {
        let (attribute, value, after) = attribute(rest).ok_or(NotAnAnswer::Other)?;
        match attribute {
            // The first of equal attributes counts (section 14).
            MAPPED_ADDRESS if plain.is_none() => {
                plain = Some(address(value, None).ok_or(NotAnAnswer::Other)?)
            }
            XOR_MAPPED_ADDRESS if masked.is_none() => {
                masked = Some(address(value, Some(id)).ok_or(NotAnAnswer::Other)?)
            }
            ERROR_CODE if refused.is_none() => {
                refused = Some(error_code(value).ok_or(NotAnAnswer::Other)?)
            }
            unknown if unknown <= REQUIRED_MAX && !UNDERSTOOD.contains(&unknown) => {
                return Err(NotAnAnswer::Other);
            }
            _ => {}
        }
        rest = after;
    }
    match kind {
        ERROR => Err(NotAnAnswer::Refused(refused.ok_or(NotAnAnswer::Other)?)),
        _ => masked.or(plain).ok_or(NotAnAnswer::NoAddress),
    }
}

/// The type and the attributes of an answer with this ID.
fn message<'a>(datagram: &'a [u8], id: &TransactionId) -> Option<(u16, &'a [u8])> {
    let (kind, rest) = number(datagram)?;
    let (length, rest) = number(rest)?;
    let (cookie, rest) = rest.split_first_chunk::<4>()?;
    let (echoed, attributes) = rest.split_first_chunk::<12>()?;
    let whole = usize::from(length) == attributes.len() && length.is_multiple_of(4);
    let ours = *cookie == COOKIE.to_be_bytes() && echoed == id && matches!(kind, SUCCESS | ERROR);
    (whole && ours).then_some((kind, attributes))
}

/// The first attribute, and the bytes after its padding to four bytes.
fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (kind, rest) = number(bytes)?;
    let (length, rest) = number(rest)?;
    let (value, _) = rest.split_at_checked(usize::from(length))?;
    let (_, after) = rest.split_at_checked(usize::from(length).next_multiple_of(4))?;
    Some((kind, value, after))
}

/// An address attribute: a zero, the family, the port, the address. XOR-MAPPED-ADDRESS is masked with the magic cookie and
/// the transaction ID, so that no NAT rewrites it.
fn address(value: &[u8], mask: Option<&TransactionId>) -> Option<IpAddr> {
    let (&[_, family, _, _], address) = value.split_first_chunk::<4>()?;
    let bits = match mask {
        Some(id) => id.iter().fold(u128::from(COOKIE), |bits, byte| {
            bits << 8 | u128::from(*byte)
        }),
        None => 0,
    };
    match family {
        1 => {
            let address = u32::from_be_bytes(address.try_into().ok()?);
            Some(Ipv4Addr::from_bits(address ^ u32::try_from(bits >> 96).ok()?).into())
        }
        2 => Some(Ipv6Addr::from_bits(u128::from_be_bytes(address.try_into().ok()?) ^ bits).into()),
        _ => None,
    }
}

/// A code of 300 to 699: the hundreds in three bits, the rest in a byte (section 14.8).
fn error_code(value: &[u8]) -> Option<u16> {
    let (&[_, _, hundreds, rest], _) = value.split_first_chunk::<4>()?;
    let hundreds = u16::from(hundreds & 7);
    ((3..=6).contains(&hundreds) && rest < 100)
        .then(|| hundreds.saturating_mul(100).saturating_add(rest.into()))
}

fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769, sections 2.2 and 2.3: the sample responses over IPv4 and over IPv6.
    const ID: TransactionId = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];
    const V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643\
                      000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    const V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa\
                      a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn with(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (attribute, value) in attributes {
            body.extend(attribute.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let head = [kind, u16::try_from(body.len()).unwrap()].map(u16::to_be_bytes);
        [&head.concat()[..], &COOKIE.to_be_bytes(), &ID, &body].concat()
    }

    const PLAIN: &[u8] = &[0, 1, 0x12, 0x34, 192, 0, 2, 1];

    #[test]
    fn rfc_5769_samples_are_read() {
        let v6 = "2001:db8:1234:5678:11:2233:4455:6677".parse().unwrap();
        let expected = Ok("192.0.2.1".parse().unwrap());
        assert_eq!(seen_address(&bytes(V4), &ID), expected);
        assert_eq!(seen_address(&bytes(V6), &ID), Ok(v6));
        let found = request(&ID).to_vec();
        assert_eq!(found, bytes("000100002112a442b7e7a701bc34d686fa87dfae"));
    }

    #[test]
    fn masked_address_takes_precedence() {
        let masked: (u16, &[u8]) = (
            XOR_MAPPED_ADDRESS,
            &[0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x42],
        );
        let plain = (MAPPED_ADDRESS, PLAIN);
        let address = |text: &str| Ok(text.parse().unwrap());
        for (attributes, expected) in [
            (&[plain, masked][..], address("192.0.2.0")),
            (&[masked, plain], address("192.0.2.0")),
            (&[plain], address("192.0.2.1")),
            (&[(0x8022, b"server")], Err(NotAnAnswer::NoAddress)),
        ] {
            assert_eq!(seen_address(&with(SUCCESS, attributes), &ID), expected);
        }
    }

    #[test]
    fn foreign_cut_or_longer_answer_is_ignored() {
        let whole = bytes(V4);
        let mut wrong: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
        for at in (0..20).filter(|at| !(2..4).contains(at)) {
            let mut other = whole.clone();
            other[at] ^= 1;
            wrong.push(other);
        }
        wrong.push([&whole[..], &[0; 4]].concat());
        wrong.push(request(&ID).to_vec());
        let mut past_end = with(SUCCESS, &[(MAPPED_ADDRESS, PLAIN)]);
        past_end[23] = 12;
        wrong.push(past_end);
        for datagram in wrong {
            let expected = Err(NotAnAnswer::Other);
            assert_eq!(seen_address(&datagram, &ID), expected, "{datagram:?}");
        }
    }

    #[test]
    fn broken_or_unknown_attribute_voids_the_answer() {
        for attribute in [
            (MAPPED_ADDRESS, &PLAIN[..7]),
            (MAPPED_ADDRESS, &[0, 3, 0, 0, 1, 2, 3, 4]),
            (MAPPED_ADDRESS, &[0, 2, 0, 0, 1, 2, 3, 4]),
            (MAPPED_ADDRESS, &[]),
            (0x7fff, &[]),
        ] {
            let answer = with(SUCCESS, &[(XOR_MAPPED_ADDRESS, PLAIN), attribute]);
            assert_eq!(seen_address(&answer, &ID), Err(NotAnAnswer::Other));
        }
    }

    #[test]
    fn refusal_has_a_valid_code() {
        let plain = (MAPPED_ADDRESS, PLAIN);
        let refusal = |code| with(ERROR, &[(ERROR_CODE, code), plain]);
        for (answer, expected) in [
            (
                refusal(&[0, 0, 4, 1, b'n', b'o']),
                NotAnAnswer::Refused(401),
            ),
            (refusal(&[0, 0, 7, 1]), NotAnAnswer::Other),
            (refusal(&[0, 0, 4, 100]), NotAnAnswer::Other),
            (with(ERROR, &[plain]), NotAnAnswer::Other),
        ] {
            assert_eq!(seen_address(&answer, &ID), Err(expected));
        }
    }
}
