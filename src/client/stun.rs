//! STUN Binding (RFC 8489), as far as a client needs it that asks which address it is seen at: the request, and the answer.
//!
//! Owns the bytes: no socket, no clock, no random source. What comes is a stranger's word: lengths are checked first, nothing
//! is indexed, and what does not fit in every part is not an answer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// UDP port of a server that names none.
pub const PORT: u16 = 3478;
/// Bytes of the longest answer that is read; a longer one comes cut, and is none.
pub const ANSWER_MAX: usize = 1500;

/// What an answer must repeat: 12 random bytes.
pub type TransactionId = [u8; 12];

const HEAD: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;
const MAPPED_ADDRESS: u16 = 0x0001;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Up to here an attribute must be understood, or the answer is none (RFC 8489, section 6.3.1).
const REQUIRED_MAX: u16 = 0x7fff;
/// Those that are understood, if only to be stepped over: of RFC 3489, 5389 and 8489.
const UNDERSTOOD: [u16; 17] = [
    0x0001, 0x0002, 0x0003, 0x0004, 0x0005, 0x0006, 0x0007, 0x0008, 0x0009, 0x000a, 0x000b, 0x0014,
    0x0015, 0x001c, 0x001d, 0x001e, 0x0020,
];

/// Why a datagram says no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnAnswer {
    /// It is not an answer to this request, or not one that RFC 8489 would call whole. The real one may still come.
    Other,
    /// The server refuses, with this code.
    Refused(u16),
    /// The server's answer names no address.
    NoAddress,
}

/// A Binding request without attributes.
pub fn request(id: &TransactionId) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
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
/// XOR-MAPPED-ADDRESS goes before MAPPED-ADDRESS, which only servers from before RFC 5389 send alone.
///
/// # Errors
/// When the datagram is no answer to the request with this id, or one without an address.
pub fn seen_address(datagram: &[u8], id: &TransactionId) -> Result<IpAddr, NotAnAnswer> {
    let (kind, mut rest) = message(datagram, id).ok_or(NotAnAnswer::Other)?;
    let (mut plain, mut masked, mut refused) = (None, None, None);
    while !rest.is_empty() {
        let (attribute, value, behind) = attribute(rest).ok_or(NotAnAnswer::Other)?;
        match attribute {
            // Of several alike the first counts (section 14).
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
        rest = behind;
    }
    match kind {
        ERROR => Err(NotAnAnswer::Refused(refused.ok_or(NotAnAnswer::Other)?)),
        _ => masked.or(plain).ok_or(NotAnAnswer::NoAddress),
    }
}

/// The kind of an answer with this id and its attributes.
fn message<'a>(datagram: &'a [u8], id: &TransactionId) -> Option<(u16, &'a [u8])> {
    let (kind, rest) = number(datagram)?;
    let (length, rest) = number(rest)?;
    let (cookie, rest) = rest.split_first_chunk::<4>()?;
    let (echoed, attributes) = rest.split_first_chunk::<12>()?;
    let whole = usize::from(length) == attributes.len() && length.is_multiple_of(4);
    let ours = *cookie == COOKIE.to_be_bytes() && echoed == id && matches!(kind, SUCCESS | ERROR);
    (whole && ours).then_some((kind, attributes))
}

/// The first attribute, and what is behind it and its padding to four bytes.
fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (kind, rest) = number(bytes)?;
    let (length, rest) = number(rest)?;
    let (value, _) = rest.split_at_checked(usize::from(length))?;
    let (_, behind) = rest.split_at_checked(usize::from(length).next_multiple_of(4))?;
    Some((kind, value, behind))
}

/// An address attribute: a zero, the family, the port, the address. One that is masked has been added to the magic cookie
/// and the transaction id bit by bit, so that no middlebox rewrites it.
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

/// 300 to 699: the hundreds in three bits, the rest in a byte (section 14.8).
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

impl fmt::Display for NotAnAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other => f.write_str("it sent what is no answer"),
            Self::Refused(code) => write!(f, "it refuses with code {code}"),
            Self::NoAddress => f.write_str("its answer names no address"),
        }
    }
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
        digits
            .chunks(2)
            .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
            .collect()
    }

    fn with(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (attribute, value) in attributes {
            body.extend(attribute.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let length = u16::try_from(body.len()).unwrap();
        [
            &kind.to_be_bytes()[..],
            &length.to_be_bytes(),
            &COOKIE.to_be_bytes(),
            &ID,
            &body,
        ]
        .concat()
    }

    const PLAIN: &[u8] = &[0, 1, 0x12, 0x34, 192, 0, 2, 1];

    #[test]
    fn the_sample_responses_of_rfc_5769_are_read() {
        assert_eq!(
            seen_address(&bytes(V4), &ID),
            Ok("192.0.2.1".parse().unwrap())
        );
        assert_eq!(
            seen_address(&bytes(V6), &ID),
            Ok("2001:db8:1234:5678:11:2233:4455:6677".parse().unwrap())
        );
    }

    #[test]
    fn a_request_is_a_head_with_the_cookie_and_the_id() {
        assert_eq!(
            request(&ID).to_vec(),
            bytes("000100002112a442b7e7a701bc34d686fa87dfae")
        );
    }

    #[test]
    fn the_address_that_no_middlebox_rewrites_goes_before_the_plain_one() {
        let masked: &[u8] = &[0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x42];
        for attributes in [
            [(MAPPED_ADDRESS, PLAIN), (XOR_MAPPED_ADDRESS, masked)],
            [(XOR_MAPPED_ADDRESS, masked), (MAPPED_ADDRESS, PLAIN)],
        ] {
            assert_eq!(
                seen_address(&with(SUCCESS, &attributes), &ID),
                Ok("192.0.2.0".parse().unwrap())
            );
        }
        assert_eq!(
            seen_address(&with(SUCCESS, &[(MAPPED_ADDRESS, PLAIN)]), &ID),
            Ok("192.0.2.1".parse().unwrap())
        );
        assert_eq!(
            seen_address(&with(SUCCESS, &[(0x8022, b"server")]), &ID),
            Err(NotAnAnswer::NoAddress)
        );
    }

    #[test]
    fn an_answer_to_another_request_and_every_cut_or_longer_one_is_none() {
        let whole = bytes(V4);
        for at in (0..20).filter(|at| !(2..4).contains(at)) {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert_eq!(seen_address(&other, &ID), Err(NotAnAnswer::Other), "{at}");
        }
        for length in 0..whole.len() {
            assert_eq!(
                seen_address(&whole[..length], &ID),
                Err(NotAnAnswer::Other),
                "{length}"
            );
        }
        assert_eq!(
            seen_address(&[&whole[..], &[0; 4]].concat(), &ID),
            Err(NotAnAnswer::Other)
        );
        assert_eq!(seen_address(&request(&ID), &ID), Err(NotAnAnswer::Other));
    }

    #[test]
    fn attributes_that_are_broken_or_must_be_understood_and_are_not_make_it_no_answer() {
        for attributes in [
            (MAPPED_ADDRESS, &PLAIN[..7]),
            (MAPPED_ADDRESS, &[0, 3, 0, 0, 1, 2, 3, 4]),
            (MAPPED_ADDRESS, &[0, 2, 0, 0, 1, 2, 3, 4]),
            (MAPPED_ADDRESS, &[]),
            (0x7fff, &[]),
        ] {
            assert_eq!(
                seen_address(
                    &with(SUCCESS, &[(XOR_MAPPED_ADDRESS, PLAIN), attributes]),
                    &ID
                ),
                Err(NotAnAnswer::Other)
            );
        }
        let mut over = with(SUCCESS, &[(MAPPED_ADDRESS, PLAIN)]);
        over[23] = 12;
        assert_eq!(
            seen_address(&over, &ID),
            Err(NotAnAnswer::Other),
            "it reaches past the end"
        );
    }

    #[test]
    fn a_refusal_is_told_with_its_code() {
        let refused = |code: &[u8]| {
            seen_address(
                &with(ERROR, &[(ERROR_CODE, code), (MAPPED_ADDRESS, PLAIN)]),
                &ID,
            )
        };
        assert_eq!(
            refused(&[0, 0, 4, 1, b'n', b'o']),
            Err(NotAnAnswer::Refused(401))
        );
        assert_eq!(refused(&[0, 0, 7, 1]), Err(NotAnAnswer::Other));
        assert_eq!(refused(&[0, 0, 4, 100]), Err(NotAnAnswer::Other));
        assert_eq!(
            seen_address(&with(ERROR, &[(MAPPED_ADDRESS, PLAIN)]), &ID),
            Err(NotAnAnswer::Other),
            "no code"
        );
    }
}
