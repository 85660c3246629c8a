//! A host: a network namespace and a mount namespace whose files are temporary.
//!
//! Folders such as /etc and /var are overlays in memory, so commands run as a page shows them. `sudo` runs its arguments, for
//! all are root here. `systemctl` and `journalctl` are scripts for the few calls that pages make.

use std::fs;
use std::io::{PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Namespace, postern, posternd, repository, wait_for};

/// The deadline for a command to end, or for a running one to print the expected lines.
const PATIENCE: Duration = Duration::from_secs(60);

/// The home folder of the user, on every host.
pub const HOME: &str = "/home/you";
const OWN: [&str; 9] = [
    "/etc",
    "/home",
    "/root",
    "/run",
    "/usr/bin",
    "/usr/local",
    "/usr/share",
    "/srv",
    "/var",
];

/// Where the package puts the examples.
const EXAMPLES: &str = "/usr/share/doc/postern/examples";

/// A host.
pub struct Host {
    pub space: Namespace,
    home: PathBuf,
    /// Commands that run until the page ends.
    running: Mutex<Vec<Running>>,
}

/// A command that keeps running.
struct Running {
    child: Child,
    printed: Printed,
    /// Lines of it that the page has shown.
    shown: usize,
}

/// What a command has printed so far, and a writer to the same pipe.
struct Printed {
    text: Arc<Mutex<String>>,
    pipe: PipeWriter,
}

/// Marks the end of what a command printed: after its end the host writes this into the same pipe.
const MARK: &str = "\u{1e}the command has ended\u{1e}";

impl Printed {
    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// All that the command printed before it ended. A daemon that it left behind may hold the pipe open.
    fn whole(&mut self) -> String {
        self.pipe.write_all(MARK.as_bytes()).unwrap();
        wait_for("the end of what a command printed", || {
            Some(self.so_far().split_once(MARK)?.0.to_owned())
        })
    }
}

impl Host {
    /// A host with the programs of this build; `shared` is a folder of the test.
    pub fn new(name: &str, shared: &Path) -> Self {
        let folder = shared.join(name);
        fs::create_dir(&folder).unwrap();
        let space = Namespace::new();
        let (at, called) = (folder.clone(), name.to_owned());
        space.run(move || make_private(&at, &called));
        Self {
            space,
            home: PathBuf::from(HOME),
            running: Mutex::new(Vec::new()),
        }
    }

    /// Writes a file, `~` being the home folder; readable by its owner only, as the pages tell a new user.
    pub fn write(&self, path: &str, text: &str) {
        let path = match path.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => PathBuf::from(path),
        };
        let text = text.to_owned();
        let is_config = path == Path::new("/etc/postern/posternd.toml");
        self.space.run(move || {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        });
        if is_config {
            // Where a config is installed, the package has made the engine's user.
            self.run(
                "getent passwd postern || useradd --system --user-group --no-create-home postern",
            );
        }
    }

    /// Runs a command to its end. Returns what it printed on both streams, in order, and how it failed if it did.
    pub fn run(&self, command: &str) -> String {
        let (mut child, mut printed) = self.start(command);
        let status = ended(&mut child);
        let text = printed.whole();
        match status {
            Some(status) if status.success() => text,
            Some(status) => format!("{text}[{status}]\n"),
            None => format!("{text}[has not ended after {PATIENCE:?}]\n"),
        }
    }

    /// Starts a command that keeps running. Waits until the first lines that it printed, this many, pass the test.
    pub fn run_on(
        &self,
        command: &str,
        shown: usize,
        is_right: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let (child, printed) = self.start(command);
        let mut running = Running {
            child,
            printed,
            shown,
        };
        let child = &mut running.child;
        patiently(|| is_right(&running.printed.so_far()) || child.try_wait().unwrap().is_some());
        if !is_right(&running.printed.so_far()) {
            end(&mut running.child, Signal::KILL);
            let text = running.printed.whole();
            if !is_right(&text) {
                return Err(text);
            }
        }
        self.running.lock().unwrap().push(running);
        Ok(())
    }

    /// Waits until the last running command has printed this many more lines. Returns whether they pass the test.
    pub fn read_on(&self, count: usize, is_right: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut running = self.running.lock().unwrap();
        let last = running.last_mut().ok_or("no command is running")?;
        let mut next = String::new();
        let is_there = patiently(|| {
            let text = last.printed.so_far();
            // A line that has no end yet is still being written.
            let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            let lines = whole.split_inclusive('\n').skip(last.shown);
            next = lines.take(count).collect();
            next.lines().count() == count
        });
        last.shown += count;
        if is_there && is_right(&next) {
            Ok(())
        } else {
            Err(next)
        }
    }

    /// Ends the last running command, as Ctrl-C does. Returns all that it has printed.
    pub fn interrupt(&self) -> String {
        let last = self.running.lock().unwrap().pop();
        let Some(mut last) = last else {
            return "(no command is running)".to_owned();
        };
        end(&mut last.child, Signal::INT);
        last.printed.whole()
    }

    /// Runs a command at a terminal: once it has printed the expected text, types a line and Ctrl-D. Returns all that the terminal showed.
    pub fn run_and_type(
        &self,
        command: &str,
        line: &str,
        asks_for_it: impl Fn(&str) -> bool,
    ) -> String {
        let at_terminal = format!("SHELL=/bin/sh script -qec 'exec {command}' /dev/null");
        assert!(!command.contains('\''), "{command}: no quotes here");
        let (mut child, mut printed) = self.start_with(&at_terminal, Stdio::piped());
        let mut keyboard = child.stdin.take().unwrap();
        let shown = || printed.so_far().replace('\r', "");
        let is_asked = || asks_for_it(&shown()) && shown().ends_with('\n');
        patiently(|| is_asked() || child.try_wait().unwrap().is_some());
        if !is_asked() {
            end(&mut child, Signal::KILL);
            return shown();
        }
        writeln!(keyboard, "{line}").unwrap();
        drop(keyboard);
        ended(&mut child);
        printed.whole().replace('\r', "")
    }

    fn start(&self, command: &str) -> (Child, Printed) {
        self.start_with(command, Stdio::null())
    }

    fn start_with(&self, command: &str, input: Stdio) -> (Child, Printed) {
        let (script, home) = (command.to_owned(), self.home.clone());
        let (reader, writer) = std::io::pipe().unwrap();
        let pipe = writer.try_clone().unwrap();
        let child = self.space.run(move || {
            let mut shell = Command::new("bash");
            shell.args(["-c", &script]).stdin(input).current_dir(&home);
            shell.env_clear().env("HOME", &home).env("USER", "root");
            shell.env("LANG", "C.UTF-8").env("TERM", "dumb");
            let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
            shell.env("PATH", path).stdout(writer.try_clone().unwrap());
            shell.stderr(writer).process_group(0).spawn().unwrap()
        });
        let text = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&text);
        thread::spawn(move || collect(OwnedFd::from(reader), &into));
        (child, Printed { text, pipe })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for mut running in self.running.lock().unwrap().drain(..).rev() {
            end(&mut running.child, Signal::INT);
        }
        // Servers, and the daemon that the script `systemctl` started, write down their process groups.
        self.space.run(|| {
            for entry in fs::read_dir("/run/started").into_iter().flatten().flatten() {
                let pid = fs::read_to_string(entry.path())
                    .ok()
                    .and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
                if let Some(pid) = pid {
                    let _ = kill_process_group(pid, Signal::TERM);
                }
            }
        });
    }
}

/// Waits until the condition holds, at most [`PATIENCE`]. Returns whether it does.
fn patiently(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a command has ended. Kills it after the deadline and returns `None`.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    patiently(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if status.is_none() {
        end(child, Signal::KILL);
    }
    status
}

fn collect(from: OwnedFd, into: &Mutex<String>) {
    let (mut from, mut bytes) = (fs::File::from(from), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        into.lock()
            .unwrap()
            .push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

fn end(child: &mut Child, signal: Signal) {
    let group = Pid::from_child(child);
    let _ = kill_process_group(group, signal);
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = kill_process_group(group, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// On the host's own thread: a mount namespace, its own folders, the programs and the scripts.
fn make_private(folder: &Path, name: &str) {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let tmpfs = Some("tmpfs");
    mount(tmpfs, folder, tmpfs, MsFlags::empty(), Some("mode=755")).unwrap();
    let overlay = Some("overlay");
    for own in OWN {
        let [upper, work] =
            ["upper", "work"].map(|kind| folder.join(format!("{kind}{}", own.replace('/', "-"))));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let (upper, work) = (upper.display(), work.display());
        let options = format!("lowerdir={own},upperdir={upper},workdir={work}");
        mount(overlay, own, overlay, MsFlags::empty(), Some(&*options)).unwrap();
    }
    nix::unistd::sethostname(name).unwrap();
    fs::create_dir_all("/run/started").unwrap();
    fs::write("/etc/hosts", HOSTS).unwrap();
    // Often a link, and of the host's own network: its search list would give the machine more names.
    let _ = fs::remove_file("/etc/resolv.conf");
    fs::write("/etc/resolv.conf", "# nobody is asked\n").unwrap();
    fs::create_dir_all(HOME).unwrap();
    // This system may have Postern and the engine's user, too; a machine of a page is new.
    let clean = format!(
        "sed -i 's,:/root:,:{HOME}:,' /etc/passwd; sed -i '/^postern:/d' /etc/passwd /etc/group /etc/shadow /etc/gshadow
        rm -rf /etc/postern /var/lib/postern /var/lib/postern.monitor /run/postern"
    );
    let cleaned = Command::new("sh").args(["-ec", &clean]).status();
    assert!(cleaned.unwrap().success());
    let into = |folder: &str, program: &str| {
        let path = Path::new(folder).join(program);
        let _ = fs::remove_file(&path);
        path
    };
    symlink(postern(), into("/usr/local/bin", "postern")).unwrap();
    // The second is where the package puts it. Imported hooks name that path.
    for folder in ["/usr/local/bin", "/usr/bin"] {
        symlink(posternd(), into(folder, "posternd")).unwrap();
    }
    for (program, script) in SCRIPTS {
        let path = into("/usr/local/bin", program);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir_all(EXAMPLES).unwrap();
    for example in fs::read_dir(repository().join("dist/examples")).unwrap() {
        let from = example.unwrap().path();
        fs::copy(&from, Path::new(EXAMPLES).join(from.file_name().unwrap())).unwrap();
    }
}

const HOSTS: &str = "\
127.0.0.1 localhost
::1 localhost
192.0.2.1 gate.example.org gate
2001:db8::1 gate.example.org gate
203.0.113.9 you
2001:db8:9::9 you
10.0.0.5 inside stun.example.net
192.0.2.11 gate1
192.0.2.12 gate2
192.0.2.13 third
fd00::5 stun.example.net
";

const SCRIPTS: [(&str, &str); 3] = [
    ("sudo", "#!/bin/sh\nexec \"$@\"\n"),
    // Starts what the unit of posternd starts, and waits, as Type=notify does, until it serves.
    (
        "systemctl",
        r#"#!/bin/sh
set -eu
log=/var/log/posternd.log; pid=/run/started/posternd
run() {
  : >"$log"
  setsid sh -c 'echo $$ >"$1"; exec /usr/local/bin/posternd run >>"$2" 2>&1' x "$pid" "$log" </dev/null >/dev/null 2>&1 &
  for _ in $(seq 600); do
    grep -q "the engine serves" "$log" && return 0
    [ ! -s "$pid" ] || kill -0 "$(cat "$pid")" 2>/dev/null || break
    sleep 0.05
  done
  echo "Job for posternd.service failed; see journalctl -u posternd" >&2; exit 1
}
# Another program, by its name and what its unit runs.
begin() { setsid sh -c "echo \$\$ >/run/started/$1; $2" </dev/null >"/var/log/$1.log" 2>&1 & }
halt() { [ ! -s "$pid" ] || { kill "$(cat "$pid")" 2>/dev/null || true; while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.05; done; rm -f "$pid"; }; }
case "$*" in
  "enable --now posternd"|"start posternd") run ;;
  "restart posternd") halt; run ;;
  "stop posternd"|"disable --now posternd") halt ;;
  "reload posternd") exec /usr/local/bin/posternd reload >/dev/null ;;
  "disable --now fwknop-server"|"disable --now knockd") ;;
  "enable --now --no-block etcd") begin etcd "set -a; . /etc/default/etcd; exec etcd" ;;
  "enable --now keepalived") begin keepalived "exec keepalived --vrrp --dont-fork --log-console" ;;
  "stop etcd"|"stop keepalived") pid="/run/started/$2"; halt ;;
  "is-active posternd") [ -s "$pid" ] && kill -0 "$(cat "$pid")" && echo active ;;
  *) echo "systemctl $*: not here" >&2; exit 1 ;;
esac
"#,
    ),
    (
        "journalctl",
        "#!/bin/sh\n[ \"$1 $2\" = '-u posternd' ] || { echo \"journalctl $*: not here\" >&2; exit 1; }\nexec cat /var/log/posternd.log\n",
    ),
];
