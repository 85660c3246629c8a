//! A netlink socket: questions, dumps, messages with an answer each, and transactions.
//!
//! It numbers the messages, reads every answer and waits with a deadline.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};

use super::attributes::{self, Attributes};

/// An answer takes microseconds; this is for a kernel that does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The kernel puts at most 32 KiB of a dump into a datagram. An answer can repeat what was sent.
const DUMP: usize = 32 * 1024;
const BUFFER: usize = 4 * DUMP;
/// Messages in one datagram that are answered one by one: the socket must have room for the answers.
const AT_ONCE: usize = 64;
/// A dump that changes of others interrupt is repeated this often.
const DUMPS_MAX: u32 = 16;
const HEADER_LEN: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
// linux/netfilter/nfnetlink.h
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    /// Flags besides those of every request.
    pub(crate) flags: u16,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8], attributes: &Attributes) -> Self {
        Self {
            kind,
            flags,
            body: [header, attributes.as_bytes()].concat(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its position in the transaction; `None` for a refusal of the whole.
    pub index: Option<usize>,
    pub errno: Errno,
    pub text: Option<String>,
}

/// Why an exchange with the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused at least one message. Nothing was done.
    #[error("{}", .0.first().map_or_else(String::new, |refusal| refusal.errno.to_string()))]
    Refused(Vec<Refusal>),
    /// The answer is lost: the kernel may have done it or not.
    #[error("the kernel's answer is lost: {0}")]
    Lost(io::Error),
    /// The answer is not one that the kernel's interface has.
    #[error("the kernel's answer is not readable: {0}")]
    Unreadable(String),
    /// Changes of others interrupted every attempt.
    #[error("the rules changed during each of {DUMPS_MAX} attempts to read them; try again")]
    Interrupted,
}

impl NetlinkError {
    pub(crate) fn is_all(&self, errno: Errno) -> bool {
        matches!(self, Self::Refused(all) if all.iter().all(|refusal| refusal.errno == errno))
    }
}

impl From<Errno> for NetlinkError {
    fn from(errno: Errno) -> Self {
        let (index, text) = (None, None);
        Refusal { index, errno, text }.into()
    }
}

impl From<Refusal> for NetlinkError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

impl From<DecodeError> for NetlinkError {
    fn from(error: DecodeError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    port: u32,
    sequence: u32,
    send_buffer: usize,
    answer: Vec<u8>,
}

impl Netlink {
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut netlink = Self::for_questions(protocol)?;
        let socket = &mut netlink.socket;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        let mut address = SocketAddr::new(0, 0);
        socket.get_address(&mut address)?;
        netlink.port = address.port_number();
        netlink.send_buffer = sockopt::socket_send_buffer_size(&netlink.socket)?;
        netlink.answer = Vec::with_capacity(BUFFER);
        Ok(netlink)
    }

    /// A socket that only asks. It has no number of its own, and a refusal has no text. Half of the system calls suffice.
    pub(crate) fn for_questions(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        // The kernel binds it as well.
        socket.connect(&SocketAddr::new(0, 0))?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self {
            socket,
            port: 0,
            sequence: 0,
            send_buffer: 0,
            answer: Vec::with_capacity(DUMP),
        })
    }

    /// The socket's address.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    pub(crate) fn ask(&mut self, question: &Message) -> Result<Vec<u8>, NetlinkError> {
        let sequence = self.request(question, 0)?;
        self.read_answers(|message| match message.message_type() {
            _ if message.sequence_number() != sequence => Ok(None),
            NLMSG_ERROR => Err(read_refusal(message, None)?.into()),
            _ => Ok(Some(message.payload().to_vec())),
        })
    }

    /// Reads a dump until one is complete, and returns what `read` makes of each.
    pub(crate) fn dump<R: Default>(
        &mut self,
        question: &Message,
        mut read: impl FnMut(&mut R, &[u8]) -> Result<(), NetlinkError>,
    ) -> Result<R, NetlinkError> {
        for _ in 0..DUMPS_MAX {
            let (mut result, mut is_whole) = (R::default(), true);
            let sequence = self.request(question, NLM_F_DUMP)?;
            self.read_answers(|message| {
                if message.sequence_number() != sequence {
                    return Ok(None);
                }
                is_whole &= message.flags() & NLM_F_DUMP_INTR == 0;
                match message.message_type() {
                    // a dump that fails midway ends with an error number
                    NLMSG_DONE if error_number(message.payload())?.is_none() => Ok(Some(())),
                    NLMSG_DONE | NLMSG_ERROR => Err(read_refusal(message, None)?.into()),
                    _ => read(&mut result, message.payload()).map(|()| None),
                }
            })?;
            // nobody changed the table meanwhile
            if is_whole {
                return Ok(result);
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// Sends messages that do not depend on each other, and returns the result of each.
    pub(crate) fn send_each(
        &mut self,
        messages: &[Message],
    ) -> Result<Vec<Result<(), Errno>>, NetlinkError> {
        let mut results = Vec::with_capacity(messages.len());
        for part in messages.chunks(AT_ONCE) {
            let mut datagram = Vec::new();
            let push = |message| self.push(&mut datagram, message, NLM_F_ACK);
            let open: Vec<u32> = part.iter().map(push).collect();
            self.send(&datagram)?;
            let mut open = open.into_iter().peekable();
            self.read_answers(|message| {
                // answers keep the order of the messages; answers to an earlier exchange may still arrive
                if message.message_type() == NLMSG_ERROR
                    && open.next_if_eq(&message.sequence_number()).is_some()
                {
                    results.push(error_number(message.payload())?.map_or(Ok(()), Err));
                }
                Ok(open.peek().is_none().then_some(()))
            })?;
        }
        Ok(results)
    }

    /// Sends a netfilter transaction: the kernel takes all messages or none.
    pub(crate) fn transaction(
        &mut self,
        subsystem: u16,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<(), NetlinkError> {
        self.transaction_if(subsystem, messages, &mut || true)
            .map(drop)
    }

    /// As [`transaction`](Self::transaction), but asks first whether to send the finished message. Returns `false` if not.
    pub(crate) fn transaction_if(
        &mut self,
        subsystem: u16,
        messages: impl IntoIterator<Item = Message>,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<bool, NetlinkError> {
        let [high, low] = subsystem.to_be_bytes();
        let frame = |kind| Message::new(kind, 0, &[0, 0, high, low], &Attributes::new());
        let mut messages = messages.into_iter().peekable();
        if messages.peek().is_none() {
            return Ok(is_wanted());
        }
        let mut datagram = Vec::new();
        let first = self.push(&mut datagram, &frame(BATCH_BEGIN), 0);
        let mut last = first;
        while let Some(message) = messages.next() {
            // one answer to the last message says that all is done
            let is_last = messages.peek().is_none();
            let ack = if is_last { NLM_F_ACK } else { 0 };
            last = self.push(&mut datagram, &message, ack);
        }
        self.push(&mut datagram, &frame(BATCH_END), 0);
        self.enlarge_send_buffer(datagram.len());
        if !is_wanted() {
            return Ok(false);
        }
        self.send(&datagram)?;
        self.read_transaction(first, last).map(|()| true)
    }

    fn read_transaction(&mut self, first: u32, last: u32) -> Result<(), NetlinkError> {
        let mut refusals = Vec::new();
        self.read_answers(|message| {
            let position = message.sequence_number().wrapping_sub(first);
            if position > last.wrapping_sub(first) || message.message_type() != NLMSG_ERROR {
                return Ok(None);
            }
            let is_refused = error_number(message.payload())?.is_some();
            if is_refused {
                let index = usize::try_from(position).unwrap_or(usize::MAX);
                refusals.push(read_refusal(message, index.checked_sub(1))?);
            }
            // a refusal of the first message means the whole batch, and may be the only answer
            let is_end = message.sequence_number() == last || (position == 0 && is_refused);
            Ok(is_end.then_some(()))
        })?;
        if refusals.is_empty() {
            Ok(())
        } else {
            Err(NetlinkError::Refused(refusals))
        }
    }

    fn request(&mut self, message: &Message, flags: u16) -> Result<u32, NetlinkError> {
        let mut datagram = Vec::new();
        let sequence = self.push(&mut datagram, message, flags);
        self.send(&datagram)?;
        Ok(sequence)
    }

    fn push(&mut self, datagram: &mut Vec<u8>, message: &Message, flags: u16) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER_LEN.saturating_add(message.body.len());
        let start = datagram.len();
        datagram.resize(start.saturating_add(length.next_multiple_of(4)), 0);
        let bytes = datagram.get_mut(start..).unwrap_or_default();
        if let Some(body) = bytes.get_mut(HEADER_LEN..length) {
            body.copy_from_slice(&message.body);
        }
        let mut header = NetlinkBuffer::new(bytes);
        header.set_length(u32::try_from(length).unwrap_or(u32::MAX));
        header.set_message_type(message.kind);
        header.set_flags(NLM_F_REQUEST | message.flags | flags);
        header.set_sequence_number(self.sequence);
        self.sequence
    }

    /// A transaction is one datagram of any length.
    fn enlarge_send_buffer(&mut self, length: usize) {
        let needed = length.saturating_mul(2);
        if needed > self.send_buffer
            && sockopt::set_socket_send_buffer_size_force(&self.socket, needed).is_ok()
        {
            self.send_buffer = needed;
        }
    }

    fn send(&self, datagram: &[u8]) -> Result<(), NetlinkError> {
        let sent = retry(|| self.socket.send(datagram, 0)).map(drop);
        sent.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO).into())
    }

    fn read_answers<R>(
        &mut self,
        mut read: impl FnMut(&NetlinkBuffer<&[u8]>) -> Result<Option<R>, NetlinkError>,
    ) -> Result<R, NetlinkError> {
        loop {
            self.answer.clear();
            retry(|| self.socket.recv(&mut self.answer, 0)).map_err(NetlinkError::Lost)?;
            for message in Messages(&self.answer) {
                if let Some(result) = read(&message?)? {
                    return Ok(result);
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The messages of a datagram. A malformed one is an error, and the last item.
pub(crate) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Messages<'a> {
    pub(crate) fn of(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<NetlinkBuffer<&'a [u8]>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = NetlinkBuffer::new_checked(self.0);
        let length = message
            .as_ref()
            .map_or(self.0.len(), |message| message.length() as usize);
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// The error number at the front of an acknowledgement; zero is success.
fn error_number(payload: &[u8]) -> Result<Option<Errno>, NetlinkError> {
    let code = payload
        .first_chunk()
        .map(|code| i32::from_ne_bytes(*code))
        .ok_or_else(|| NetlinkError::Unreadable("it has no error number".to_owned()))?;
    Ok((code != 0).then(|| Errno::from_raw_os_error(code.saturating_abs())))
}

fn read_refusal(
    message: &NetlinkBuffer<&[u8]>,
    index: Option<usize>,
) -> Result<Refusal, NetlinkError> {
    let errno = error_number(message.payload())?
        .ok_or_else(|| NetlinkError::Unreadable("it refuses without a reason".to_owned()))?;
    // a capped answer repeats the header of the refused message alone, before the attributes
    let has_text =
        message.flags() & (NLM_F_ACK_TLVS | NLM_F_CAPPED) == NLM_F_ACK_TLVS | NLM_F_CAPPED;
    let attributes = message.payload().get(4 + HEADER_LEN..).filter(|_| has_text);
    let text = attributes.and_then(|all| attributes::find(all, NLMSGERR_ATTR_MSG));
    let text = text.map(attributes::text);
    Ok(Refusal { index, errno, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to message 7 with error 2 and an explanation.
    fn answer(flags: u16, text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(36 + text.len()).unwrap();
        let header = [
            &length.to_ne_bytes()[..],
            &2_u16.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &7_u32.to_ne_bytes(),
            &[0; 4],
        ];
        [
            &header.concat()[..],
            &(-2_i32).to_ne_bytes(),
            &[0; 16],
            text,
        ]
        .concat()
    }

    fn refusals(bytes: &[u8]) -> Result<Vec<Refusal>, NetlinkError> {
        Messages(bytes)
            .map(|message| read_refusal(&message?, Some(0)))
            .collect()
    }

    #[test]
    fn refusal_has_number_and_text() {
        let text = Attributes::new().text(NLMSGERR_ATTR_MSG, "gone");
        let both = [
            answer(NLM_F_CAPPED | NLM_F_ACK_TLVS, text.as_bytes()),
            answer(NLM_F_CAPPED, &[]),
        ];
        let texts: Vec<_> = refusals(&both.concat())
            .unwrap()
            .into_iter()
            .map(|refusal| (refusal.errno, refusal.text))
            .collect();
        let expected = [Some("gone".to_owned()), None].map(|text| (Errno::NOENT, text));
        assert_eq!(texts, expected);
    }

    #[test]
    fn cut_answer_is_an_error() {
        let whole = answer(NLM_F_CAPPED | NLM_F_ACK_TLVS, &[]);
        for length in 1..whole.len() {
            let cut = refusals(&whole[..length]);
            assert!(matches!(cut, Err(NetlinkError::Unreadable(_))), "{length}");
        }
    }
}
