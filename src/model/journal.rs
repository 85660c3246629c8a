//! A list that survives a crash: its text, and the trait of the place that stores it.
//!
//! The text is replaced as a whole, so it is never torn. A damaged text is refused, never repaired. With it the
//! monitor closes grants that no kernel ends (invariant 4).

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::model::fleet::hexadecimal;

pub trait JournalStore: Send {
    /// The text; `None` if none was ever saved.
    ///
    /// # Errors
    /// The file that cannot be read, the cause and the cure.
    fn load(&mut self) -> Result<Option<String>, String>;

    /// Replaces the text in one step, and returns when it is durable.
    ///
    /// # Errors
    /// The file that cannot be written, the cause and the cure. The old text is still there.
    fn save(&mut self, text: &str) -> Result<(), String>;

    fn name(&self) -> String;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("it does not begin with \"{HEAD}\" and a checksum")]
    Head,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("line {0} is not a record of this version")]
    Record(usize),
}

const HEAD: &str = "postern journal 1";

/// The text of these records: a line with a checksum of the rest, then a line of JSON for each.
///
/// # Errors
/// If a record has no JSON form.
pub(crate) fn write<'a, T: Serialize + 'a>(
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
/// If the text is damaged.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Damaged> {
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
    hexadecimal(&Sha256::digest(body))
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
    fn damaged_journal_is_refused() {
        let whole = text();
        assert_eq!(read::<String>(&whole).unwrap(), ["one", "two\nlines"]);
        let nothing = write(std::iter::empty::<&String>()).unwrap();
        assert_eq!(read::<String>(&nothing).unwrap(), Vec::<String>::new());
        for at in 0..whole.len() {
            assert!(read::<String>(&whole[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = whole.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(flipped) = String::from_utf8(bytes) else {
                    continue;
                };
                assert!(read::<String>(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
        let expected = Err(Damaged::Checksum);
        assert_eq!(read::<String>(&(whole.clone() + "\n")), expected);
        assert_eq!(read::<String>(""), Err(Damaged::Head));
        assert_eq!(read::<u64>(&whole), Err(Damaged::Record(2)));
    }
}
