//! Files without secrets: those of the kernel, logs, locks, the terminal.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

#[expect(clippy::disallowed_methods, reason = "files may open files")]
pub(crate) fn read_system(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

#[cfg(feature = "daemon")]
#[expect(clippy::disallowed_methods, reason = "files may open files")]
pub(crate) fn write_system(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
}

/// Opens a file whose owner does not matter, such as a recording of packets; also a pipe.
#[cfg(feature = "daemon")]
#[expect(clippy::disallowed_methods, reason = "files may open files")]
pub(crate) fn open_input(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(feature = "daemon")]
pub(crate) fn create_log(path: &Path) -> io::Result<File> {
    create(path, OpenOptions::new().append(true))
}

pub(crate) fn open_terminal() -> io::Result<File> {
    open_to_read(Path::new("/dev/tty"))
}

#[expect(clippy::disallowed_methods, reason = "files may open files")]
pub(crate) fn open_nothing() -> io::Result<File> {
    OpenOptions::new().write(true).open("/dev/null")
}

/// Opens a file to lock; creates it if it is missing.
#[cfg(feature = "daemon")]
#[expect(clippy::disallowed_methods, reason = "files may open files")]
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path)
}

/// Also opens a device, and does not wait for the writer of a pipe.
#[expect(clippy::disallowed_methods, reason = "files may open files")]
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[expect(clippy::disallowed_methods, reason = "files may open files")]
pub(super) fn create(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.create_new(true).mode(0o600).open(path)
}
