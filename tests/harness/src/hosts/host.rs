//! A host: a network namespace and a mount namespace in which nothing that is written stays.
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

/// How long a command may take, and how long one that goes on may take to print what it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// The home folder of the user, on every host.
pub const HOME: &str = "/home/you";
const OWN: [&str; 8] = [
    "/etc",
    "/home",
    "/root",
    "/run",
    "/usr/local",
    "/usr/share",
    "/srv",
    "/var",
];

/// Where the package puts the examples.
const EXAMPLES: &str = "/usr/share/doc/postern/examples";

pub struct Host {
    pub space: Namespace,
    home: PathBuf,
    /// What goes on until the page ends.
    running: Mutex<Vec<Running>>,
}

/// A command that goes on.
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

    /// Writes a file, `~` being the home folder; readable by its owner only, as a new user is told to.
    pub fn write(&self, path: &str, text: &str) {
        let path = match path.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => PathBuf::from(path),
        };
        let text = text.to_owned();
        self.space.run(move || {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        });
    }

    /// Runs a command to its end; what it printed on both streams, in order, and how it ended where that was not well.
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

    /// Starts a command that goes on, and waits until what it has printed, in so many lines, is as it should be.
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
        let deadline = Instant::now() + PATIENCE;
        while !is_right(&running.printed.so_far()) {
            if Instant::now() > deadline || running.child.try_wait().unwrap().is_some() {
                end(&mut running.child, Signal::KILL);
                let text = running.printed.whole();
                if is_right(&text) {
                    break;
                }
                return Err(text);
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.running.lock().unwrap().push(running);
        Ok(())
    }

    /// Waits until the last command that goes on has printed more lines, as many as this, and whether they are as they should be.
    pub fn read_on(&self, count: usize, is_right: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut running = self.running.lock().unwrap();
        let last = running.last_mut().ok_or("nothing goes on")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = last.printed.so_far();
            // A line that has no end yet is still being written.
            let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            let next: String = whole
                .split_inclusive('\n')
                .skip(last.shown)
                .take(count)
                .collect();
            if next.lines().count() == count {
                last.shown += count;
                return if is_right(&next) { Ok(()) } else { Err(next) };
            }
            if Instant::now() > deadline {
                return Err(next);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the last command that goes on, as Ctrl-C does; all that it has printed.
    pub fn interrupt(&self) -> String {
        let mut last = self.running.lock().unwrap().pop().expect("nothing goes on");
        end(&mut last.child, Signal::INT);
        last.printed.whole()
    }

    /// Runs a command at a terminal: once it has printed what it should, types a line and Ctrl-D. All that the terminal showed.
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
        let shown = |printed: &Printed| printed.so_far().replace('\r', "");
        let deadline = Instant::now() + PATIENCE;
        while !(asks_for_it(&shown(&printed)) && shown(&printed).ends_with('\n')) {
            if Instant::now() > deadline || child.try_wait().unwrap().is_some() {
                end(&mut child, Signal::KILL);
                return shown(&printed);
            }
            thread::sleep(Duration::from_millis(10));
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
            shell
                .args(["-c", &script])
                .stdin(input)
                .current_dir(&home)
                .env_clear();
            shell
                .env("HOME", &home)
                .env("USER", "root")
                .env("LANG", "C.UTF-8")
                .env("TERM", "dumb");
            shell.env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            );
            shell
                .stdout(writer.try_clone().unwrap())
                .stderr(writer)
                .process_group(0);
            shell.spawn().unwrap()
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

/// Waits until a command has ended; none for one that does not, which is killed.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            end(child, Signal::KILL);
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
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
    mount(
        Some("tmpfs"),
        folder,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .unwrap();
    for own in OWN {
        let (upper, work) = (
            folder.join(format!("upper{}", own.replace('/', "-"))),
            folder.join(format!("work{}", own.replace('/', "-"))),
        );
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let options = format!(
            "lowerdir={own},upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        mount(
            Some("overlay"),
            own,
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap();
    }
    nix::unistd::sethostname(name).unwrap();
    fs::create_dir_all("/run/started").unwrap();
    fs::write("/etc/hosts", HOSTS).unwrap();
    // Often a link, and of the host's own network: its search list would give the machine more names.
    let _ = fs::remove_file("/etc/resolv.conf");
    fs::write("/etc/resolv.conf", "# nobody is asked\n").unwrap();
    fs::create_dir_all(HOME).unwrap();
    let users = fs::read_to_string("/etc/passwd")
        .unwrap()
        .replace(":/root:", &format!(":{HOME}:"));
    fs::write("/etc/passwd", users).unwrap();
    for leftover in [
        "/etc/postern",
        "/var/lib/postern",
        "/var/lib/postern.monitor",
        "/run/postern",
    ] {
        let _ = fs::remove_dir_all(leftover);
    }
    // This system may have the engine's user, too; a machine of a page is new.
    for list in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
        let text = fs::read_to_string(list).unwrap_or_default();
        if text.contains("\npostern:") {
            let others: String = text
                .split_inclusive('\n')
                .filter(|line| !line.starts_with("postern:"))
                .collect();
            fs::write(list, others).unwrap();
        }
    }
    for (program, built) in [("postern", postern()), ("posternd", posternd())] {
        let path = Path::new("/usr/local/bin").join(program);
        let _ = fs::remove_file(&path);
        symlink(built, &path).unwrap();
    }
    fs::create_dir_all(EXAMPLES).unwrap();
    for example in fs::read_dir(repository().join("dist/examples")).unwrap() {
        let example = example.unwrap();
        fs::copy(
            example.path(),
            Path::new(EXAMPLES).join(example.file_name()),
        )
        .unwrap();
    }
    for (program, script) in SCRIPTS {
        let path = Path::new("/usr/local/bin").join(program);
        let _ = fs::remove_file(&path);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
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
halt() { [ ! -s "$pid" ] || { kill "$(cat "$pid")" 2>/dev/null || true; while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.05; done; rm -f "$pid"; }; }
case "$*" in
  "enable --now posternd"|"start posternd") run ;;
  "restart posternd") halt; run ;;
  "stop posternd"|"disable --now posternd") halt ;;
  "reload posternd") exec /usr/local/bin/posternd reload >/dev/null ;;
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
