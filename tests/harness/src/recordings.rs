//! Writes recordings in both formats, both byte orders and every resolution of time.

#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub big_endian: bool,
    pub per_second: u64,
    pub link_type: u16,
}

/// A recorded frame: milliseconds since 1970 and its bytes.
pub type Frame<'a> = (u64, &'a [u8]);

impl Style {
    pub const ETHERNET: Self = Self {
        big_endian: false,
        per_second: 1_000_000,
        link_type: 1,
    };

    fn half(self, number: u16) -> [u8; 2] {
        if self.big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }

    fn words(self, numbers: &[usize]) -> Vec<u8> {
        let word = |number: &usize| {
            let number = u32::try_from(*number).unwrap();
            if self.big_endian {
                number.to_be_bytes()
            } else {
                number.to_le_bytes()
            }
        };
        numbers.iter().flat_map(word).collect()
    }
}

/// As `tcpdump -w` writes them, with micro- or nanoseconds.
pub fn pcap(style: Style, frames: &[Frame<'_>]) -> Vec<u8> {
    let magic = match style.per_second {
        1_000_000_000 => 0xa1b2_3c4d,
        _ => 0xa1b2_c3d4,
    };
    let mut file = style.words(&[magic]);
    file.extend([style.half(2), style.half(4)].concat());
    file.extend(style.words(&[0, 0, 262_144, style.link_type.into()]));
    for (at, bytes) in frames {
        let ticks = (at % 1000) * (style.per_second / 1000);
        let length = bytes.len();
        file.extend(style.words(&[(at / 1000) as usize, ticks as usize, length, length]));
        file.extend_from_slice(bytes);
    }
    file
}

pub fn pcapng(style: Style, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut file = [section(style), interface(style)].concat();
    for (at, bytes) in frames {
        let ticks = u128::from(*at) * u128::from(style.per_second) / 1000;
        let (high, low) = ((ticks >> 32) as usize, (ticks & 0xffff_ffff) as usize);
        let head = style.words(&[0, high, low, bytes.len(), bytes.len()]);
        file.extend(block(style, 6, &[head, padded(bytes)].concat()));
    }
    file
}

pub fn section(style: Style) -> Vec<u8> {
    let version = [style.half(1), style.half(0)].concat();
    let body = [style.words(&[0x1a2b_3c4d]), version, vec![0xff; 8]];
    block(style, 0x0a0d_0d0a, &body.concat())
}

/// With the option for the resolution, unless that is microseconds.
pub fn interface(style: Style) -> Vec<u8> {
    let mut body = [&style.half(style.link_type)[..], &[0; 2]].concat();
    body.extend(style.words(&[262_144]));
    if style.per_second != 1_000_000 {
        body.extend([style.half(9), style.half(1)].concat());
        body.extend([style.per_second.ilog10() as u8, 0, 0, 0, 0, 0, 0, 0]);
    }
    block(style, 1, &body)
}

pub fn simple(style: Style, bytes: &[u8]) -> Vec<u8> {
    let body = [style.words(&[bytes.len()]), padded(bytes)].concat();
    block(style, 3, &body)
}

pub fn block(style: Style, kind: usize, body: &[u8]) -> Vec<u8> {
    let length = 12 + body.len();
    let (head, tail) = (style.words(&[kind, length]), style.words(&[length]));
    [&head, body, &tail].concat()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}
