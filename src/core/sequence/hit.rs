//! A packet that may be a hit.

use std::net::IpAddr;

use postern_proto::Protocol;

/// A packet, as far as sequences need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// In its canonical form. Anyone can forge it.
    pub source: IpAddr,
    pub protocol: Protocol,
    /// The destination port; 0 for ICMP.
    pub port: u16,
    pub source_port: u16,
    /// `None` if it is not TCP, or not known.
    pub tcp: Option<Tcp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    pub flags: u8,
    /// The sequence number, where it is known.
    pub sequence: Option<u32>,
}
