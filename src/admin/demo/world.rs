//! The demo's world: two network namespaces joined by a cable, a config, a daemon, a service. It ends with the process:
//! namespaces that nobody uses any more are removed by the kernel, the folder by drop.
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
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use base64::Engine;
use nix::sched::{CloneFlags, unshare};

use super::cable;
use super::interrupt::Interrupt;
use crate::adapters::clock;
use crate::adapters::control::{self, Answer, Question, Status};
use crate::adapters::files;
use crate::adapters::log;
use crate::adapters::process::{self, Wiring};
use crate::adapters::random;
use crate::core::order::Selection;
use crate::model::exit::{ExitError, FAILED, UNAVAILABLE};
use crate::model::grant::Grant;
use crate::model::time;

/// The port that knocks go to.
pub(super) const KNOCK: u16 = 62201;
/// The port of the service that is hidden.
pub(super) const SERVICE: u16 = 2222;
/// The addresses at both ends of the cable.
pub(super) const GATE_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const GATE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
pub(super) const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// Something to do in the client's namespace.
type Task = Box<dyn FnOnce() + Send>;

/// What stands while the demo runs.
pub(super) struct World {
    folder: PathBuf,
    daemon: Option<Child>,
    task: Sender<Task>,
    interrupt: Interrupt,
}

/// Moves this process into namespaces of its own; without root, into a user namespace first. Must come before any thread.
/// Returns a note for who watches.
pub(super) fn leave_the_host() -> Result<&'static str, ExitError> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let may = caps::has_cap(
        None,
        caps::CapSet::Effective,
        caps::Capability::CAP_SYS_ADMIN,
    )
    .unwrap_or(false);
    if uid == 0 && may {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(ExitError::system("making a network namespace"))?;
        return Ok("as root, in network namespaces of its own");
    }
    let forbidden = |error: nix::Error| {
        ExitError::new(
            UNAVAILABLE,
            format!(
                "this kernel lets only root make namespaces ({error}); run the demo as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces)"
            ),
        )
    };
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(forbidden)?;
    for (map, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        files::write_system(&Path::new("/proc/self").join(map), &text).map_err(
            ExitError::system(format!("writing {map} of the user namespace")),
        )?;
    }
    Ok(
        "without root, in a user namespace of its own; that has one user only, so the engine stays that user",
    )
}

impl World {
    /// Lays the cable, starts the service and writes the client's configs.
    pub(super) fn make(key: &str, interrupt: Interrupt) -> Result<Self, ExitError> {
        let task = client_namespace();
        let folder = folder()?;
        let world = Self {
            folder,
            daemon: None,
            task,
            interrupt,
        };
        world.lay_cable()?;
        for address in [IpAddr::V4(GATE_V4), IpAddr::V6(GATE_V6)] {
            serve(SocketAddr::new(address, SERVICE)).map_err(ExitError::system(format!(
                "listening on {address} port {SERVICE}"
            )))?;
        }
        for (name, address) in [
            ("home", IpAddr::V4(GATE_V4)),
            ("home6", IpAddr::V6(GATE_V6)),
        ] {
            let address = SocketAddr::new(address, KNOCK);
            let profile = format!(
                "[{name}]\ngate = \"demo\"\naddress = \"{address}\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE}\"]\n"
            );
            world.write(&format!("{name}.toml"), &profile)?;
        }
        Ok(world)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), ExitError> {
        files::write_private(&self.folder.join(name), text.as_bytes(), true)
            .map_err(|error| ExitError::new(FAILED, error))
    }

    fn lay_cable(&self) -> Result<(), ExitError> {
        let ours = std::process::id();
        self.at_client(move || {
            cable::lay("client0", "gate0", ours)?;
            cable::dress("client0", CLIENT_V4, CLIENT_V6)
        })??;
        cable::dress("gate0", GATE_V4, GATE_V6)
    }

    /// Starts the daemon with this firewall driver, in the place of one that runs, and waits until its engine serves.
    pub(super) fn start_daemon(&mut self, key: &str, backend: &str) -> Result<(), ExitError> {
        self.stop_daemon();
        let path = self.folder.display();
        let posternd = format!(
            "[gate]\nname = \"demo\"\nstate_dir = \"{path}/state\"\ncontrol_socket = \"{path}/control.sock\"\n\n[firewall]\nbackend = \"{backend}\"\n\n\
             [[user]]\nname = \"alice\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE}\"]\nquota = \"1000/min\"\n"
        );
        self.write("posternd.toml", &posternd)?;
        let config = self.folder.join("posternd.toml");
        // Of an earlier daemon.
        let _ = std::fs::remove_file(self.log());
        let log =
            files::create_log(&self.log()).map_err(ExitError::system("making the daemon's log"))?;
        let env = [
            (log::LEVEL, "debug".to_owned()),
            (log::FORMAT, String::new()),
        ];
        let wiring = Wiring {
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            stderr: log.into(),
            env: &env,
        };
        let arguments = ["run", "--config"].map(OsStr::new);
        let child = process::start_again(&[arguments[0], arguments[1], config.as_os_str()], wiring)
            .map_err(ExitError::system("starting posternd"))?;
        self.daemon = Some(child);
        self.wait_for(Duration::from_secs(20), || self.status().ok())
            .map(|_| ())
            .ok_or_else(|| {
                ExitError::new(
                    FAILED,
                    format!("posternd did not come up; its log:\n{}", self.log_text()),
                )
            })
    }

    /// Runs `postern` with these arguments in the client's namespace; what it said, and whether it ended well.
    pub(super) fn postern(&self, arguments: &[&str]) -> Result<(bool, String), ExitError> {
        let words: Vec<String> = ["as-client"]
            .iter()
            .chain(arguments)
            .map(ToString::to_string)
            .collect();
        let ran = self.at_client(move || {
            let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
            let wiring = Wiring {
                stdin: Stdio::null(),
                stdout: Stdio::piped(),
                stderr: Stdio::piped(),
                env: &[],
            };
            process::start_again(&words, wiring).and_then(Child::wait_with_output)
        })?;
        let output = ran.map_err(ExitError::system("running postern"))?;
        let said = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).trim_end().to_owned(),
        ))
    }

    /// The packet of one knock, as `postern` makes it.
    pub(super) fn packet(&self, profile: &str, open_for: Duration) -> Result<Vec<u8>, ExitError> {
        let seconds = format!("{}s", open_for.as_secs());
        let (done, said) = self.postern(&[
            "knock",
            profile,
            "--config",
            &self.profile(profile),
            "--for",
            &seconds,
            "--print",
        ])?;
        let packet = base64::engine::general_purpose::STANDARD
            .decode(said.trim())
            .ok()
            .filter(|_| done);
        packet.ok_or_else(|| ExitError::new(FAILED, format!("postern knock --print: {said}")))
    }

    /// Does something in the client's namespace and waits for it.
    pub(super) fn at_client<R: Send + 'static>(
        &self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, ExitError> {
        let (answer, answered) = channel();
        let task: Task = Box::new(move || {
            let _ = answer.send(task());
        });
        let gone = || ExitError::new(FAILED, "the client's namespace could not be made");
        self.task.send(task).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())
    }

    /// Asks again and again until there is an answer, the time is up or a signal has come.
    pub(super) fn wait_for<R>(
        &self,
        most: Duration,
        mut ask: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        wait_for(most, || {
            if self.interrupt.came() {
                Some(None)
            } else {
                ask().map(Some)
            }
        })
        .flatten()
    }

    /// A profile's file.
    pub(super) fn profile(&self, name: &str) -> String {
        self.folder
            .join(format!("{name}.toml"))
            .display()
            .to_string()
    }

    /// The daemon's own counters.
    pub(super) fn status(&self) -> Result<Status, ExitError> {
        match self.ask(&Question::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => Err(ExitError::new(FAILED, "posternd answered something else")),
        }
    }

    /// What the daemon says is open.
    pub(super) fn grants(&self) -> Result<Vec<Grant>, ExitError> {
        match self.ask(&Question::Grants)? {
            Answer::Grants(grants) => Ok(grants),
            _ => Err(ExitError::new(FAILED, "posternd answered something else")),
        }
    }

    /// Closes grants, and waits until they are.
    pub(super) fn close(&self, which: Selection) -> Result<(), ExitError> {
        match self.ask(&Question::Close(which))? {
            Answer::Closed(1..) => Ok(()),
            answer => Err(ExitError::new(
                FAILED,
                format!("posternd closed nothing: {answer:?}"),
            )),
        }
    }

    /// The firewall driver that the daemon says it has.
    pub(super) fn backend(&self) -> &'static str {
        let line = self.logged(&["firewall by"]).unwrap_or_default();
        if line.contains("firewall by iptables") {
            "iptables"
        } else {
            "nftables"
        }
    }

    fn ask(&self, question: &Question) -> Result<Answer, ExitError> {
        control::ask(&self.folder.join("control.sock"), question)
            .map_err(ExitError::system("asking posternd"))
    }

    /// The last line of the daemon's log that contains all these words.
    pub(super) fn logged(&self, words: &[&str]) -> Option<String> {
        let text = self.log_text();
        text.lines()
            .rev()
            .find(|line| words.iter().all(|word| line.contains(word)))
            .map(str::to_owned)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("posternd.log")
    }

    fn log_text(&self) -> String {
        files::read_system(&self.log()).unwrap_or_default()
    }
}

impl World {
    fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_child(&daemon),
                rustix::process::Signal::TERM,
            );
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

/// Asks again every 10 ms until there is an answer or the time is up.
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

/// A thread with a network namespace of its own, that runs task there until nobody has any more.
fn client_namespace() -> Sender<Task> {
    let (task, todo) = channel::<Task>();
    thread::spawn(move || {
        if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
            todo.into_iter().for_each(|task| task());
        }
    });
    task
}

/// A folder that the engine's user may pass through, and only its owner may change.
fn folder() -> Result<PathBuf, ExitError> {
    let bytes: [u8; 8] = random::bytes().map_err(ExitError::system("naming the demo's folder"))?;
    let name = format!("postern-demo-{:016x}", u64::from_be_bytes(bytes));
    let folder = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new()
        .mode(0o755)
        .create(&folder)
        .map_err(ExitError::system(format!("making {}", folder.display())))?;
    Ok(folder)
}

/// A service that greets whoever gets through.
fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello\n");
        }
    });
    Ok(())
}

/// A TCP connection from the client's namespace: how long it took, or that it timed out.
pub(super) fn connect(address: SocketAddr, patience: Duration) -> Result<Duration, String> {
    let start = clock::instant();
    match std::net::TcpStream::connect_timeout(&address, patience) {
        Ok(_) => Ok(clock::elapsed(start)),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(format!("no answer within {}", time::human(patience)))
        }
        Err(error) => Err(format!("answered: {error}")),
    }
}
