//! Recordings of the tests' own making, in both formats, both byte orders and every resolution of time.

/// What stands in the header of a file or of an interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) big_endian: bool,
    /// Parts of a second in a tick; a power of ten.
    pub(crate) a_second: u64,
    pub(crate) link_type: u16,
}

/// A recorded frame: milliseconds since 1970 and its bytes.
pub(crate) type Frame<'a> = (u64, &'a [u8]);

impl Style {
    pub(crate) const ETHERNET: Self = Self {
        big_endian: false,
        a_second: 1_000_000,
        link_type: 1,
    };

    fn half(self, number: u16) -> [u8; 2] {
        if self.big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }

    fn word(self, number: usize) -> [u8; 4] {
        let number = u32::try_from(number).unwrap();
        if self.big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }

    fn words(self, numbers: &[usize]) -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| self.word(*number))
            .collect()
    }
}

/// As `tcpdump -w` writes them; micro- or nanoseconds.
pub(crate) fn pcap(style: Style, frames: &[Frame<'_>]) -> Vec<u8> {
    let magic = if style.a_second == 1_000_000_000 {
        0xa1b2_3c4d
    } else {
        0xa1b2_c3d4
    };
    let mut file = style.word(magic).to_vec();
    file.extend([style.half(2), style.half(4)].concat());
    file.extend(style.words(&[0, 0, 262_144, usize::from(style.link_type)]));
    for (at, bytes) in frames {
        let part = (at % 1000) * (style.a_second / 1000);
        file.extend(style.words(&[
            (at / 1000) as usize,
            part as usize,
            bytes.len(),
            bytes.len(),
        ]));
        file.extend_from_slice(bytes);
    }
    file
}

/// As Wireshark writes them: a section, an interface, a packet each.
pub(crate) fn pcapng(style: Style, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut file = section(style);
    file.extend(interface(style));
    for (at, bytes) in frames {
        let ticks = u128::from(*at) * u128::from(style.a_second) / 1000;
        let (high, low) = ((ticks >> 32) as usize, (ticks & 0xffff_ffff) as usize);
        let head = style.words(&[0, high, low, bytes.len(), bytes.len()]);
        file.extend(block(style, 6, &[&head, &padded(bytes)[..]].concat()));
    }
    file
}

pub(crate) fn section(style: Style) -> Vec<u8> {
    let body = [
        &style.word(0x1a2b_3c4d)[..],
        &style.half(1),
        &style.half(0),
        &[0xff; 8],
    ]
    .concat();
    block(style, 0x0a0d_0d0a, &body)
}

/// With the option that says the resolution, if it is not microseconds.
pub(crate) fn interface(style: Style) -> Vec<u8> {
    let mut body = [
        &style.half(style.link_type)[..],
        &[0; 2],
        &style.word(262_144),
    ]
    .concat();
    if style.a_second != 1_000_000 {
        let exponent = style.a_second.ilog10() as u8;
        body.extend(
            [
                &style.half(9)[..],
                &style.half(1),
                &[exponent, 0, 0, 0],
                &[0; 4],
            ]
            .concat(),
        );
    }
    block(style, 1, &body)
}

/// A packet without a time.
pub(crate) fn simple(style: Style, bytes: &[u8]) -> Vec<u8> {
    block(
        style,
        3,
        &[&style.word(bytes.len())[..], &padded(bytes)].concat(),
    )
}

pub(crate) fn block(style: Style, kind: usize, body: &[u8]) -> Vec<u8> {
    let length = style.word(12 + body.len());
    [&style.word(kind)[..], &length, body, &length].concat()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}

/// From one hardware address to another; `types` is tags, if any, and the ethertype.
pub(crate) fn ethernet(types: &[u16], packet: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = types.iter().flat_map(|part| part.to_be_bytes()).collect();
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &types, packet].concat()
}
