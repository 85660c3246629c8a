//! The medium of a file: whether its permissions mean something there, and whether they can be changed.

use std::fs::File;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, fstatfs, fstatvfs, statfs, statvfs};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    Usual,
    /// Mounted read-only.
    ReadOnly,
    /// The same in memory: secrets that a container is given.
    ReadOnlyMemory,
    /// A file system that shows permissions which it does not keep, or may do so, in these words.
    WithoutModes(&'static str),
}

// linux/magic.h, and the sources of exFAT and NTFS
const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
const WITHOUT_MODES: [(u64, &str); 9] = [
    (0x4d44, "FAT keeps no permissions"),
    (0x2011_bab0, "exFAT keeps no permissions"),
    (0x7366_746e, "NTFS keeps no permissions"),
    (0x5346_544e, "NTFS keeps no permissions"),
    // Drives of Windows in WSL.
    (0x0102_1997, "9p may keep no permissions"),
    (0x6573_5546, "FUSE may keep no permissions"),
    (0x517b, "SMB may keep no permissions"),
    (0xff53_4d42, "SMB may keep no permissions"),
    (0xfe53_4d42, "SMB may keep no permissions"),
];

impl Medium {
    pub(crate) fn of(path: &Path) -> Self {
        let flags = statvfs(path).map(|found| found.f_flag);
        Self::judge(flags, statfs(path).map(|found| kind(&found)))
    }

    pub(super) fn of_file(file: &File) -> Self {
        let flags = fstatvfs(file).map(|found| found.f_flag);
        Self::judge(flags, fstatfs(file).map(|found| kind(&found)))
    }

    /// What cannot be told is usual: the cure is then the usual one.
    fn judge(flags: rustix::io::Result<StatVfsMountFlags>, kind: rustix::io::Result<u64>) -> Self {
        let (Ok(flags), Ok(kind)) = (flags, kind) else {
            return Self::Usual;
        };
        let named = WITHOUT_MODES.iter().find(|(magic, _)| *magic == kind);
        match (flags.contains(StatVfsMountFlags::RDONLY), named) {
            (true, _) if MEMORY.contains(&kind) => Self::ReadOnlyMemory,
            (true, _) => Self::ReadOnly,
            (false, Some((_, why))) => Self::WithoutModes(why),
            (false, None) => Self::Usual,
        }
    }

    /// Why chmod and chown may not help here; `None` if they do.
    pub(crate) fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::Usual => None,
            Self::ReadOnly | Self::ReadOnlyMemory => Some("it is mounted read-only"),
            Self::WithoutModes(why) => Some(why),
        }
    }
}

/// The kernel's numbers have 32 bits, in a word whose sign and size differ between machines.
fn kind(found: &rustix::fs::StatFs) -> u64 {
    u64::from(found.f_type as u32)
}
