//! The socket pair between monitor and engine: whole messages, and descriptors from the monitor.
//!
//! Nothing passes descriptors to the monitor: to close them can take it as long as the sender likes. The kernel refuses them at
//! the monitor's end, and the engine's filter of system calls has none that sends them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::SetSockOpt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The most descriptors in one message.
pub(crate) const DESCRIPTORS_MAX: usize = 64;

// asm-generic/socket.h: SO_PASSRIGHTS, since Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;

sockopt_impl!(PassRights, SetOnly, libc::SOL_SOCKET, SO_PASSRIGHTS, bool);

#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

/// What was received.
#[derive(Debug)]
pub(crate) enum Received {
    Message(usize),
    Nothing,
    Gone,
}

/// The monitor's end, which takes no descriptors where the kernel can refuse them, and the engine's end.
pub(crate) fn pair() -> io::Result<(Link, Link)> {
    let (one, other) = net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // An older kernel lacks the option.
    let _ = PassRights.set(&one, &false);
    Ok((Link(one), Link(other)))
}

impl Link {
    pub(crate) fn from_stdin() -> io::Result<Self> {
        io::stdin().as_fd().try_clone_to_owned().map(Self)
    }

    pub(crate) fn from_socket(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub(crate) fn into_socket(self) -> OwnedFd {
        self.0
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        self.send_with(message, SendFlags::NOSIGNAL)
    }

    /// Sends one message, or fails with `WouldBlock` if there is no space.
    pub(crate) fn try_send(&self, message: &[u8]) -> io::Result<()> {
        self.send_with(message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with(&self, message: &[u8], flags: SendFlags) -> io::Result<()> {
        retry_on_intr(|| net::send(&self.0, message, flags))?;
        Ok(())
    }

    /// As [`try_send`](Self::try_send), for the monitor. An engine's filter refuses the system call, and tests tell it from the
    /// calls for the firewall.
    pub(crate) fn try_send_report(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        self.send_message(message, descriptors, flags)
    }

    pub(crate) fn send_descriptors(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send_message(message, descriptors, SendFlags::NOSIGNAL)
    }

    fn send_message(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let rights = SendAncillaryMessage::ScmRights(descriptors);
        if !descriptors.is_empty() && !ancillary.push(rights) {
            let count = descriptors.len();
            let why = format!("{count} descriptors are more than {DESCRIPTORS_MAX}");
            return Err(io::Error::other(why));
        }
        let parts = [IoSlice::new(message)];
        retry_on_intr(|| net::sendmsg(&self.0, &parts, &mut ancillary, flags))?;
        Ok(())
    }

    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(
            buffer,
            RecvFlags::empty(),
            &mut RecvAncillaryBuffer::default(),
        )
    }

    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(
            buffer,
            RecvFlags::DONTWAIT,
            &mut RecvAncillaryBuffer::default(),
        )
    }

    pub(crate) fn receive_descriptors(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(Received, Vec<OwnedFd>)> {
        self.receive_descriptors_with(buffer, RecvFlags::empty())
    }

    pub(crate) fn try_receive_descriptors(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(Received, Vec<OwnedFd>)> {
        self.receive_descriptors_with(buffer, RecvFlags::DONTWAIT)
    }

    fn receive_descriptors_with(
        &self,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> io::Result<(Received, Vec<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = self.receive_with(buffer, flags, &mut ancillary)?;
        let rights = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        Ok((received, rights.flatten().collect()))
    }

    fn receive_with(
        &self,
        buffer: &mut [u8],
        flags: RecvFlags,
        ancillary: &mut RecvAncillaryBuffer<'_>,
    ) -> io::Result<Received> {
        let message = loop {
            let mut parts = [IoSliceMut::new(buffer)];
            match net::recvmsg(&self.0, &mut parts, ancillary, flags) {
                // The other end closed with unread messages. The kernel reports that once; its own messages can still be read.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(error) => return Err(error.into()),
                Ok(message) => break message,
            }
        };
        if message.flags.contains(ReturnFlags::TRUNC) {
            let why = "the message is too long";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(match message.bytes {
            0 => Received::Gone,
            bytes => Received::Message(bytes),
        })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn messages_stay_whole_and_carry_descriptors() {
        let (one, other) = pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"inside").unwrap();
        file.rewind().unwrap();
        one.send_descriptors(b"take this", &[file.as_fd()]).unwrap();
        one.send(b"and that").unwrap();
        let mut buffer = [0; 64];
        let (received, mut descriptors) = other.receive_descriptors(&mut buffer).unwrap();
        assert!(matches!(received, Received::Message(9)));
        let passed = std::fs::File::from(descriptors.remove(0));
        assert_eq!(io::read_to_string(passed).unwrap(), "inside");
        let second = other.receive(&mut buffer).unwrap();
        assert!(matches!(second, Received::Message(8)));
        let nothing = other.try_receive(&mut buffer).unwrap();
        assert!(matches!(nothing, Received::Nothing));
        drop(one);
        let end = other.receive(&mut buffer).unwrap();
        assert!(matches!(end, Received::Gone));
        let found = other.send(b"anyone?").unwrap_err().kind();
        assert_eq!(found, io::ErrorKind::BrokenPipe);
    }

    /// On a kernel without SO_PASSRIGHTS only the engine's filter refuses them.
    #[test]
    fn monitors_end_takes_no_descriptors() {
        let (other, _) = pair().unwrap();
        if PassRights.set(&other, &true).is_err() {
            return;
        }
        let (monitor, engine) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let found = engine.send_descriptors(b"close this", &[file.as_fd()]);
        assert_eq!(found.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        engine.send(b"an order").unwrap();
        let received = monitor.try_receive(&mut [0; 64]).unwrap();
        assert!(matches!(received, Received::Message(8)));
    }

    #[test]
    fn messages_before_the_close_are_received() {
        let (one, other) = pair().unwrap();
        one.send(b"never read").unwrap();
        other.send(b"first").unwrap();
        other.send(b"last").unwrap();
        drop(other);
        let mut buffer = [0; 64];
        let mut next = || one.try_receive(&mut buffer).unwrap();
        assert!(matches!(next(), Received::Message(5)));
        assert!(matches!(next(), Received::Message(4)));
        assert!(matches!(next(), Received::Gone));
    }

    #[test]
    fn long_message_fails_and_full_link_does_not_block() {
        let (one, other) = pair().unwrap();
        one.send(&[7; 65]).unwrap();
        let found = other.receive(&mut [0; 64]).unwrap_err().kind();
        assert_eq!(found, io::ErrorKind::InvalidData);
        let full = (0..100_000)
            .find_map(|_| one.try_send(&[7; 1000]).err())
            .unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
