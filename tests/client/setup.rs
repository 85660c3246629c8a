//! Shared set-up: a folder with a config, the program, a fake gate, and ports that refuse.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::adapters::files::write_private;
use postern_proto::limits::KEY_LEN;
use postern_proto::{
    Allow, GateName, Item, KeyMaterial, OpenBuffer, Packet, Protocol, Request, Service, SharedKey,
    UserKeys,
};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use postern_harness::says;

pub(crate) const GATE: &str = "gate.example.org";
/// A part of every key of these tests, to find in output.
pub(crate) const KEY_PART: &str = "WlpaWlpa";

/// A gate, a config with the profile `home` for it, and the keys.
pub(crate) struct World {
    pub(crate) gate: FakeGate,
    pub(crate) home: Home,
    pub(crate) keys: UserKeys,
}

impl World {
    pub(crate) fn new(profile: &str) -> Self {
        let gate = FakeGate::v4();
        let (home, keys) = Home::for_gates(&[&gate], profile);
        Self { gate, home, keys }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.home.run(arguments)
    }

    /// Arguments with spaces between them.
    #[track_caller]
    pub(crate) fn line(&self, arguments: &str) -> Ran {
        self.home.line(arguments)
    }

    /// The next request at the gate.
    pub(crate) fn request(&self) -> Request {
        self.gate.request(&self.keys)
    }
}

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The output of a success without messages.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The JSON object of a success.
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// The only line of a failure, which must be this pattern and have a cure.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, pattern: &str) -> String {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{}", self.err);
        says(&self.err, "postern: …; …\n");
        says(&self.err, &format!("postern: {pattern}\n"));
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        self.err
    }

    pub(crate) fn shows_no_key(&self) {
        let hidden = !self.out.contains(KEY_PART) && !self.err.contains(KEY_PART);
        assert!(hidden, "{}{}", self.out, self.err);
    }
}

/// A temporary folder with a config.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// One profile, `home`.
    pub(crate) fn with_profile(body: &str) -> Self {
        let home = Self::new();
        let profile = format!("[home]\ngate = \"{GATE}\"\n{body}\n");
        home.write("config.toml", &profile);
        home
    }

    /// The profile `home` with a shared key for these gates, and the keys.
    pub(crate) fn for_gates(gates: &[&FakeGate], profile: &str) -> (Self, UserKeys) {
        let addresses: Vec<String> = gates
            .iter()
            .map(|gate| gate.address().to_string())
            .collect();
        let key = key(1);
        let body = format!("address = {addresses:?}\nkey = \"{key}\"\n{profile}");
        (Self::with_profile(&body), shared(&key))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text_path(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write_private(&self.path(name), text.as_bytes(), true).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = postern(arguments);
        command.env("POSTERN_CONFIG", self.path("config.toml"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Arguments with spaces between them.
    pub(crate) fn line(&self, arguments: &str) -> Ran {
        self.run(&arguments.split(' ').collect::<Vec<_>>())
    }
}

pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_postern")
}

/// `postern` without the environment of the tests.
pub(crate) fn postern(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent");
    command
}

/// `postern` behind another program, such as `setsid`.
pub(crate) fn postern_behind(wrapper: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(program()).args(arguments);
    command
}

pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().expect("no signal"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A key that differs by its first byte.
pub(crate) fn key(byte: u8) -> String {
    let mut bytes = [0x5a; KEY_LEN];
    bytes[0] = byte;
    SharedKey::from_bytes(bytes).to_base64().to_string()
}

/// What the gate derives from a shared key.
pub(crate) fn shared(key: &str) -> UserKeys {
    let key = SharedKey::from_base64(key).unwrap();
    UserKeys::derive(&GateName::new(GATE).unwrap(), &KeyMaterial::shared(&key))
}

pub(crate) fn tcp(first: u16, last: u16) -> Item {
    Item::Service(Service::new(Protocol::Tcp, first, last).unwrap())
}

/// Exactly this address.
pub(crate) fn exactly(address: &str) -> Allow {
    Allow::Network {
        address: address.parse().unwrap(),
        prefix: 128,
    }
}

/// A UDP socket that opens packets and sends no answer.
pub(crate) struct FakeGate(UdpSocket);

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
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = self.0.recv(&mut buffer).expect("a knock");
        buffer[..length].to_vec()
    }

    pub(crate) fn request(&self, keys: &UserKeys) -> Request {
        open(&self.packet(), keys)
    }

    /// Over loopback, a datagram has arrived before its sender ends, so this needs no wait.
    pub(crate) fn got_nothing(&self) {
        self.0.set_nonblocking(true).unwrap();
        let received = self.0.recv(&mut [0; 2048]);
        assert_eq!(received.unwrap_err().kind(), ErrorKind::WouldBlock);
        self.0.set_nonblocking(false).unwrap();
    }
}

/// Steps 1 to 6 of proto/README.md, section 6.
pub(crate) fn open(bytes: &[u8], keys: &UserKeys) -> Request {
    let packet = Packet::parse(bytes).expect("step 1");
    assert!(keys.verify(&packet), "step 3");
    let mut buffer = OpenBuffer::new();
    let body = keys.open(&packet, &mut buffer).expect("step 4");
    let request = Request::decode(body).expect("step 5");
    let found = keys.hint_key().hint(request.step());
    assert_eq!(found, packet.hint(), "steps 2 and 6");
    request
}

pub(crate) fn open_base64(text: &str, keys: &UserKeys) -> Request {
    open(&STANDARD.decode(text.trim()).unwrap(), keys)
}

/// A bound TCP port that refuses until it is opened.
pub(crate) struct ClosedPort(OwnedFd);

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        getsockname(&self.0).unwrap().try_into().unwrap()
    }

    pub(crate) fn service(&self) -> String {
        format!("tcp/{}", self.address().port())
    }

    pub(crate) fn open(self) -> TcpListener {
        listen(&self.0, 16).unwrap();
        TcpListener::from(self.0)
    }
}

/// An open TCP port, and its service.
pub(crate) fn open_port() -> (TcpListener, String) {
    let listener = ClosedPort::new().open();
    let service = format!("tcp/{}", listener.local_addr().unwrap().port());
    (listener, service)
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o7777
}
