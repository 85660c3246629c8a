//! Packets that another program has recorded: pcap and pcapng, as tcpdump and Wireshark write them, from a file or a pipe.
//!
//! Reads a file of strangers in bounded memory, block by block; must not judge a packet. What each one is stands in `packet`.

use std::io::{self, Cursor, ErrorKind, Read};

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{
    Block, EPB_MAGIC, IDB_MAGIC, LegacyPcapBlock, LegacyPcapReader, PcapBlockOwned, PcapError,
    PcapHeader, PcapNGReader, SHB_MAGIC, SPB_MAGIC,
};

use crate::model::time::Timestamp;

mod clock;
mod link;
mod packet;

use clock::Ticks;
pub use packet::{Found, Other, Why};

/// Longest block: the longest packet that tcpdump records is 256 KiB.
const BUFFER: usize = 1 << 20;
/// Most interfaces in one section of a pcapng file.
const INTERFACES_MAX: usize = 4096;
/// Longest header of a section.
const HEAD_MAX: usize = 64 << 10;
const PCAP_HEAD: usize = 24;
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The kinds of block that say something here. Others are passed over unread: pcap-parser 0.17 panics on some that lie.
const READ: [u32; 4] = [SHB_MAGIC, IDB_MAGIC, SPB_MAGIC, EPB_MAGIC];
/// A block's kind, its length, and its length again.
const BLOCK_MIN: u32 = 12;
/// Micro- and nanoseconds in both byte orders, and a variant of old Linux kernels.
const PCAP: [[u8; 4]; 5] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0x34, 0xcd, 0xb2, 0xa1],
];

/// Why a recording can't be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It does not begin as one.
    #[error("it is no recording in the pcap or pcapng format")]
    NotOne,
    /// The program that wrote it was stopped in the middle of a packet, say.
    #[error("it ends in the middle of a packet")]
    Cut,
    /// A part of it is longer than any packet.
    #[error("a part of it is longer than any packet: it is damaged")]
    TooLong,
    /// It does not keep to its format.
    #[error("it is damaged")]
    Damaged,
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
}

/// One packet of a recording.
#[derive(Debug)]
pub struct Recorded {
    /// Counted from 1, as Wireshark does.
    pub number: u64,
    /// When it was recorded; `None` where the recording does not say.
    pub at: Option<Timestamp>,
    /// What it is.
    pub found: Found,
}

/// A recording that is being read.
pub struct Recording {
    reader: Box<dyn PcapReaderIterator>,
    ports: Vec<u16>,
    section: Section,
    number: u64,
}

/// The part of a recording that is being read; of pcap there is only one.
#[derive(Debug, Default)]
struct Section {
    /// The byte order, of pcapng.
    big_endian: Option<bool>,
    /// In the order of their numbers.
    interfaces: Vec<Interface>,
}

/// Where packets of a recording come from.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: i32,
    ticks: Ticks,
}

/// A packet as it lies in the reader's buffer.
struct Raw<'a> {
    link_type: i32,
    at: Option<Timestamp>,
    bytes: &'a [u8],
}

/// Whether a file that begins with these bytes is a recording.
pub fn begins(head: &[u8]) -> bool {
    head.first_chunk()
        .is_some_and(|magic| *magic == PCAPNG || PCAP.contains(magic))
}

impl Recording {
    /// Begins to read. Datagrams to `ports` are those that matter.
    ///
    /// # Errors
    /// What it does not begin with, or the system said.
    pub fn open(mut input: impl Read + 'static, ports: &[u16]) -> Result<Self, RecordingError> {
        let head = head(&mut input)?;
        let is_pcapng = head.starts_with(&PCAPNG);
        let input = Patient(Cursor::new(head).chain(input));
        let reader: Box<dyn PcapReaderIterator> = if is_pcapng {
            Box::new(PcapNGReader::new(BUFFER, input).map_err(|error| fault(&error))?)
        } else {
            Box::new(LegacyPcapReader::new(BUFFER, input).map_err(|error| fault(&error))?)
        };
        Ok(Self {
            reader,
            ports: ports.to_vec(),
            section: Section::default(),
            number: 0,
        })
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// After one, nothing more of it can be read.
    pub fn read(&mut self) -> Result<Option<Recorded>, RecordingError> {
        loop {
            if let Some(length) = self.section.other_block(self.reader.data()) {
                self.pass_over(length)?;
                continue;
            }
            let before = self.reader.data().len();
            match self.reader.next() {
                Ok((length, block)) => {
                    let raw = raw(&block, &mut self.section)?;
                    let read = raw
                        .map(|raw| (raw.at, packet::read(raw.link_type, raw.bytes, &self.ports)));
                    self.reader.consume(length);
                    if let Some((at, found)) = read {
                        self.number = self.number.saturating_add(1);
                        return Ok(Some(Recorded {
                            number: self.number,
                            at,
                            found,
                        }));
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => {
                    self.reader.refill().map_err(|error| fault(&error))?;
                    if self.reader.data().len() <= before && !self.reader.reader_exhausted() {
                        return Err(RecordingError::TooLong);
                    }
                }
                Err(error) => return Err(fault(&error)),
            }
        }
    }

    /// Leaves a block out, however long it is, in no more room than the buffer's.
    fn pass_over(&mut self, length: u32) -> Result<(), RecordingError> {
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
            self.reader.refill().map_err(|error| fault(&error))?;
            if self.reader.data().is_empty() {
                return Err(RecordingError::Cut);
            }
        }
    }
}

impl Section {
    /// The length of the block that begins here, if it is of a kind that says nothing here.
    fn other_block(&self, data: &[u8]) -> Option<u32> {
        let big_endian = self.big_endian?;
        let word = |at| {
            data.get(at..)?.first_chunk().map(|word| {
                if big_endian {
                    u32::from_be_bytes(*word)
                } else {
                    u32::from_le_bytes(*word)
                }
            })
        };
        let (kind, length) = (word(0)?, word(4)?);
        (!READ.contains(&kind)).then_some(length)
    }
}

/// The first bytes, up to where packets may begin: what a pipe gives at first may be less.
fn head(input: &mut impl Read) -> Result<Vec<u8>, RecordingError> {
    let not_one = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => RecordingError::NotOne,
        _ => RecordingError::Io(error),
    };
    let mut head = vec![0; PCAP_HEAD];
    input.read_exact(&mut head).map_err(not_one)?;
    if !begins(&head) {
        return Err(RecordingError::NotOne);
    }
    if head.starts_with(&PCAPNG)
        && let Some([_, _, _, _, length @ .., m0, m1, m2, m3]) = head.first_chunk::<12>()
    {
        let length = if [*m0, *m1, *m2, *m3] == [0x1a, 0x2b, 0x3c, 0x4d] {
            u32::from_be_bytes(*length)
        } else {
            u32::from_le_bytes(*length)
        };
        let length = usize::try_from(length)
            .ok()
            .filter(|length| (PCAP_HEAD..=HEAD_MAX).contains(length))
            .ok_or(RecordingError::Damaged)?;
        head.resize(length, 0);
        input
            .read_exact(head.get_mut(PCAP_HEAD..).unwrap_or_default())
            .map_err(not_one)?;
    }
    Ok(head)
}

/// The packet in a block, if it is one; interfaces are remembered for the packets behind them.
fn raw<'a>(
    block: &'a PcapBlockOwned<'a>,
    section: &mut Section,
) -> Result<Option<Raw<'a>>, RecordingError> {
    let of = |interfaces: &[Interface], number: u32| {
        usize::try_from(number)
            .ok()
            .and_then(|number| interfaces.get(number).copied())
    };
    let interfaces = &mut section.interfaces;
    match block {
        PcapBlockOwned::LegacyHeader(header) => *interfaces = vec![legacy(header)],
        PcapBlockOwned::NG(Block::SectionHeader(header)) => {
            interfaces.clear();
            section.big_endian = Some(header.big_endian());
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
            if interfaces.len() >= INTERFACES_MAX {
                return Err(RecordingError::Damaged);
            }
            let ticks = Ticks {
                a_second: described.ts_resolution(),
                offset_s: described.ts_offset(),
            };
            interfaces.push(Interface {
                link_type: described.linktype.0,
                ticks,
            });
        }
        PcapBlockOwned::Legacy(LegacyPcapBlock {
            ts_sec,
            ts_usec,
            data,
            ..
        }) => {
            let interface = of(interfaces, 0).ok_or(RecordingError::Damaged)?;
            let at = interface.ticks.since_second(*ts_sec, *ts_usec);
            return Ok(Some(Raw {
                link_type: interface.link_type,
                at,
                bytes: data,
            }));
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let interface = of(interfaces, packet.if_id).ok_or(RecordingError::Damaged)?;
            let at = interface.ticks.at(packet.ts_high, packet.ts_low);
            return Ok(Some(Raw {
                link_type: interface.link_type,
                at,
                bytes: packet.packet_data(),
            }));
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let interface = of(interfaces, 0).ok_or(RecordingError::Damaged)?;
            return Ok(Some(Raw {
                link_type: interface.link_type,
                at: None,
                bytes: packet.packet_data(),
            }));
        }
        PcapBlockOwned::NG(_) => {}
    }
    Ok(None)
}

fn legacy(header: &PcapHeader) -> Interface {
    let a_second = if header.is_nanosecond_precision() {
        1_000_000_000
    } else {
        1_000_000
    };
    // The upper half says whether a checksum follows each frame.
    Interface {
        link_type: header.network.0 & 0xffff,
        ticks: Ticks {
            a_second: Some(a_second),
            offset_s: 0,
        },
    }
}

fn fault<I>(error: &PcapError<I>) -> RecordingError {
    match error {
        PcapError::HeaderNotRecognized => RecordingError::NotOne,
        PcapError::UnexpectedEof | PcapError::Eof | PcapError::Incomplete(_) => RecordingError::Cut,
        PcapError::BufferTooSmall => RecordingError::TooLong,
        PcapError::ReadError => RecordingError::Io(io::Error::other("reading failed")),
        _ => RecordingError::Damaged,
    }
}

/// Reads on where a signal interrupted.
struct Patient<R>(R);

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording {{ {} packets read }}", self.number)
    }
}
