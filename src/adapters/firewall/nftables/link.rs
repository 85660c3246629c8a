//! The netlink socket: batches that the kernel takes as a whole or not at all, and dumps of a set.
//!
//! Owns sequence numbers, buffers and deadlines. It reads every answer: an early acknowledgement is not a commit, one error
//! means that nothing was done. What a fault means is not said here.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};

use super::answers::{self, Dumped, Fault, Messages, Trouble};
use super::messages::{self, Message};
use super::sets::Set;
use super::standing::Rules;
use super::table::TABLE;

/// An answer takes microseconds; this is for a kernel that does not give one.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The kernel fills at most 32 KiB a datagram of a dump.
const BUFFER: usize = 128 * 1024;
/// A dump that others disturbed is taken again this many times.
const DUMPS_MAX: u32 = 16;
const NFNL_SUBSYS_NFTABLES: u16 = 10;

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
        Ok(Self {
            socket,
            sequence: 0,
            out: Vec::new(),
            answer: Vec::with_capacity(BUFFER),
            send_buffer,
        })
    }

    /// Asks whether there is nf_tables in this kernel, and whether it may be used.
    pub(super) fn probe(&mut self) -> Result<(), Trouble> {
        let sequence = self.next_sequence(1);
        self.out.clear();
        self.push(
            inet(messages::get_generation()),
            NLM_F_REQUEST | NLM_F_ACK,
            sequence,
        );
        self.send(sequence, sequence)
    }

    /// The number of the ruleset: each transaction of anyone that changes something moves it on by one.
    pub(super) fn number(&mut self) -> Result<u32, Trouble> {
        self.ask(messages::get_generation(), answers::number)
    }

    /// Whether somebody has switched the table off as a whole; one that is not there is refused with NOENT.
    pub(super) fn is_dormant(&mut self) -> Result<bool, Trouble> {
        self.ask(messages::get_table(), answers::is_dormant)
    }

    /// A question that has one answer.
    fn ask<R>(
        &mut self,
        question: NfTablesMessage,
        read: impl Fn(&NetlinkBuffer<&[u8]>) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let sequence = self.next_sequence(1);
        self.out.clear();
        self.push(inet(question), NLM_F_REQUEST, sequence);
        self.transmit()?;
        loop {
            self.receive()?;
            for message in Messages(&self.answer) {
                let message = message?;
                match message.message_type() {
                    _ if message.sequence_number() != sequence => {}
                    NLMSG_ERROR => {
                        return Err(Trouble::Refused(vec![answers::fault(&message, None)?]));
                    }
                    _ => return read(&message),
                }
            }
        }
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
        self.push(
            control(ControlMessage::BatchEnd),
            NLM_F_REQUEST,
            sequence.wrapping_add(1),
        );
        self.sequence = sequence.wrapping_add(1);
        self.make_room();
        self.send(first, sequence)
    }

    /// Deletes an IPv4 or IPv6 table of somebody else's program, with all that is in it.
    pub(super) fn delete_table(
        &mut self,
        family: NetfilterProtoFamily,
        name: &str,
    ) -> Result<(), Trouble> {
        let first = self.next_sequence(3);
        let sequence = first.wrapping_add(1);
        let message = NetfilterMessage::new(
            NetfilterHeader::new(family, 0, 0),
            messages::delete_table_of(name),
        );
        self.out.clear();
        self.push(control(ControlMessage::BatchBegin), NLM_F_REQUEST, first);
        self.push(message, NLM_F_REQUEST | NLM_F_ACK, sequence);
        self.push(
            control(ControlMessage::BatchEnd),
            NLM_F_REQUEST,
            sequence.wrapping_add(1),
        );
        self.sequence = sequence.wrapping_add(1);
        self.make_room();
        self.send(first, sequence)
    }

    /// All elements of a set; a set or table that is not there is refused with NOENT.
    pub(super) fn dump(&mut self, set: Set) -> Result<Vec<Dumped>, Trouble> {
        for _ in 0..DUMPS_MAX {
            let sequence = self.next_sequence(1);
            self.out.clear();
            self.push(
                inet(messages::get_elements(set)),
                NLM_F_REQUEST | NLM_F_DUMP,
                sequence,
            );
            self.transmit()?;
            let mut elements = Vec::new();
            if self.read_dump(sequence, |message| {
                answers::elements(message, &mut elements)
            })? {
                return Ok(elements);
            }
        }
        Err(disturbed())
    }

    /// The rules in each chain of the table, in order; none where there is no table.
    pub(super) fn rules(&mut self) -> Result<Rules, Trouble> {
        for _ in 0..DUMPS_MAX {
            let sequence = self.next_sequence(1);
            self.out.clear();
            self.push(
                inet(messages::get_rules()),
                NLM_F_REQUEST | NLM_F_DUMP,
                sequence,
            );
            self.transmit()?;
            let mut rules = Rules::new();
            let take = |message: &NetlinkBuffer<&[u8]>| {
                if let Some((chain, rule)) = answers::rule(message, TABLE)? {
                    rules.entry(chain).or_default().push(rule);
                }
                Ok(())
            };
            if self.read_dump(sequence, take)? {
                return Ok(rules);
            }
        }
        Err(disturbed())
    }

    /// False where the dump was disturbed.
    fn read_dump(
        &mut self,
        sequence: u32,
        mut take: impl FnMut(&NetlinkBuffer<&[u8]>) -> Result<(), Trouble>,
    ) -> Result<bool, Trouble> {
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
                    NLMSG_ERROR => {
                        return Err(Trouble::Refused(vec![answers::fault(&message, None)?]));
                    }
                    _ => take(&message)?,
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
        self.out
            .resize(start.saturating_add(message.buffer_len()), 0);
        if let Some(room) = self.out.get_mut(start..) {
            message.serialize(room);
        }
    }

    /// A batch is one datagram, whatever its length.
    fn make_room(&mut self) {
        let needed = self.out.len().saturating_mul(2);
        if needed > self.send_buffer
            && sockopt::set_socket_send_buffer_size_force(&self.socket, needed).is_ok()
        {
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
                    return Err(Trouble::Refused(vec![Fault {
                        index: None,
                        errno,
                        said: None,
                    }]));
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
                let Some(index) = message
                    .sequence_number()
                    .checked_sub(first)
                    .filter(|index| *index <= last.saturating_sub(first))
                else {
                    continue;
                };
                if message.message_type() != NLMSG_ERROR {
                    continue;
                }
                let fault = answers::fault(
                    &message,
                    usize::try_from(index)
                        .ok()
                        .and_then(|index| index.checked_sub(1)),
                )?;
                if fault.errno != 0 {
                    faults.push(fault);
                }
                // a fault of the first message is one of the whole batch, after which there may be no other answer
                if message.sequence_number() == last || (index == 0 && !faults.is_empty()) {
                    return if faults.is_empty() {
                        Ok(())
                    } else {
                        Err(Trouble::Refused(faults))
                    };
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

fn disturbed() -> Trouble {
    Trouble::Garbled(format!(
        "the rules changed during each of {DUMPS_MAX} attempts to read them; try again"
    ))
}

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0),
        message,
    )
}

fn control(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES),
        message,
    )
}
