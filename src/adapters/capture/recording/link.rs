//! From a recorded frame to the IP packet in it, for the link types that knocks are recorded with. Reads bytes of strangers.

// https://www.tcpdump.org/linktypes.html
const NULL: i32 = 0;
const ETHERNET: i32 = 1;
/// Raw IP; the last two are what some systems write for it.
const RAW: [i32; 5] = [101, 228, 229, 12, 14];
const LOOP: i32 = 108;
const LINUX_COOKED: i32 = 113;
const LINUX_COOKED_2: i32 = 276;

/// IPv4 and IPv6, IEEE 802 numbers.
const IP: [u16; 2] = [0x0800, 0x86dd];
/// 802.1Q, 802.1ad, and what was used before that one.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Tags in front of each other.
const VLANS_MAX: usize = 4;
/// AF_INET and AF_INET6 of Linux, the BSDs and macOS.
const FAMILIES: [u32; 5] = [2, 10, 24, 28, 30];

/// Why there is no IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoIp {
    /// This link type is not known here.
    LinkType(i32),
    /// Another protocol, by its ethertype.
    Ethertype(u16),
    /// Too short for what it says it is.
    Short,
}

/// The bytes from the IP header on.
pub(super) fn ip_in(link_type: i32, frame: &[u8]) -> Result<&[u8], NoIp> {
    match link_type {
        ETHERNET => behind_ethertype(frame.get(12..).ok_or(NoIp::Short)?, 0),
        LINUX_COOKED => behind_ethertype(frame.get(14..).ok_or(NoIp::Short)?, 0),
        LINUX_COOKED_2 => {
            let (ethertype, _) = half(frame)?;
            behind(ethertype, frame.get(20..).ok_or(NoIp::Short)?, 0)
        }
        NULL | LOOP => {
            let (family, packet) = frame.split_first_chunk().ok_or(NoIp::Short)?;
            let known = [u32::from_be_bytes(*family), u32::from_le_bytes(*family)]
                .iter()
                .any(|family| FAMILIES.contains(family));
            if known {
                Ok(packet)
            } else {
                Err(NoIp::Ethertype(0))
            }
        }
        raw if RAW.contains(&raw) => Ok(frame),
        other => Err(NoIp::LinkType(other)),
    }
}

fn behind_ethertype(bytes: &[u8], vlans: usize) -> Result<&[u8], NoIp> {
    let (ethertype, rest) = half(bytes)?;
    behind(ethertype, rest, vlans)
}

fn behind(ethertype: u16, rest: &[u8], vlans: usize) -> Result<&[u8], NoIp> {
    if IP.contains(&ethertype) {
        Ok(rest)
    } else if VLAN.contains(&ethertype) && vlans < VLANS_MAX {
        behind_ethertype(rest.get(2..).ok_or(NoIp::Short)?, vlans.saturating_add(1))
    } else {
        Err(NoIp::Ethertype(ethertype))
    }
}

fn half(bytes: &[u8]) -> Result<(u16, &[u8]), NoIp> {
    let (half, rest) = bytes.split_first_chunk().ok_or(NoIp::Short)?;
    Ok((u16::from_be_bytes(*half), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_found_behind_every_link_header_and_its_tags() {
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
            assert_eq!(
                ip_in(link_type, &framed(&head)),
                Ok(&ip[..]),
                "{link_type} {head:?}"
            );
            // Cut anywhere in the link header, it is nothing.
            for end in 0..head.len() {
                assert_eq!(
                    ip_in(link_type, &head[..end]),
                    Err(NoIp::Short),
                    "{link_type} cut to {end}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_ip_is_told_by_its_type() {
        let arp = [&[0; 12][..], &[8, 6, 0, 1]].concat();
        assert_eq!(ip_in(ETHERNET, &arp), Err(NoIp::Ethertype(0x0806)));
        assert_eq!(ip_in(105, &[0; 100]), Err(NoIp::LinkType(105)));
        assert_eq!(ip_in(NULL, &[7, 0, 0, 0, 0x45]), Err(NoIp::Ethertype(0)));
        let tags = [&[0; 12][..], &[0x81, 0, 0, 7].repeat(10)].concat();
        assert_eq!(
            ip_in(ETHERNET, &tags),
            Err(NoIp::Ethertype(0x8100)),
            "no end of tags"
        );
    }
}
