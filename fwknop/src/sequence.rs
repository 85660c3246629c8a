//! The encrypted sequences of fwknop 1.8.3 to 1.9 (README.md, section 4).
//!
//! 32 hits carry 32 bytes: each hit's port is the offset plus a byte.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;

use crate::cipher::{Passphrase, Salt};
use crate::limits::{BLOCK_LEN, MAGIC};
use crate::packet::Mark;
use crate::request::Allow;

/// How many hits a sequence has.
pub const HITS: usize = 32;
/// The offset that fwknop's client and server use by default.
pub const OFFSET: u16 = 61_000;
/// The largest offset: the ports reach 255 further.
pub const OFFSET_MAX: u16 = 65_280;
/// The shortest passphrase that fwknop's client takes.
pub const PASSPHRASE_MIN: usize = 8;
/// A longer user name would need more hits than a server reads.
pub const USER_MAX: usize = 7;

/// What a sequence asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who is let in.
    pub allow: Allow,
    /// The protocol.
    pub protocol: Protocol,
    /// The port. Means nothing for ICMP.
    pub port: u16,
    /// The user name that the client states. It is not authenticated.
    pub user: String,
}

/// The protocols that a sequence can name, by their IANA numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// ICMP, which has no ports.
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// The passphrase and the offset of a user.
pub struct Key {
    passphrase: Passphrase,
    offset: u16,
}

impl Key {
    /// A passphrase of 8 to 128 bytes and an offset of at most 65280.
    pub fn new(passphrase: &[u8], offset: u16) -> Result<Self, Refused> {
        if passphrase.len() < PASSPHRASE_MIN {
            return Err(Refused::Passphrase);
        }
        if offset == 0 || offset > OFFSET_MAX {
            return Err(Refused::Offset);
        }
        let passphrase = Passphrase::new(passphrase).ok_or(Refused::Passphrase)?;
        Ok(Self {
            passphrase: passphrase.filled(),
            offset,
        })
    }

    /// The ports to hit, in order, with 8 fresh random bytes.
    pub fn ports(&self, access: &Access, random: &[u8; 8]) -> Result<[u16; HITS], Refused> {
        let mut plain = plaintext(access)?;
        let len = plain.len();
        plain.resize(BLOCK_LEN, 0);
        let derived = self.passphrase.derive(random);
        let block = derived.encrypt(&mut plain, len).ok_or(Refused::User)?;

        let mut ports = [0; HITS];
        let bytes = MAGIC.iter().chain(random).chain(block);
        for (port, byte) in ports.iter_mut().zip(bytes) {
            *port = self.offset.saturating_add(u16::from(*byte));
        }
        Ok(ports)
    }

    /// Reads the ports that were hit.
    pub fn open_ports(&self, ports: &[u16; HITS]) -> Result<Access, Refused> {
        let mut run = [0; HITS];
        for (byte, port) in run.iter_mut().zip(ports) {
            *byte = port
                .checked_sub(self.offset)
                .and_then(|byte| u8::try_from(byte).ok())
                .ok_or(Refused::Port)?;
        }
        self.open(&run)
    }

    /// Reads a run: the distance of each hit's port from the offset.
    pub fn open(&self, run: &[u8; HITS]) -> Result<Access, Refused> {
        let (magic, rest) = run.split_first_chunk().ok_or(Refused::Magic)?;
        if magic != MAGIC {
            return Err(Refused::Magic);
        }
        let (salt, block) = rest.split_first_chunk().ok_or(Refused::Magic)?;
        let salt: &Salt = salt;
        let mut block: [u8; BLOCK_LEN] = block.try_into().map_err(|_| Refused::Magic)?;
        let derived = self.passphrase.derive(salt);
        let plain = derived.decrypt(&mut block).ok_or(Refused::Key)?;
        read(plain)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(.., {})", self.offset)
    }
}

/// The mark of a run. Nothing in a run is fresh, so an accepted mark must never be forgotten.
#[must_use]
pub fn mark(run: &[u8; HITS]) -> Mark {
    Mark::of(run)
}

fn read(plain: &[u8]) -> Result<Access, Refused> {
    let (head, rest) = plain.split_first_chunk::<7>().ok_or(Refused::Key)?;
    let (checksum, user) = rest.split_first().ok_or(Refused::Key)?;
    if *checksum != sum(head) {
        return Err(Refused::Checksum);
    }
    let [a, b, c, d, high, low, protocol] = *head;
    let address = Ipv4Addr::new(a, b, c, d);
    let access = Access {
        allow: if address.is_unspecified() {
            Allow::Source
        } else {
            Allow::Address(address)
        },
        protocol: match protocol {
            1 => Protocol::Icmp,
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return Err(Refused::Protocol),
        },
        port: u16::from_be_bytes([high, low]),
        user: String::from_utf8(user.into()).map_err(|_| Refused::User)?,
    };
    // One plaintext for each request: what would be written otherwise is refused.
    if plaintext(&access)? != plain {
        return Err(Refused::User);
    }
    Ok(access)
}

fn plaintext(access: &Access) -> Result<Vec<u8>, Refused> {
    let user = access.user.as_bytes();
    if user.len() > USER_MAX || !user.iter().all(u8::is_ascii_graphic) {
        return Err(Refused::User);
    }
    if access.port == 0 && access.protocol != Protocol::Icmp {
        return Err(Refused::Protocol);
    }
    let address = match access.allow {
        Allow::Source => Ipv4Addr::UNSPECIFIED,
        Allow::Address(address) => address,
    };
    let mut plain = address.octets().to_vec();
    plain.extend(access.port.to_be_bytes());
    plain.push(access.protocol as u8);
    plain.push(sum(&plain));
    plain.extend(user);
    Ok(plain)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Why a sequence or its key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A passphrase has 8 to 128 bytes.
    Passphrase,
    /// An offset is 1 to 65280.
    Offset,
    /// A port is not in the 256 ports from the offset on.
    Port,
    /// The first eight hits are not the fixed ones.
    Magic,
    /// The block does not open with this passphrase.
    Key,
    /// The checksum is not that of the plaintext.
    Checksum,
    /// The protocol is not ICMP, TCP or UDP, or the port of TCP or UDP is 0.
    Protocol,
    /// The user name has more than 7 characters, or one that is not printable.
    User,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase => "a passphrase must have 8 to 128 bytes",
            Self::Offset => "an offset must be 1 to 65280",
            Self::Port => "a hit is not in the 256 ports from the offset on",
            Self::Magic => "the first eight hits are not those of an encrypted sequence",
            Self::Key => "the sequence does not open with this passphrase",
            Self::Checksum => "the checksum is wrong",
            Self::Protocol => "only ICMP and ports 1 to 65535 of TCP and UDP can be opened",
            Self::User => "a user name must have at most 7 printable characters",
        })
    }
}

impl core::error::Error for Refused {}
