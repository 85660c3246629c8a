//! The demo's world: two linked network namespaces, a config, a daemon and a service. Drop removes its files.
//!
//! ```text
//!   client (a thread's own namespace)          gate (the process's own namespace)
//!   10.77.0.2/24, fd77::2/64  client0 ════ gate0  10.77.0.1/24, fd77::1/64
//!                                               posternd, and a service on tcp/2222
//! ```

use std::ffi::OsStr;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use base64::Engine;
use rustix::process::{Pid, Signal, kill_process};

use super::interrupt::Interrupt;
use super::link;
use super::namespaces::ClientNamespace;
use super::probe_error::ProbeError;
use crate::adapters::clock;
use crate::adapters::control::{self, Answer, Question, Status};
use crate::adapters::files;
use crate::adapters::log;
use crate::adapters::process::{self, StartOptions};
use crate::adapters::random;
use crate::core::order::Selection;
use crate::model::exit::{ExitError, FAILED};
use crate::model::grant::Grant;

pub(super) const KNOCK_PORT: u16 = 62201;
pub(super) const SERVICE_PORT: u16 = 2222;
pub(super) const GATE_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const GATE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
pub(super) const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

pub(super) const PROFILES: [(&str, IpAddr); 2] = [
    ("home", IpAddr::V4(GATE_V4)),
    ("home6", IpAddr::V6(GATE_V6)),
];

pub(super) struct World {
    folder: PathBuf,
    daemon: Option<Child>,
    client: ClientNamespace,
    interrupt: Interrupt,
}

impl World {
    pub(super) fn make(interrupt: Interrupt) -> Result<Self, ExitError> {
        let client = ClientNamespace::start();
        let world = Self {
            folder: folder()?,
            daemon: None,
            client,
            interrupt,
        };
        world.link_namespaces()?;
        for (_, address) in PROFILES {
            let doing = format!("listening on {address} port {SERVICE_PORT}");
            serve(SocketAddr::new(address, SERVICE_PORT)).map_err(ExitError::system(doing))?;
        }
        Ok(world)
    }

    pub(super) fn write_profiles(&self, key: &str) -> Result<(), ExitError> {
        for (name, address) in PROFILES {
            let address = SocketAddr::new(address, KNOCK_PORT);
            let profile = format!(
                "[{name}]\ngate = \"demo\"\naddress = \"{address}\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE_PORT}\"]\n"
            );
            self.write(&format!("{name}.toml"), &profile)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), ExitError> {
        files::write_private(&self.folder.join(name), text.as_bytes(), true)
            .map_err(|error| ExitError::new(FAILED, error))
    }

    fn link_namespaces(&self) -> Result<(), ExitError> {
        let ours = std::process::id();
        self.at_client(move || {
            link::make("client0", "gate0", ours)?;
            link::configure("client0", CLIENT_V4, CLIENT_V6)
        })??;
        link::configure("gate0", GATE_V4, GATE_V6)
    }

    pub(super) fn start_daemon(&mut self, users: &str, backend: &str) -> Result<(), ExitError> {
        self.stop_daemon();
        let path = self.folder.display();
        let posternd = format!(
            "[gate]\nname = \"demo\"\nstate_dir = \"{path}/state\"\ncontrol_socket = \"{path}/control.sock\"\nrun_as = \"nobody\"\n\n[firewall]\nbackend = \"{backend}\"\n\n{users}"
        );
        self.write("posternd.toml", &posternd)?;
        let config = self.folder.join("posternd.toml");
        // The log of an earlier daemon.
        let _ = std::fs::remove_file(self.log());
        let log = files::create_log(&self.log());
        let log = log.map_err(ExitError::system("making the daemon's log"))?;
        let env = [
            (log::LEVEL, "debug".to_owned()),
            (log::FORMAT, String::new()),
        ];
        let options = StartOptions {
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            stderr: log.into(),
            env: &env,
        };
        let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let child = process::start_self(&arguments, options);
        self.daemon = Some(child.map_err(ExitError::system("starting posternd"))?);
        let status = self.wait_for(Duration::from_secs(20), || self.status().ok());
        status.map(drop).ok_or_else(|| {
            let what = format!("posternd did not start; its log:\n{}", self.log_text());
            ExitError::new(FAILED, what)
        })
    }

    pub(super) fn postern(&self, arguments: &[&str]) -> Result<(bool, String), ExitError> {
        let words = ["as-client"].iter().chain(arguments);
        let words: Vec<String> = words.map(ToString::to_string).collect();
        let ran = self.at_client(move || {
            let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
            let options = StartOptions {
                stdin: Stdio::null(),
                stdout: Stdio::piped(),
                stderr: Stdio::piped(),
                env: &[],
            };
            process::start_self(&words, options).and_then(Child::wait_with_output)
        })?;
        let output = ran.map_err(ExitError::system("running postern"))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).trim_end().to_owned();
        Ok((output.status.success(), text))
    }

    pub(super) fn packet(&self, profile: &str, open_for: Duration) -> Result<Vec<u8>, ExitError> {
        let (file, time) = (self.profile(profile), format!("{}s", open_for.as_secs()));
        let arguments = [
            "knock", profile, "--config", &file, "--for", &time, "--print",
        ];
        let (succeeded, output) = self.postern(&arguments)?;
        let packet = base64::engine::general_purpose::STANDARD.decode(output.trim());
        packet
            .ok()
            .filter(|_| succeeded)
            .ok_or_else(|| ExitError::new(FAILED, format!("postern knock --print: {output}")))
    }

    pub(super) fn at_client<R: Send + 'static>(
        &self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, ExitError> {
        self.client.run(task)
    }

    pub(super) fn wait_for<R>(
        &self,
        most: Duration,
        mut ask: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let answer = wait_for(most, || {
            if self.interrupt.arrived() {
                Some(None)
            } else {
                ask().map(Some)
            }
        });
        answer.flatten()
    }

    pub(super) fn has_no_grant_within(&self, most: Duration) -> bool {
        let none = || self.grants().ok().filter(Vec::is_empty);
        self.wait_for(most, none).is_some()
    }

    pub(super) fn profile(&self, name: &str) -> String {
        let file = self.folder.join(format!("{name}.toml"));
        file.display().to_string()
    }

    pub(super) fn status(&self) -> Result<Status, ExitError> {
        match self.ask(&Question::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => Err(ExitError::new(FAILED, "unexpected answer from posternd")),
        }
    }

    pub(super) fn grants(&self) -> Result<Vec<Grant>, ExitError> {
        match self.ask(&Question::Grants)? {
            Answer::Grants(listed) => Ok(listed.into_iter().map(|one| one.grant).collect()),
            _ => Err(ExitError::new(FAILED, "unexpected answer from posternd")),
        }
    }

    pub(super) fn close(&self, which: Selection) -> Result<(), ExitError> {
        match self.ask(&Question::Close(which))? {
            Answer::Closed(1..) => Ok(()),
            answer => {
                let what = format!("posternd closed no grant: {answer:?}");
                Err(ExitError::new(FAILED, what))
            }
        }
    }

    pub(super) fn backend(&self) -> &'static str {
        match self.logged(&["firewall by"]) {
            Some(line) if line.contains("firewall by iptables") => "iptables",
            _ => "nftables",
        }
    }

    fn ask(&self, question: &Question) -> Result<Answer, ExitError> {
        control::ask(&self.folder.join("control.sock"), question)
            .map_err(ExitError::system("asking posternd"))
    }

    pub(super) fn logged(&self, words: &[&str]) -> Option<String> {
        let text = self.log_text();
        let mut lines = text.lines().rev();
        let line = lines.find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("posternd.log")
    }

    fn log_text(&self) -> String {
        files::read_system(&self.log()).unwrap_or_default()
    }

    fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = kill_process(Pid::from_child(&daemon), Signal::TERM);
            if wait_for(Duration::from_secs(5), || daemon.try_wait().ok().flatten()).is_none() {
                let _ = daemon.kill();
                let _ = daemon.wait();
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_daemon();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wait_for<R>(most: Duration, mut ask: impl FnMut() -> Option<R>) -> Option<R> {
    let start = clock::instant();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if clock::elapsed(start) > most {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn folder() -> Result<PathBuf, ExitError> {
    let bytes: [u8; 8] = random::bytes().map_err(ExitError::system("naming the demo's folder"))?;
    let name = format!("postern-demo-{:016x}", u64::from_be_bytes(bytes));
    let folder = std::env::temp_dir().join(name);
    let made = std::fs::DirBuilder::new().mode(0o755).create(&folder);
    made.map_err(ExitError::system(format!("making {}", folder.display())))?;
    Ok(folder)
}

fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello\n");
        }
    });
    Ok(())
}

pub(super) fn connect(address: SocketAddr, patience: Duration) -> Result<Duration, ProbeError> {
    let start = clock::instant();
    match std::net::TcpStream::connect_timeout(&address, patience) {
        Ok(_) => Ok(clock::elapsed(start)),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(ProbeError::NoAnswer(patience))
        }
        Err(error) => Err(ProbeError::Answered(error)),
    }
}
