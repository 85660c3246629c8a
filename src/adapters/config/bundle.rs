//! The files of a config as they were read. The monitor passes them to the engine through a descriptor.
//!
//! They hold keys: wiped on drop, never printed (invariant 7).

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

/// Bytes of a block that glibc does not map on its own.
const SHORT: usize = 64 << 10;

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
    /// This gate's part of the roster in force. Its secrets are opened before it is loaded.
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

impl Drop for BundleFile {
    /// glibc keeps as much free memory as twice the longest block that was freed. So a long text is made short first.
    fn drop(&mut self) {
        self.text.zeroize();
        self.text.shrink_to(SHORT);
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

impl Bundle {
    /// Writes all files: for each its kind, path and text, the last two after their lengths.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        for (kind, file) in self.files() {
            to.write_all(&[kind])?;
            let path = file.path.as_os_str().as_encoded_bytes();
            for part in [path, file.text.as_bytes()] {
                let length = u32::try_from(part.len()).map_err(io::Error::other)?;
                to.write_all(&length.to_be_bytes())?;
                to.write_all(part)?;
            }
        }
        Ok(())
    }

    /// Reads a file that another process handed over, and wipes it.
    pub fn take(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        let bundle = Self::read_from(&mut file)?;
        let length = file.metadata()?.len();
        file.rewind()?;
        io::copy(&mut io::repeat(0).take(length), &mut file)?;
        file.set_len(0)?;
        Ok(bundle)
    }

    /// Reads what [`Bundle::write_to`] wrote, to its end.
    pub fn read_from(from: &mut impl Read) -> io::Result<Self> {
        let mut bundle = Self::default();
        let mut kind = [0];
        while from.read(&mut kind)? > 0 {
            let path = PathBuf::from(part(from)?.as_str());
            let text = part(from)?;
            let file = BundleFile { path, text };
            match kind {
                [b'm'] => bundle.main = Some(file),
                [b'u'] => bundle.users.push(file),
                [b's'] => bundle.services.push(file),
                [b'k'] => bundle.keys.push(file),
                [b'r'] => bundle.roster = Some(file),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(bundle)
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

/// One buffer of the known size: a buffer that grows leaves copies of keys behind.
fn part(from: &mut impl Read) -> io::Result<Zeroizing<String>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut bytes = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut bytes)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(io::ErrorKind::InvalidData.into())
        }
    }
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
        let mut bytes = Vec::new();
        bundle.write_to(&mut bytes).unwrap();
        let again = Bundle::read_from(&mut &bytes[..]).unwrap();
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
            assert!(Bundle::read_from(&mut &bytes[..len]).is_err(), "{len}");
        }
    }
}
