//! A real sshd behind the gate, and ssh: hidden, let in, and a session that outlives the grant that let it in.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use postern_harness::{
    Client, FAMILIES, Family, GateConfig, LONGEST_WAIT, World, find, run, wait_for,
};

/// Where sshd listens.
pub(crate) const PORT: u16 = 2200;

pub(crate) fn ssh_session_outlives_its_grant(backend: &'static str) {
    let plan = GateConfig::empty(backend).user("alice", &format!("services = [\"tcp/{PORT}\"]"));
    let mut world = World::prepare(&plan);
    let _sshd = Sshd::start(&world);
    world.start_again();
    for family in FAMILIES {
        expect_no_login(&world, &world.first, family);
        world.first.knock(
            "alice",
            family,
            &["-s", &format!("tcp/{PORT}"), "--for", "20s"],
        );
    }
    world.wait_for_grants(2);
    let mut sessions = FAMILIES.map(|family| Session::start(&world, &world.first, family));
    for session in &mut sessions {
        session.echoes("during the grant");
    }
    expect_no_login(&world, &world.second, Family::V4);
    world.wait_until_closed();
    assert_eq!(world.rules(), Vec::<String>::new());
    for family in FAMILIES {
        expect_no_login(&world, &world.first, family);
    }
    for session in &mut sessions {
        session.echoes("after the grant");
        session.ends_well();
    }
}

fn expect_no_login(world: &World, client: &Client, family: Family) {
    let mut ssh = ssh(world, client, family, "ConnectTimeout=1");
    drop(ssh.stdin.take());
    let output = ssh.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "ssh: {said}");
    assert!(
        said.contains("timed out"),
        "hidden means silent, but ssh says: {said}"
    );
}

/// `ssh` that runs `cat` at the gate.
fn ssh(world: &World, client: &Client, family: Family, option: &'static str) -> Child {
    let words = [
        options(world, &[option]),
        destination(family),
        vec!["cat".to_owned()],
    ]
    .concat();
    client.space.run(move || {
        let mut command = Command::new("ssh");
        command
            .args(words)
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    })
}

/// What ssh needs to log in with the test's own key, and with nothing of the tester's.
pub(crate) fn options(world: &World, more: &[&str]) -> Vec<String> {
    let common = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "BatchMode=yes",
        "LogLevel=ERROR",
    ];
    let key = world.folder().join("user_key").display().to_string();
    let words = common
        .iter()
        .chain(more)
        .flat_map(|option| ["-o", option])
        .chain(["-F", "none", "-i", &key]);
    words.map(str::to_owned).collect()
}

/// The gate's sshd.
pub(crate) fn destination(family: Family) -> Vec<String> {
    vec![
        "-p".to_owned(),
        PORT.to_string(),
        format!("root@{}", family.address(1)),
    ]
}

/// A login whose remote end sends back what it is sent.
struct Session {
    ssh: Child,
    lines: Receiver<String>,
}

impl Session {
    fn start(world: &World, client: &Client, family: Family) -> Self {
        let mut ssh = ssh(world, client, family, "ConnectTimeout=20");
        let out = BufReader::new(ssh.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Self { ssh, lines }
    }

    fn echoes(&mut self, words: &str) {
        writeln!(self.ssh.stdin.as_mut().unwrap(), "{words}").unwrap();
        assert_eq!(
            self.lines.recv_timeout(LONGEST_WAIT).as_deref(),
            Ok(words),
            "the session is dead"
        );
    }

    fn ends_well(&mut self) {
        drop(self.ssh.stdin.take());
        assert!(wait_for("the session to end", || self.ssh.try_wait().unwrap()).success());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

/// A server of its own keys, in the gate's namespace.
pub(crate) struct Sshd(Child);

impl Sshd {
    pub(crate) fn start(world: &World) -> Self {
        let folder = world.folder();
        let host_key = key_pair(world, "host_key");
        key_pair(world, "user_key");
        let config = folder.join("sshd_config");
        let lines = format!(
            "Port {PORT}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nSubsystem sftp internal-sftp\nKbdInteractiveAuthentication no\nUseDNS no\n",
            host_key.display(),
            folder.join("user_key.pub").display()
        );
        fs::write(&config, lines).unwrap();
        let sshd = Self(world.gate.run(move || start(&config)));
        let listens = || std::net::TcpStream::connect(("127.0.0.1", PORT)).ok();
        wait_for("sshd to listen", || world.gate.run(listens));
        sshd
    }
}

/// sshd insists on /run/sshd, which is there only where systemd made it: it gets a /run of its own.
fn start(config: &Path) -> Child {
    let script =
        "mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec \"$0\" -D -e -f \"$1\"";
    let log = fs::File::create(config.with_file_name("sshd.log")).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(find("sshd").unwrap())
        .arg(config);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn key_pair(world: &World, name: &str) -> PathBuf {
    let path = world.folder().join(name);
    let made = run(
        &world.gate,
        "ssh-keygen",
        &[
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            path.to_str().unwrap(),
        ],
    );
    assert!(
        made.status.success(),
        "ssh-keygen: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    path
}
