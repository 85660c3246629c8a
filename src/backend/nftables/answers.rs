//! What the kernel answers: messages of a datagram, faults with what was said besides, and the elements of a dump.
//!
//! Owns the reading of these bytes, and nothing of what they mean for the driver. Pure.

use std::io;

use netlink_packet_core::{DecodeError, ErrorBuffer, NetlinkBuffer, NlasIterator, ParseableParametrized};
use netlink_packet_netfilter::nftables::{DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};

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

impl From<DecodeError> for Trouble {
    fn from(error: DecodeError) -> Self {
        Self::Garbled(format!("its answer is not readable: {error}"))
    }
}

/// The messages of a datagram.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

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
pub(super) fn fault(message: &NetlinkBuffer<&[u8]>, index: Option<usize>) -> Result<Fault, Trouble> {
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

pub(super) fn elements(message: &NetlinkBuffer<&[u8]>, kind: u16, elements: &mut Vec<Dumped>) -> Result<(), Trouble> {
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
    let mut element = Dumped::default();
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(key)) => element.0 = key,
            SetElementAttribute::UserData(bytes) => element.1 = bytes,
            SetElementAttribute::Expiration(millis) => element.2 = millis,
            _ => {}
        }
    }
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to message 7 with error -2 and `what` said besides.
    fn answer(flags: u16, what: &[u8]) -> Vec<u8> {
        let mut bytes = (36 + u32::try_from(what.len()).unwrap()).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&2_u16.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&7_u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(-2_i32).to_ne_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(what);
        bytes
    }

    fn faults(bytes: &[u8]) -> Result<Vec<Fault>, Trouble> {
        Messages(bytes).map(|message| fault(&message?, Some(0))).collect()
    }

    #[test]
    fn a_fault_has_its_number_and_what_the_kernel_said() {
        let mut text = 9_u16.to_ne_bytes().to_vec();
        text.extend_from_slice(&NLMSGERR_ATTR_MSG.to_ne_bytes());
        text.extend_from_slice(b"gone\0\0\0\0");
        let both = [answer(NLM_F_CAPPED | NLM_F_ACK_TLVS, &text), answer(NLM_F_CAPPED, &[])].concat();
        let faults = faults(&both).unwrap();
        assert_eq!(faults[0], Fault { index: Some(0), errno: 2, said: Some("gone".to_owned()) });
        assert_eq!(faults[1], Fault { index: Some(0), errno: 2, said: None });
    }

    #[test]
    fn an_answer_that_is_cut_at_any_byte_is_an_error_and_no_panic() {
        let whole = answer(NLM_F_CAPPED | NLM_F_ACK_TLVS, &[]);
        for length in 1..whole.len() {
            assert!(matches!(faults(&whole[..length]), Err(Trouble::Garbled(_))), "{length}");
        }
    }
}
