//! Doors for the client to try: TCP ports that are shut and stay so until the test opens them, and UDP ports that refuse.
//!
//! Each is held all the while, so that no other test gets its number.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// A TCP port on the loopback interface at which nobody listens: whoever tries it is refused.
pub(crate) struct Shut(OwnedFd);

impl Shut {
    pub(crate) fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        getsockname(self.0.as_fd()).unwrap().try_into().unwrap()
    }

    pub(crate) fn open(self) -> TcpListener {
        listen(&self.0, 16).unwrap();
        TcpListener::from(self.0)
    }
}

/// A UDP port that hears one peer alone, who never speaks: whoever else sends to it is told that nobody listens.
pub(crate) fn deaf() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}
