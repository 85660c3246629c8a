//! A gate that only listens: a UDP socket on the loopback interface and the protocol crate's own reading of what comes.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::{OpenBuffer, Packet, Request, UserKeys};

pub(crate) struct FakeGate {
    socket: UdpSocket,
}

impl FakeGate {
    pub(crate) fn v4() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub(crate) fn v6() -> Self {
        Self::at("[::1]:0")
    }

    fn at(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self { socket }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// The next datagram.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).expect("a knock");
        buffer[..length].to_vec()
    }

    /// The next knock, opened.
    pub(crate) fn knock(&self, keys: &UserKeys) -> Request {
        open(&self.packet(), keys)
    }

    /// Over loopback a datagram has arrived by the time its sender has ended: so there is no need to wait for one.
    pub(crate) fn heard_nothing(&self) {
        self.socket.set_nonblocking(true).unwrap();
        assert_eq!(
            self.socket.recv(&mut [0; 2048]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        self.socket.set_nonblocking(false).unwrap();
    }
}

/// Steps 1 to 6 of PROTOCOL section 6.
pub(crate) fn open(bytes: &[u8], keys: &UserKeys) -> Request {
    let packet = Packet::parse(bytes).expect("step 1");
    assert!(keys.verify(&packet), "step 3");
    let mut buffer = OpenBuffer::new();
    let request =
        Request::decode(keys.open(&packet, &mut buffer).expect("step 4")).expect("step 5");
    assert_eq!(
        keys.hint_key().hint(request.step()),
        packet.hint(),
        "steps 2 and 6"
    );
    request
}

pub(crate) fn from_base64(line: &str) -> Vec<u8> {
    STANDARD.decode(line).unwrap()
}
