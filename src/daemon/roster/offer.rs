//! A roster on its way from the cluster process to the process that verifies it: a message with its lengths, then its bytes.
//!
//! Each message begins with a byte that says which of the two it is, so that a reader who comes in the middle finds the next start. A
//! third kind says why the coordinator has no whole roster.

use std::io::{self, ErrorKind};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Offer;
use crate::adapters::clock;
use crate::adapters::ipc::{Link, Received};
use crate::core::claims::one_line;
use crate::model::roster::{ROSTER_MAX, SIGNATURES_TEXT_MAX};

const START: u8 = b's';
const BYTES: u8 = b'b';
const NONE: u8 = b'n';
const MESSAGE_MAX: usize = 32 << 10;

pub(crate) fn send(link: &Link, text: &[u8], signatures: &[u8]) -> io::Result<()> {
    let lengths = [text.len(), signatures.len()].map(u32::try_from);
    let [text_len, signatures_len] = lengths.map(|length| length.unwrap_or(u32::MAX).to_be_bytes());
    link.send(&[&[START], &text_len[..], &signatures_len].concat())?;
    for part in text
        .chunks(MESSAGE_MAX - 1)
        .chain(signatures.chunks(MESSAGE_MAX - 1))
    {
        link.send(&[&[BYTES], part].concat())?;
    }
    Ok(())
}

/// The coordinator has no whole roster.
pub(crate) fn send_none(link: &Link, why: &str) -> io::Result<()> {
    link.send(&[&[NONE], one_line(why).as_bytes()].concat())
}

/// The next one that comes whole, within this time.
pub(crate) fn receive(link: &Link, within: Duration) -> io::Result<Offer> {
    let until = clock::instant() + within;
    let mut buffer = vec![0; MESSAGE_MAX];
    let mut lengths = None;
    let mut text = Vec::new();
    loop {
        if let Some((text_len, whole)) = lengths
            && text.len() == whole
        {
            let signatures = text.split_off(text_len);
            let signatures = String::from_utf8_lossy(&signatures).into_owned();
            return Ok(Offer { text, signatures });
        }
        let message = next(
            link,
            &mut buffer,
            until.saturating_duration_since(clock::instant()),
        )?;
        match (message.split_first(), lengths) {
            (Some((&START, rest)), _) => {
                lengths = Some(whole(rest).ok_or(ErrorKind::InvalidData)?);
                text = Vec::new();
            }
            (Some((&BYTES, part)), Some((_, whole)))
                if text.len().saturating_add(part.len()) <= whole =>
            {
                text.extend_from_slice(part);
            }
            (Some((&NONE, why)), _) => {
                return Err(io::Error::other(one_line(&String::from_utf8_lossy(why))));
            }
            // The rest of one that nobody took.
            (Some((&BYTES, _)), None) => {}
            _ => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// The length of the text, and of text and signatures.
fn whole(lengths: &[u8]) -> Option<(usize, usize)> {
    let (text, signatures) = lengths.split_at_checked(4)?;
    let length = |bytes: &[u8]| usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok();
    let (text, signatures) = (length(text)?, length(signatures)?);
    let is_bounded = text <= ROSTER_MAX && signatures <= SIGNATURES_TEXT_MAX;
    is_bounded.then_some((text, text.saturating_add(signatures)))
}

fn next<'b>(link: &Link, buffer: &'b mut [u8], within: Duration) -> io::Result<&'b [u8]> {
    let time = Timespec::try_from(within).unwrap_or_default();
    if poll(&mut [PollFd::new(link, PollFlags::IN)], Some(&time))? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    match link.try_receive(buffer)? {
        Received::Message(length) => Ok(buffer.get(..length).unwrap_or_default()),
        Received::Nothing | Received::Gone => Err(ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::ipc;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn offers_arrive_whole_or_not_at_all() {
        let (ours, theirs) = ipc::pair().unwrap();
        let text = vec![b'x'; 3 * MESSAGE_MAX];
        link_with_rest(&theirs);
        send(&theirs, &text, b"signed").unwrap();
        let offer = receive(&ours, SOON).unwrap();
        assert_eq!((offer.text, &*offer.signatures), (text, "signed"));
        for wrong in [
            &b"s\xff\xff\xff\xff\0\0\0\x01"[..],
            b"s\0\0\0\x01",
            b"",
            b"?",
        ] {
            theirs.send(wrong).unwrap();
            assert!(receive(&ours, SOON).is_err(), "{wrong:?}");
        }
        send_none(&theirs, "a part of it is missing").unwrap();
        let refused = receive(&ours, SOON).unwrap_err();
        assert_eq!(refused.to_string(), "a part of it is missing");
        theirs.send(b"s\0\0\0\x01\0\0\0\x01").unwrap();
        theirs.send(b"bxyz").unwrap();
        assert!(receive(&ours, SOON).is_err(), "longer than it says");
        theirs.send(b"s\0\0\0\x01\0\0\0\x01").unwrap();
        drop(theirs);
        assert!(receive(&ours, SOON).is_err(), "cut short");
    }

    fn link_with_rest(link: &Link) {
        link.send(b"brest of another").unwrap();
    }
}
