//! A connection whose every read and write ends at one deadline, with or without TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, RecvFlags};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::adapters::clock;
use crate::model::cluster::Credentials;

/// The first attempt to connect. The next ones have twice as long as the one before.
const DIAL_WITHIN: Duration = Duration::from_millis(250);

pub(super) enum Stream {
    Plain(Wire),
    Secure(Box<StreamOwned<ClientConnection, Wire>>),
}

/// The socket. A peer that sends one byte at a time gets no more time than another.
pub(super) struct Wire {
    socket: TcpStream,
    until: Instant,
}

impl Stream {
    pub(super) fn connect(
        address: SocketAddr,
        tls: Option<(&Arc<ClientConfig>, &str)>,
        until: Instant,
    ) -> io::Result<Self> {
        let socket = dial(&address, until)?;
        socket.set_nodelay(true)?;
        let wire = Wire { socket, until };
        let Some((config, host)) = tls else {
            return Ok(Self::Plain(wire));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, wire);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Self::Secure(Box::new(stream)))
    }

    /// Whether the server has neither closed it nor sent anything unasked.
    pub(super) fn is_quiet(&self) -> bool {
        let socket = match self {
            Self::Plain(wire) => &wire.socket,
            Self::Secure(stream) => &stream.sock.socket,
        };
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        net::recv(socket, &mut [0; 1], flags) == Err(Errno::AGAIN)
    }

    pub(super) fn set_deadline(&mut self, until: Instant) {
        match self {
            Self::Plain(wire) => wire.until = until,
            Self::Secure(stream) => stream.sock.until = until,
        }
    }
}

/// Tries again soon: the kernel waits a whole second before it sends a lost SYN again.
fn dial(address: &SocketAddr, until: Instant) -> io::Result<TcpStream> {
    let mut within = DIAL_WITHIN;
    loop {
        let rest = left(until)?;
        match TcpStream::connect_timeout(address, rest.min(within)) {
            Err(error) if error.kind() == ErrorKind::TimedOut && within < rest => {
                within = within.saturating_mul(2);
            }
            dialled => return dialled,
        }
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(clock::instant());
    if left < Duration::from_millis(1) {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.until)?))?;
        self.socket.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.until)?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

pub(super) fn tls(credentials: &Credentials) -> Result<Arc<ClientConfig>, String> {
    let certificates = |pem: &str| -> Result<Vec<_>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match found {
            Ok(found) if found.is_empty() => Err("it has no certificate in PEM".to_owned()),
            found => found.map_err(|error| error.to_string()),
        }
    };
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &credentials.ca {
        let found = certificates(pem).map_err(|why| format!("ca_file: {why}"))?;
        roots.add_parsable_certificates(found);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match (&credentials.cert, &credentials.cert_key) {
        (Some(cert), Some(key)) => {
            let certs = certificates(cert).map_err(|why| format!("cert_file: {why}"))?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
            let key = key.map_err(|_| "cert_key_file: it has no private key in PEM".to_owned())?;
            builder
                .with_client_auth_cert(certs, key)
                .map_err(|error| format!("cert_key_file: {error}"))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}
