//! Tells when programs let go of a lock file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// A descriptor that becomes readable when a program closes the file.
#[derive(Debug)]
pub(crate) struct LockWatch(OwnedFd);

impl LockWatch {
    /// Fails if there is no such file.
    pub(crate) fn start(path: &Path) -> io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let closed = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        let _ = inotify::add_watch(&descriptor, path, closed)?;
        Ok(Self(descriptor))
    }

    /// Whether a program has closed the file since the last call.
    pub(crate) fn take(&self) -> bool {
        let mut buffer = [0; 4096];
        let mut any = false;
        while rustix::io::read(&self.0, &mut buffer).is_ok_and(|length| length > 0) {
            any = true;
        }
        any
    }
}

impl AsFd for LockWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_of_the_lock_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(LockWatch::start(&path).is_err());
        drop(super::super::open_lock(&path).unwrap());
        let watch = LockWatch::start(&path).unwrap();
        assert!(!watch.take());
        drop(super::super::open_lock(&path).unwrap());
        assert!(watch.take() && !watch.take());
    }
}
