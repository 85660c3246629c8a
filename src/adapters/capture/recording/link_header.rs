//! Finds the IP packet in a recorded frame, for the link types on which knocks are recorded. The bytes are untrusted.

// https://www.tcpdump.org/linktypes.html
const NULL: i32 = 0;
const ETHERNET: i32 = 1;
/// Raw IP; some systems write the last two.
const RAW: [i32; 5] = [101, 228, 229, 12, 14];
const LOOP: i32 = 108;
const LINUX_COOKED: i32 = 113;
const LINUX_COOKED_2: i32 = 276;

/// IPv4 and IPv6, IEEE 802 numbers.
const IP: [u16; 2] = [0x0800, 0x86dd];
/// 802.1Q, 802.1ad, and its predecessor.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const VLANS_MAX: usize = 4;
/// AF_INET and AF_INET6 of Linux, the BSDs and macOS.
const FAMILIES: [u32; 5] = [2, 10, 24, 28, 30];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotIp {
    /// The link type is not supported.
    LinkType(i32),
    /// Another protocol, by its ethertype.
    Ethertype(u16),
    Short,
}

pub(super) fn ip_packet(link_type: i32, frame: &[u8]) -> Result<&[u8], NotIp> {
    match link_type {
        ETHERNET => after_ethertype(frame.get(12..).ok_or(NotIp::Short)?, 0),
        LINUX_COOKED => after_ethertype(frame.get(14..).ok_or(NotIp::Short)?, 0),
        LINUX_COOKED_2 => {
            let (ethertype, _) = half(frame)?;
            payload(ethertype, frame.get(20..).ok_or(NotIp::Short)?, 0)
        }
        NULL | LOOP => {
            let (family, packet) = frame.split_first_chunk().ok_or(NotIp::Short)?;
            let known = [u32::from_be_bytes(*family), u32::from_le_bytes(*family)]
                .iter()
                .any(|family| FAMILIES.contains(family));
            if known {
                Ok(packet)
            } else {
                Err(NotIp::Ethertype(0))
            }
        }
        raw if RAW.contains(&raw) => Ok(frame),
        other => Err(NotIp::LinkType(other)),
    }
}

fn after_ethertype(bytes: &[u8], vlans: usize) -> Result<&[u8], NotIp> {
    let (ethertype, rest) = half(bytes)?;
    payload(ethertype, rest, vlans)
}

fn payload(ethertype: u16, rest: &[u8], vlans: usize) -> Result<&[u8], NotIp> {
    if IP.contains(&ethertype) {
        Ok(rest)
    } else if VLAN.contains(&ethertype) && vlans < VLANS_MAX {
        after_ethertype(rest.get(2..).ok_or(NotIp::Short)?, vlans.saturating_add(1))
    } else {
        Err(NotIp::Ethertype(ethertype))
    }
}

fn half(bytes: &[u8]) -> Result<(u16, &[u8]), NotIp> {
    let (half, rest) = bytes.split_first_chunk().ok_or(NotIp::Short)?;
    Ok((u16::from_be_bytes(*half), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_is_found_after_every_link_header() {
        let ip = [0x45, 1, 2, 3];
        let framed = |head: &[u8]| [head, &ip].concat();
        let macs = [0; 12];
        for (link_type, head) in [
            (ETHERNET, [&macs[..], &[8, 0]].concat()),
            (ETHERNET, [&macs[..], &[0x81, 0, 0, 7, 8, 0]].concat()),
            (
                ETHERNET,
                [&macs[..], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 7, 0x86, 0xdd]].concat(),
            ),
            (LINUX_COOKED, [&[0; 14][..], &[8, 0]].concat()),
            (LINUX_COOKED_2, [&[8, 0][..], &[0; 18]].concat()),
            (NULL, vec![2, 0, 0, 0]),
            (NULL, vec![0, 0, 0, 30]),
            (LOOP, vec![0, 0, 0, 2]),
            (101, vec![]),
            (229, vec![]),
        ] {
            let whole = framed(&head);
            let found = ip_packet(link_type, &whole);
            assert_eq!(found, Ok(&ip[..]), "{link_type} {head:?}");
            for end in 0..head.len() {
                assert_eq!(
                    ip_packet(link_type, &head[..end]),
                    Err(NotIp::Short),
                    "{link_type} cut to {end}"
                );
            }
        }
    }

    #[test]
    fn other_packets_are_named_by_type() {
        let tags = [&[0; 12][..], &[0x81, 0, 0, 7].repeat(10)].concat();
        let arp = [&[0; 12][..], &[8, 6, 0, 1]].concat();
        for (link_type, frame, expected) in [
            (ETHERNET, &arp[..], NotIp::Ethertype(0x0806)),
            (105, &[0; 100], NotIp::LinkType(105)),
            (NULL, &[7, 0, 0, 0, 0x45], NotIp::Ethertype(0)),
            (ETHERNET, &tags, NotIp::Ethertype(0x8100)),
        ] {
            assert_eq!(ip_packet(link_type, frame), Err(expected));
        }
    }
}
