//! From an IP packet to a datagram.
