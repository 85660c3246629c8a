//! The netlink socket: batches that the kernel takes as a whole or not at all, and dumps of a set.
//!
//! Owns sequence numbers, buffers and deadlines. It reads every answer: an early acknowledgement is not a commit, one error
//! means that nothing was done. What a fault means is not said here.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    DecodeError, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NlasIterator, ParseableParametrized,
};
use netlink_packet_netfilter::nftables::{ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};

use super::messages::{self, Message};
use super::sets::Set;

/// An answer takes microseconds; this is for a kernel that does not give one.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The kernel fills at most 32 KiB a datagram of a dump.
const BUFFER: usize = 128 * 1024;
/// A dump that others disturbed is taken again this many times.
const DUMPS_MAX: u32 = 16;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NETLINK_HEADER_LEN: usize = 16;

/// The kernel did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Which message of the batch; `None`: the batch as a whole.
    pub(super) index: Option<usize>,
    pub(super) errno: i32,
    /// What the kernel said besides, where it did.
    pub(super) said: Option<String>,
}

/// Why an exchange has no good end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The kernel refused, at least one fault: nothing was done.
    Refused(Vec<Fault>),
    /// The answer is lost: it may have been done or not.
    Unknown(io::Error),
    /// The answer is not what the kernel's interface says.
    Garbled(String),
}

/// An element as a dump has it: key, data, remaining milliseconds.
pub(super) type Dumped = (Vec<u8>, Vec<u8>, u64);

/// The socket and its buffers.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    sequence: u32,
    out: Vec<u8>,
    answer: Vec<u8>,
    send_buffer: usize,
}

impl Link {
    /// A socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        let send_buffer = sockopt::socket_send_buffer_size(&socket)?;
        Ok(Self { socket, sequence: 0, out: Vec::new(), answer: Vec::with_capacity(BUFFER), send_buffer })
    }

    /// Asks whether there is nf_tables in this kernel, and whether it may be used.
    pub(super) fn probe(&mut self) -> Result<(), Trouble> {
        let sequence = self.next_sequence(1);
        self.out.clear();
        self.push(inet(messages::get_generation()), NLM_F_REQUEST | NLM_F_ACK, sequence);
        self.send(sequence, sequence)
    }

    /// Sends the messages as one batch.
    pub(super) fn batch(&mut self, batch: impl Iterator<Item = Message>) -> Result<(), Trouble> {
        let mut batch = batch.peekable();
        let expected = u32::try_from(batch.size_hint().0).unwrap_or(u32::MAX / 2);
        let first = self.next_sequence(expected.saturating_add(2));
        let mut sequence = first;
        self.out.clear();
        self.push(control(ControlMessage::BatchBegin), NLM_F_REQUEST, first);
        while let Some((message, flags)) = batch.next() {
            sequence = sequence.wrapping_add(1);
            // the last one alone is acknowledged: one answer says that all is well
            let ack = if batch.peek().is_none() { NLM_F_ACK } else { 0 };
            self.push(inet(message), NLM_F_REQUEST | ack | flags, sequence);
        }
        if sequence == first {
            return Ok(());
        }
        self.push(control(ControlMessage::BatchEnd), NLM_F_REQUEST, sequence.wrapping_add(1));
        self.sequence = sequence.wrapping_add(1);
        self.make_room();
        self.send(first, sequence)
    }

    /// All elements of a set; a set or table that is not there is refused with NOENT.
    pub(super) fn dump(&mut self, set: Set) -> Result<Vec<Dumped>, Trouble> {
        for _ in 0..DUMPS_MAX {
            let sequence = self.next_sequence(1);
            self.out.clear();
            self.push(inet(messages::get_elements(set)), NLM_F_REQUEST | NLM_F_DUMP, sequence);
            self.transmit()?;
            let mut elements = Vec::new();
            if self.read_dump(sequence, &mut elements)? {
                return Ok(elements);
            }
        }
        Err(Trouble::Garbled(format!("the rules changed during each of {DUMPS_MAX} attempts to read them; try again")))
    }

    /// False where the dump was disturbed.
    fn read_dump(&mut self, sequence: u32, elements: &mut Vec<Dumped>) -> Result<bool, Trouble> {
        let mut whole = true;
        loop {
            self.receive()?;
            for message in Messages(&self.answer) {
                let message = message?;
                if message.sequence_number() != sequence {
                    continue;
                }
                whole &= message.flags() & NLM_F_DUMP_INTR == 0;
                match message.message_type() {
                    NLMSG_DONE => return Ok(whole),
                    NLMSG_ERROR => return Err(Trouble::Refused(vec![fault(&message, None)?])),
                    kind => read_elements(&message, kind, elements)?,
                }
            }
        }
    }

    fn next_sequence(&mut self, count: u32) -> u32 {
        if self.sequence.checked_add(count).is_none() {
            self.sequence = 0;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn push(&mut self, message: NetfilterMessage, flags: u16, sequence: u32) {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = self.out.len();
        self.out.resize(start.saturating_add(message.buffer_len()), 0);
        if let Some(room) = self.out.get_mut(start..) {
            message.serialize(room);
        }
    }

    /// A batch is one datagram, whatever its length.
    fn make_room(&mut self) {
        let needed = self.out.len().saturating_mul(2);
        if needed > self.send_buffer && sockopt::set_socket_send_buffer_size_force(&self.socket, needed).is_ok() {
            self.send_buffer = needed;
        }
    }

    fn transmit(&self) -> Result<(), Trouble> {
        loop {
            match self.socket.send(&self.out, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
                    return Err(Trouble::Refused(vec![Fault { index: None, errno, said: None }]));
                }
            }
        }
    }

    /// Sends what is in the buffer, whose messages are numbered from `first` to `last`, and reads all answers to it.
    fn send(&mut self, first: u32, last: u32) -> Result<(), Trouble> {
        self.transmit()?;
        let mut faults = Vec::new();
        loop {
            self.receive()?;
            for message in Messages(&self.answer) {
                let message = message?;
                // answers come in the order of the messages; those to an earlier batch may still be there
                let Some(index) = message.sequence_number().checked_sub(first).filter(|index| *index <= last.saturating_sub(first)) else {
                    continue;
                };
                if message.message_type() != NLMSG_ERROR {
                    continue;
                }
                let fault = fault(&message, usize::try_from(index).ok().and_then(|index| index.checked_sub(1)))?;
                if fault.errno != 0 {
                    faults.push(fault);
                }
                // a fault of the first message is one of the whole batch, after which there may be no other answer
                if message.sequence_number() == last || (index == 0 && !faults.is_empty()) {
                    return if faults.is_empty() { Ok(()) } else { Err(Trouble::Refused(faults)) };
                }
            }
        }
    }

    fn receive(&mut self) -> Result<(), Trouble> {
        loop {
            self.answer.clear();
            match self.socket.recv(&mut self.answer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Unknown(error)),
            }
        }
    }
}

impl From<DecodeError> for Trouble {
    fn from(error: DecodeError) -> Self {
        Self::Garbled(format!("its answer is not readable: {error}"))
    }
}

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

fn control(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES), message)
}

/// The messages of a datagram.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<NetlinkBuffer<&'a [u8]>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = NetlinkBuffer::new_checked(self.0);
        let length = message.as_ref().map_or(usize::MAX, |message| message.length() as usize);
        self.0 = self.0.get(length.next_multiple_of(4).min(self.0.len())..).unwrap_or_default();
        Some(message)
    }
}

/// An acknowledgement is a fault with number 0.
fn fault(message: &NetlinkBuffer<&[u8]>, index: Option<usize>) -> Result<Fault, Trouble> {
    let error = ErrorBuffer::new_checked(message.payload())?;
    let errno = error.code().map_or(0, |code| code.get().saturating_abs());
    let mut said = None;
    // the header of the message meant stands before what was said; capped, it stands alone
    if message.flags() & NLM_F_ACK_TLVS != 0 && message.flags() & NLM_F_CAPPED != 0 {
        let attributes = error.payload().get(NETLINK_HEADER_LEN..).unwrap_or_default();
        let text = NlasIterator::new(attributes).flatten().find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG);
        said = text.map(|text| String::from_utf8_lossy(text.value()).trim_end_matches('\0').to_owned());
    }
    Ok(Fault { index, errno, said })
}

fn read_elements(message: &NetlinkBuffer<&[u8]>, kind: u16, elements: &mut Vec<Dumped>) -> Result<(), Trouble> {
    let parsed = NetfilterMessage::parse_with_param(message.payload(), kind)?;
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewSetElement(message)) = parsed.inner else { return Ok(()) };
    for list in message.attributes {
        let SetElementList::Elements(list) = list else { continue };
        elements.extend(list.into_iter().filter_map(|element| match element {
            ListAttribute::Element(attributes) => Some(read_element(attributes)),
            _ => None,
        }));
    }
    Ok(())
}

fn read_element(attributes: Vec<SetElementAttribute>) -> Dumped {
    use netlink_packet_netfilter::nftables::DataAttribute::Value;
    let mut element = Dumped::default();
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(Value(key)) => element.0 = key,
            SetElementAttribute::UserData(bytes) => element.1 = bytes,
            SetElementAttribute::Expiration(millis) => element.2 = millis,
            _ => {}
        }
    }
    element
}
