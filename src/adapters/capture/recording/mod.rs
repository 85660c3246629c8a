//! Reads recordings of tcpdump and Wireshark (pcap and pcapng) from a file or a pipe.
//!
//! It reads an untrusted file block by block, in bounded memory. `classify` says what each packet is.

use std::io::{self, Cursor, ErrorKind, Read};

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{
    Block, EPB_MAGIC, IDB_MAGIC, LegacyPcapReader, PcapBlockOwned, PcapError, PcapHeader,
    PcapNGReader, SHB_MAGIC, SPB_MAGIC,
};

use crate::model::time::Timestamp;

mod classify;
mod link_header;
mod ticks;

pub use classify::{Found, Other, Why};
use ticks::Ticks;

/// Longest block. tcpdump records at most 256 KiB of a packet.
const BUFFER: usize = 1 << 20;
const INTERFACES_MAX: usize = 4096;
const HEAD_MAX: usize = 64 << 10;
const PCAP_HEAD: usize = 24;
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The kinds of block that are parsed. Others are skipped: pcap-parser 0.17 panics on some malformed ones.
const PARSED: [u32; 4] = [SHB_MAGIC, IDB_MAGIC, SPB_MAGIC, EPB_MAGIC];
/// A block's kind, its length, and its length again at the end.
const BLOCK_MIN: u32 = 12;
/// Magic numbers: micro- and nanoseconds in both byte orders, and a variant of old Linux kernels.
const PCAP: [[u8; 4]; 5] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0x34, 0xcd, 0xb2, 0xa1],
];

/// Why a recording cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It does not start like a recording.
    #[error("it is not a recording in the pcap or pcapng format")]
    UnknownFormat,
    /// It ends within a packet, for instance because the recording program was killed.
    #[error("it ends in the middle of a packet")]
    Cut,
    /// A part of it is longer than any packet.
    #[error("a part of it is longer than any packet: it is damaged")]
    TooLong,
    /// It violates its format.
    #[error("it is damaged")]
    Damaged,
    /// The system cannot read it.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
}

/// One packet of a recording.
#[derive(Debug)]
pub struct Recorded {
    /// Counted from 1, as in Wireshark.
    pub number: u64,
    /// When it was recorded; `None` if the recording does not say.
    pub at: Option<Timestamp>,
    /// What it is.
    pub found: Found,
}

/// An open recording.
pub struct Recording {
    reader: Box<dyn PcapReaderIterator>,
    ports: Vec<u16>,
    section: Section,
    number: u64,
}

#[derive(Debug, Default)]
struct Section {
    big_endian: Option<bool>,
    interfaces: Vec<Interface>,
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: i32,
    ticks: Ticks,
}

type RawPacket<'a> = (i32, Option<Timestamp>, &'a [u8]);

/// Whether a file that starts with these bytes is a recording.
pub fn begins(head: &[u8]) -> bool {
    head.first_chunk()
        .is_some_and(|magic| *magic == PCAPNG || PCAP.contains(magic))
}

impl Recording {
    /// Starts to read a recording; `ports` are the knock ports.
    pub fn open(mut input: impl Read + 'static, ports: &[u16]) -> Result<Self, RecordingError> {
        let head = head(&mut input)?;
        let is_pcapng = head.starts_with(&PCAPNG);
        let input = RetryInterrupted(Cursor::new(head).chain(input));
        let reader: Box<dyn PcapReaderIterator> = if is_pcapng {
            Box::new(PcapNGReader::new(BUFFER, input)?)
        } else {
            Box::new(LegacyPcapReader::new(BUFFER, input)?)
        };
        Ok(Self {
            reader,
            ports: ports.to_vec(),
            section: Section::default(),
            number: 0,
        })
    }

    /// The next packet; `None` at the end.
    pub fn read(&mut self) -> Result<Option<Recorded>, RecordingError> {
        loop {
            if let Some(length) = self.section.skipped_block(self.reader.data()) {
                self.skip(length)?;
                continue;
            }
            let before = self.reader.data().len();
            match self.reader.next() {
                Ok((length, block)) => {
                    let packet = packet_in(&block, &mut self.section)?;
                    let packet = packet
                        .map(|(link, at, bytes)| (at, classify::read(link, bytes, &self.ports)));
                    self.reader.consume(length);
                    if let Some((at, found)) = packet {
                        self.number = self.number.saturating_add(1);
                        let number = self.number;
                        return Ok(Some(Recorded { number, at, found }));
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => {
                    self.reader.refill()?;
                    if self.reader.data().len() <= before && !self.reader.reader_exhausted() {
                        return Err(RecordingError::TooLong);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Skips a block of any length without a larger buffer.
    fn skip(&mut self, length: u32) -> Result<(), RecordingError> {
        if length < BLOCK_MIN {
            return Err(RecordingError::Damaged);
        }
        let mut left = usize::try_from(length).map_err(|_| RecordingError::TooLong)?;
        loop {
            let here = self.reader.data().len().min(left);
            self.reader.consume(here);
            left = left.saturating_sub(here);
            if left == 0 {
                return Ok(());
            }
            self.reader.refill()?;
            if self.reader.data().is_empty() {
                return Err(RecordingError::Cut);
            }
        }
    }
}

impl Section {
    fn interface(&self, number: u32) -> Result<Interface, RecordingError> {
        let interface = usize::try_from(number).ok();
        let interface = interface.and_then(|number| self.interfaces.get(number));
        interface.copied().ok_or(RecordingError::Damaged)
    }

    fn skipped_block(&self, data: &[u8]) -> Option<u32> {
        let big_endian = self.big_endian?;
        let read = if big_endian {
            u32::from_be_bytes
        } else {
            u32::from_le_bytes
        };
        let word = |at| data.get(at..)?.first_chunk().copied().map(read);
        let (kind, length) = (word(0)?, word(4)?);
        (!PARSED.contains(&kind)).then_some(length)
    }
}

/// The first bytes, up to the first packet. A pipe may give fewer bytes at first.
fn head(input: &mut impl Read) -> Result<Vec<u8>, RecordingError> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => RecordingError::UnknownFormat,
        _ => RecordingError::Io(error),
    };
    let mut head = vec![0; PCAP_HEAD];
    input.read_exact(&mut head).map_err(failed)?;
    if !begins(&head) {
        return Err(RecordingError::UnknownFormat);
    }
    if head.starts_with(&PCAPNG)
        && let Some([_, _, _, _, length @ .., m0, m1, m2, m3]) = head.first_chunk::<12>()
    {
        let length = match [*m0, *m1, *m2, *m3] {
            [0x1a, 0x2b, 0x3c, 0x4d] => u32::from_be_bytes(*length),
            _ => u32::from_le_bytes(*length),
        };
        let length = usize::try_from(length).ok();
        let length = length.filter(|length| (PCAP_HEAD..=HEAD_MAX).contains(length));
        head.resize(length.ok_or(RecordingError::Damaged)?, 0);
        let rest = head.get_mut(PCAP_HEAD..).unwrap_or_default();
        input.read_exact(rest).map_err(failed)?;
    }
    Ok(head)
}

/// The packet in a block, if it has one. Interfaces are stored for later packets.
fn packet_in<'a>(
    block: &'a PcapBlockOwned<'a>,
    section: &mut Section,
) -> Result<Option<RawPacket<'a>>, RecordingError> {
    let (interface, at, bytes) = match block {
        PcapBlockOwned::LegacyHeader(header) => {
            section.interfaces = vec![legacy(header)];
            return Ok(None);
        }
        PcapBlockOwned::NG(Block::SectionHeader(header)) => {
            section.interfaces.clear();
            section.big_endian = Some(header.big_endian());
            return Ok(None);
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
            if section.interfaces.len() >= INTERFACES_MAX {
                return Err(RecordingError::Damaged);
            }
            section.interfaces.push(Interface {
                link_type: described.linktype.0,
                ticks: Ticks {
                    per_second: described.ts_resolution(),
                    offset_s: described.ts_offset(),
                },
            });
            return Ok(None);
        }
        PcapBlockOwned::Legacy(packet) => {
            let interface = section.interface(0)?;
            let at = interface.ticks.since_second(packet.ts_sec, packet.ts_usec);
            (interface, at, packet.data)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let interface = section.interface(packet.if_id)?;
            let at = interface.ticks.at(packet.ts_high, packet.ts_low);
            (interface, at, packet.packet_data())
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            (section.interface(0)?, None, packet.packet_data())
        }
        PcapBlockOwned::NG(_) => return Ok(None),
    };
    Ok(Some((interface.link_type, at, bytes)))
}

fn legacy(header: &PcapHeader) -> Interface {
    let per_second = if header.is_nanosecond_precision() {
        Some(1_000_000_000)
    } else {
        Some(1_000_000)
    };
    let offset_s = 0;
    Interface {
        // the upper half says whether a checksum follows each frame
        link_type: header.network.0 & 0xffff,
        ticks: Ticks {
            per_second,
            offset_s,
        },
    }
}

impl<I> From<PcapError<I>> for RecordingError {
    fn from(error: PcapError<I>) -> Self {
        match error {
            PcapError::HeaderNotRecognized => Self::UnknownFormat,
            PcapError::UnexpectedEof | PcapError::Eof | PcapError::Incomplete(_) => Self::Cut,
            PcapError::BufferTooSmall => Self::TooLong,
            PcapError::ReadError => Self::Io(io::Error::other("reading failed")),
            _ => Self::Damaged,
        }
    }
}

struct RetryInterrupted<R>(R);

impl<R: Read> Read for RetryInterrupted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}
