//! What it means to keep a list over a crash: the seam between those who keep one and the files it lies in, and its text.
//!
//! A text is replaced whole, in one step, so it is never torn; whatever is wrong with it is damage and is refused, never
//! read around. Touches no file itself: `files` does, and memory in tests. Carries out invariant 4 where no kernel can.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// A place for one text.
pub trait JournalStore: Send {
    /// The text, `None` where none was ever saved.
    ///
    /// # Errors
    /// Which file can't be read, why, and what to do.
    fn load(&mut self) -> Result<Option<String>, String>;

    /// Puts this text in the place of the other, in one step, and returns when it outlives a crash.
    ///
    /// # Errors
    /// Which file can't be written, why, and what to do. The old text is still there.
    fn save(&mut self, text: &str) -> Result<(), String>;

    /// The file, as messages name it.
    fn name(&self) -> String;
}

/// Why a text is not what was saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Another version wrote it, or nobody did.
    #[error("it does not begin with \"{HEAD}\" and a checksum")]
    Head,
    /// Bytes were changed, added or lost.
    #[error("its checksum is wrong")]
    Checksum,
    /// A record that this version does not know.
    #[error("line {0} is no record of this version")]
    Record(usize),
}

const HEAD: &str = "postern journal 1";

/// The text for these records: a line with a checksum over all that follows, then a line of JSON for each.
///
/// # Errors
/// A record that has no JSON form.
pub fn write<'a, T: Serialize + 'a>(
    records: impl Iterator<Item = &'a T>,
) -> Result<String, String> {
    let mut body = String::new();
    for record in records {
        body.push_str(&serde_json::to_string(record).map_err(|error| error.to_string())?);
        body.push('\n');
    }
    Ok(format!("{HEAD} {}\n{body}", checksum(&body)))
}

/// The records of a text.
///
/// # Errors
/// What is wrong with it.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Damaged> {
    let (first, body) = text.split_once('\n').ok_or(Damaged::Head)?;
    let sum = first
        .strip_prefix(HEAD)
        .and_then(|rest| rest.strip_prefix(' '))
        .ok_or(Damaged::Head)?;
    if sum != checksum(body) {
        return Err(Damaged::Checksum);
    }
    let record = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|_| Damaged::Record(at.saturating_add(2)))
    };
    body.lines().enumerate().map(record).collect()
}

fn checksum(body: &str) -> String {
    Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
pub(crate) mod memory {
    //! A text in memory; clones share it.

    use std::sync::{Arc, Mutex};

    #[derive(Debug, Clone, Default)]
    pub(crate) struct MemoryJournal {
        pub(crate) text: Arc<Mutex<Option<String>>>,
        pub(crate) failing: Arc<Mutex<bool>>,
    }

    impl super::JournalStore for MemoryJournal {
        fn load(&mut self) -> Result<Option<String>, String> {
            Ok(self.text.lock().unwrap().clone())
        }

        fn save(&mut self, text: &str) -> Result<(), String> {
            if *self.failing.lock().unwrap() {
                return Err("the disk is full".to_owned());
            }
            *self.text.lock().unwrap() = Some(text.to_owned());
            Ok(())
        }

        fn name(&self) -> String {
            "/m/journal".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        write(["one".to_owned(), "two\nlines".to_owned()].iter()).unwrap()
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        assert_eq!(read::<String>(&text()).unwrap(), ["one", "two\nlines"]);
        let nothing = write(std::iter::empty::<&String>()).unwrap();
        assert_eq!(read::<String>(&nothing).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn no_flipped_bit_and_no_lost_or_added_byte_goes_unnoticed() {
        let whole = text();
        for at in 0..whole.len() {
            assert!(read::<String>(&whole[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = whole.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                // What is not UTF-8 is refused when the file is read.
                let Ok(flipped) = String::from_utf8(bytes) else {
                    continue;
                };
                assert!(read::<String>(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert_eq!(
            read::<String>(&(whole.clone() + "\n")),
            Err(Damaged::Checksum)
        );
        assert_eq!(read::<String>(""), Err(Damaged::Head));
        assert_eq!(read::<u64>(&whole), Err(Damaged::Record(2)));
    }
}
