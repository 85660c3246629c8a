//! The files of a config as they were read. The monitor passes them to the engine through a descriptor.
//!
//! They hold keys: wiped on drop, never printed (invariant 7).

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// One file as it was read.
pub struct BundleFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: Zeroizing<String>,
}

/// All files of one config.
#[derive(Default)]
pub struct Bundle {
    /// `posternd.toml`.
    pub main: Option<BundleFile>,
    /// `users.d/*.toml`, by name.
    pub users: Vec<BundleFile>,
    /// `services.d/*.toml`, by name.
    pub services: Vec<BundleFile>,
    /// Files that `key_file` and `private_key` name.
    pub keys: Vec<BundleFile>,
    /// This gate's part of the roster in force; its secrets are still sealed.
    pub roster: Option<BundleFile>,
}

impl BundleFile {
    /// A file with this path and text.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: Zeroizing::new(text.into()),
        }
    }
}

impl Bundle {
    /// A config of one file.
    pub fn of_main(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            main: Some(BundleFile::new(path, text)),
            ..Self::default()
        }
    }

    /// The text of a key file that the config names.
    pub fn key_file(&self, path: &Path) -> Option<&str> {
        self.keys
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.text.as_str())
    }
}

/// The path and the length only.
impl fmt::Debug for BundleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.text.len())
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.files().map(|(_, file)| file))
            .finish()
    }
}

/// An encoded bundle; wiped on drop.
pub(crate) type BundleBytes = Zeroizing<Vec<u8>>;

impl Bundle {
    /// All files as bytes: for each its kind, path and text, the last two after their lengths.
    pub fn encode(&self) -> BundleBytes {
        let size = |file: &BundleFile| 9 + file.path.as_os_str().len() + file.text.len();
        let size = self.files().map(|(_, file)| size(file)).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        for (kind, file) in self.files() {
            bytes.push(kind);
            let path = file.path.as_os_str().as_encoded_bytes();
            for part in [path, file.text.as_bytes()] {
                let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    /// The files in these bytes; `None` if [`Bundle::encode`] did not make them.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut bundle = Self::default();
        while let Some((kind, rest)) = bytes.split_first() {
            let (path, rest) = part(rest)?;
            let (text, rest) = part(rest)?;
            let file = BundleFile {
                path: PathBuf::from(path),
                text: Zeroizing::new(text.to_owned()),
            };
            match *kind {
                b'm' => bundle.main = Some(file),
                b'u' => bundle.users.push(file),
                b's' => bundle.services.push(file),
                b'k' => bundle.keys.push(file),
                b'r' => bundle.roster = Some(file),
                _ => return None,
            }
            bytes = rest;
        }
        Some(bundle)
    }

    fn files(&self) -> impl Iterator<Item = (u8, &BundleFile)> {
        let users = self.users.iter().map(|file| (b'u', file));
        let keys = self.keys.iter().map(|file| (b'k', file));
        let main = self.main.iter().map(|file| (b'm', file));
        let services = self.services.iter().map(|file| (b's', file));
        let roster = self.roster.iter().map(|file| (b'r', file));
        let users = users.chain(roster);
        main.chain(services).chain(users).chain(keys)
    }
}

fn part(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    Some((std::str::from_utf8(part).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_bundle_is_refused() {
        let bundle = Bundle {
            main: Some(BundleFile::new("/a", "one")),
            users: vec![BundleFile::new("/b", ""), BundleFile::new("/c", "three")],
            services: vec![BundleFile::new("/e", "s")],
            keys: vec![BundleFile::new("/d", "k")],
            roster: Some(BundleFile::new("/f", "r")),
        };
        let bytes = bundle.encode();
        let again = Bundle::decode(&bytes).unwrap();
        assert_eq!(format!("{again:?}"), format!("{bundle:?}"));
        assert_eq!(again.users[1].text.as_str(), "three");
        assert_eq!(again.key_file(Path::new("/d")), Some("k"));
        // A cut between two files leaves a shorter bundle.
        let ends: Vec<usize> = [2 + 3, 2 + 1, 2, 2 + 5, 2 + 1, 2 + 1]
            .iter()
            .scan(0, |end, len| {
                *end += 9 + len;
                Some(*end)
            })
            .collect();
        assert_eq!(ends.last(), Some(&bytes.len()));
        for len in (1..bytes.len()).filter(|len| !ends.contains(len)) {
            assert!(Bundle::decode(&bytes[..len]).is_none(), "{len}");
        }
    }
}
