//! What the kernel answers: messages of a datagram, faults with what was said besides, and the elements of a dump.
//!
//! Owns the reading of these bytes, and nothing of what they mean for the driver. Pure.

use std::io;

use netlink_packet_core::{DecodeError, ErrorBuffer, NetlinkBuffer, NlasIterator};

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NETLINK_HEADER_LEN: usize = 16;
const NFGENMSG_LEN: usize = 4;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const COUNTER: &[u8] = b"counter\0";
const NFTA_TABLE_FLAGS: u16 = 2;
const NFT_TABLE_F_DORMANT: u32 = 1;
const NFTA_GEN_ID: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_EXPIRATION: u16 = 5;
const NFTA_SET_ELEM_USERDATA: u16 = 6;
const NFTA_DATA_VALUE: u16 = 1;

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
        // after one that is not readable there is no telling where the next one starts
        let length = message
            .as_ref()
            .map_or(self.0.len(), |message| message.length() as usize);
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// An acknowledgement is a fault with number 0.
pub(super) fn fault(
    message: &NetlinkBuffer<&[u8]>,
    index: Option<usize>,
) -> Result<Fault, Trouble> {
    let error = ErrorBuffer::new_checked(message.payload())?;
    let errno = error.code().map_or(0, |code| code.get().saturating_abs());
    let mut said = None;
    // the header of the message meant stands before what was said; capped, it stands alone
    if message.flags() & NLM_F_ACK_TLVS != 0 && message.flags() & NLM_F_CAPPED != 0 {
        let attributes = error
            .payload()
            .get(NETLINK_HEADER_LEN..)
            .unwrap_or_default();
        let text = NlasIterator::new(attributes)
            .flatten()
            .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG);
        said = text.map(|text| {
            String::from_utf8_lossy(text.value())
                .trim_end_matches('\0')
                .to_owned()
        });
    }
    Ok(Fault { index, errno, said })
}

/// Takes the elements of one message of a dump. The library's own reading of them formats the whole message for each attribute,
/// should it be wrong: a second for ten thousand.
pub(super) fn elements(
    message: &NetlinkBuffer<&[u8]>,
    elements: &mut Vec<Dumped>,
) -> Result<(), Trouble> {
    let attributes = message.payload().get(NFGENMSG_LEN..).unwrap_or_default();
    for list in NlasIterator::new(attributes) {
        let list = list?;
        if list.kind() != NFTA_SET_ELEM_LIST_ELEMENTS {
            continue;
        }
        for element in NlasIterator::new(list.value()) {
            elements.push(element_of(element?.value())?);
        }
    }
    Ok(())
}

/// The chain and the wording of the rule in a message of a dump, where the rule stands in this table. The wording is what the kernel
/// says of its expressions, without what was counted.
pub(super) fn rule(
    message: &NetlinkBuffer<&[u8]>,
    table: &str,
) -> Result<Option<(String, Vec<u8>)>, Trouble> {
    let attributes = message.payload().get(NFGENMSG_LEN..).unwrap_or_default();
    let (mut is_in_table, mut chain, mut wording) = (false, None, Vec::new());
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        let text = || {
            String::from_utf8_lossy(attribute.value())
                .trim_end_matches('\0')
                .to_owned()
        };
        match attribute.kind() {
            NFTA_RULE_TABLE => is_in_table = text() == table,
            NFTA_RULE_CHAIN => chain = Some(text()),
            NFTA_RULE_EXPRESSIONS => wording = wording_of(attribute.value())?,
            _ => {}
        }
    }
    Ok(chain.filter(|_| is_in_table).map(|chain| (chain, wording)))
}

fn wording_of(expressions: &[u8]) -> Result<Vec<u8>, Trouble> {
    let mut wording = Vec::new();
    for expression in NlasIterator::new(expressions) {
        let expression = expression?;
        let name = NlasIterator::new(expression.value())
            .flatten()
            .find(|attribute| attribute.kind() == NFTA_EXPR_NAME);
        match name {
            Some(name) if name.value() == COUNTER => wording.extend_from_slice(COUNTER),
            _ => wording.extend_from_slice(expression.value()),
        }
    }
    Ok(wording)
}

/// Whether the table in an answer was switched off as a whole.
pub(super) fn is_dormant(message: &NetlinkBuffer<&[u8]>) -> Result<bool, Trouble> {
    let attributes = message.payload().get(NFGENMSG_LEN..).unwrap_or_default();
    let flags = NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == NFTA_TABLE_FLAGS);
    let flags = flags
        .and_then(|attribute| attribute.value().try_into().ok())
        .map(u32::from_be_bytes);
    flags
        .map(|flags| flags & NFT_TABLE_F_DORMANT != 0)
        .ok_or_else(|| Trouble::Garbled("its answer names no flags of the table".to_owned()))
}

/// The number of the ruleset in an answer.
pub(super) fn number(message: &NetlinkBuffer<&[u8]>) -> Result<u32, Trouble> {
    let attributes = message.payload().get(NFGENMSG_LEN..).unwrap_or_default();
    let found = NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == NFTA_GEN_ID);
    let number = found
        .and_then(|attribute| attribute.value().try_into().ok())
        .map(u32::from_be_bytes);
    number.ok_or_else(|| Trouble::Garbled("its answer names no ruleset".to_owned()))
}

fn element_of(attributes: &[u8]) -> Result<Dumped, Trouble> {
    let mut element = Dumped::default();
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        match attribute.kind() {
            NFTA_SET_ELEM_KEY => {
                let value = NlasIterator::new(attribute.value())
                    .flatten()
                    .find(|value| value.kind() == NFTA_DATA_VALUE);
                element.0 = value
                    .map(|value| value.value().to_vec())
                    .unwrap_or_default();
            }
            NFTA_SET_ELEM_USERDATA => element.1 = attribute.value().to_vec(),
            NFTA_SET_ELEM_EXPIRATION => {
                element.2 = attribute
                    .value()
                    .try_into()
                    .map(u64::from_be_bytes)
                    .unwrap_or_default()
            }
            _ => {}
        }
    }
    Ok(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to message 7 with error -2 and `what` said besides.
    fn answer(flags: u16, what: &[u8]) -> Vec<u8> {
        let mut bytes = (36 + u32::try_from(what.len()).unwrap())
            .to_ne_bytes()
            .to_vec();
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
        Messages(bytes)
            .map(|message| fault(&message?, Some(0)))
            .collect()
    }

    #[test]
    fn a_fault_has_its_number_and_what_the_kernel_said() {
        let mut text = 9_u16.to_ne_bytes().to_vec();
        text.extend_from_slice(&NLMSGERR_ATTR_MSG.to_ne_bytes());
        text.extend_from_slice(b"gone\0\0\0\0");
        let both = [
            answer(NLM_F_CAPPED | NLM_F_ACK_TLVS, &text),
            answer(NLM_F_CAPPED, &[]),
        ]
        .concat();
        let faults = faults(&both).unwrap();
        assert_eq!(
            faults[0],
            Fault {
                index: Some(0),
                errno: 2,
                said: Some("gone".to_owned())
            }
        );
        assert_eq!(
            faults[1],
            Fault {
                index: Some(0),
                errno: 2,
                said: None
            }
        );
    }

    #[test]
    fn an_answer_that_is_cut_at_any_byte_is_an_error_and_no_panic() {
        let whole = answer(NLM_F_CAPPED | NLM_F_ACK_TLVS, &[]);
        for length in 1..whole.len() {
            assert!(
                matches!(faults(&whole[..length]), Err(Trouble::Garbled(_))),
                "{length}"
            );
        }
    }
}
