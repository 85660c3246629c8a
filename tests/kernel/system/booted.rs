//! A machine on which systemd itself runs as on any host: with processes, mounts and control groups of its own, in the network
//! namespace of a test's gate, over the host's files, of which it changes none.
//!
//! The unit, the user and the programs are those of this tree, where a package puts them. All of it goes with this value, and
//! with the test's process.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use postern_harness::process::children;
use postern_harness::{World, posternd, repository, text, wait_for, wait_until};

/// Makes room in memory and a control group, and waits until the machine is off. $1 is a folder, $2 the next script.
const AROUND: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$1/machine"
mount -t tmpfs -o mode=755 tmpfs "$1/machine"
cd "$1/machine"
mkdir cgroup upper work root
mount -t cgroup2 cgroup2 cgroup
own=$(mktemp -d cgroup/postern-test-XXXXXX)
echo $$ >"$own/cgroup.procs"
setpriv --pdeathsig KILL unshare --mount --pid --ipc --uts --cgroup --fork --kill-child=KILL /bin/sh -c "$2" sh "$@" &
machine=$! code=0
trap 'kill -KILL $machine' TERM
wait $machine || code=$?
echo $$ >cgroup/cgroup.procs
for again in $(seq 50); do find "$own" -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep 0.1; done
exit $code
"#;

/// Lays the machine's files over the host's and starts what runs on it. $3 is the folder of the programs, $4 dist, $5 the first program;
/// $6 says whether Postern is there.
const INSIDE: &str = r#"
set -e
mount --make-rprivate /
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
cd root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do : >dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$1" mnt
rm -rf etc/postern var/lib/postern var/lib/postern.monitor var/lib/postern.protect var/log/journal usr/sbin/policy-rc.d
rm -rf usr/bin/postern usr/bin/posternd usr/lib/systemd/system/postern*.service etc/systemd/system/postern*.service*
sed -i '/^postern:/d' etc/passwd etc/group etc/shadow etc/gshadow
mkdir -p var/lib/prometheus/node-exporter
# The firewall of the host is not the machine's.
for service in ferm fail2ban firewalld netfilter-persistent nftables shorewall shorewall6 ufw; do ln -sf /dev/null etc/systemd/system/$service.service; done
if [ "$6" = with-postern ]; then
  for program in postern posternd; do rm -f usr/bin/$program; : >usr/bin/$program; mount --bind "$3/$program" usr/bin/$program; done
  cp "$4"/systemd/*.service usr/lib/systemd/system/
  cp "$4/sysusers.d/postern.conf" usr/lib/sysusers.d/
  cp "$4/tmpfiles.d/postern.conf" usr/lib/tmpfiles.d/
fi
# What a test changes before the boot.
if [ -e "$1/prepare" ]; then /bin/sh -e "$1/prepare"; fi
# A failure ends the script: after this, systemd uses the files at / as its own.
mkdir -p old
pivot_root . old
umount -l /old
without=-sys_module,-sys_time,-sys_rawio,-syslog
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --bounding-set $without --inh-caps $without \
  "$5" --system --unit=sysinit.target --log-target=journal --show-status=no
"#;

const INIT: &str = "/lib/systemd/systemd";

pub(crate) struct Booted {
    _around: Around,
    init: u32,
}

struct Around(Child);

pub(crate) fn is_possible() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let folder = tempfile::Builder::new()
        .prefix("postern-machine-")
        .tempdir()
        .unwrap();
    let tried = || {
        around(folder.path(), "/bin/true", "with-postern")
            .status()
            .is_ok_and(|status| status.success())
    };
    is_root && Path::new(INIT).exists() && tried()
}

fn around(folder: &Path, init: &str, with: &str) -> Command {
    let programs = Path::new(posternd()).parent().unwrap();
    let dist = repository().join("dist");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "unshare", "--mount"]);
    command.args(["/bin/sh", "-c", AROUND, "sh"]).arg(folder);
    command.arg(INSIDE).args([programs, &dist]);
    command.args([init, with]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Booted {
    pub(crate) fn start(world: &World) -> Self {
        Self::start_with(world, "with-postern")
    }

    pub(crate) fn start_bare(world: &World) -> Self {
        Self::start_with(world, "bare")
    }

    fn start_with(world: &World, with: &'static str) -> Self {
        let folder = world.folder().to_owned();
        let around = Around(
            world
                .gate
                .run(move || around(&folder, INIT, with).spawn().unwrap()),
        );
        let init = wait_for("the machine's first process", || {
            child_of(child_of(around.0.id(), "unshare")?, "systemd")
        });
        let machine = Self {
            _around: around,
            init,
        };
        wait_for("systemd to be up", || {
            let said = machine.ask("systemctl is-system-running").1;
            ["running", "degraded", "starting"]
                .contains(&said.trim())
                .then_some(())
        });
        machine.tell("systemctl start sysinit.target");
        machine
    }

    pub(crate) fn configure(&self) {
        self.tell("mkdir -p -m 755 /etc/postern && umask 077 && sed '/^state_dir/d; /^control_socket/d' /mnt/posternd.toml >/etc/postern/posternd.toml");
    }

    pub(crate) fn ask(&self, line: &str) -> (bool, String) {
        let mut command = Command::new("nsenter");
        let target = self.init.to_string();
        command.args(["--target", &target, "--all", "/bin/sh", "-c", line]);
        command.env_clear().stdin(Stdio::null());
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        let output = command.env("PATH", path).output().unwrap();
        let said = text(&output) + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    pub(crate) fn tell(&self, line: &str) -> String {
        let (done, said) = self.ask(line);
        let log = || self.ask("journalctl -b -n 40 --no-pager -o cat").1;
        assert!(done, "{line}\n{said}\n{}", log());
        said.trim_end().to_owned()
    }

    pub(crate) fn holders(&self) -> Vec<String> {
        let said: serde_json::Value =
            serde_json::from_str(&self.tell("posternd grants --json")).unwrap();
        let grants = said["grants"].as_array().unwrap().iter();
        let user = |grant: &serde_json::Value| grant["user"].as_str().unwrap().to_owned();
        grants.map(user).collect()
    }

    pub(crate) fn shows(&self, property: &str) -> String {
        self.tell(&format!("systemctl show posternd --value -p {property}"))
    }

    pub(crate) fn expect_shown(&self, properties: &[(&str, &str)]) {
        for (property, value) in properties {
            assert_eq!(self.shows(property), *value, "{property}");
        }
    }

    pub(crate) fn wait_until_it_shows(&self, property: &str, value: &str) {
        wait_until(&format!("{property}={value}"), || {
            self.shows(property) == value
        });
    }
}

impl Booted {
    pub(crate) fn wait_until_it_says(&self, line: &str, words: &str) {
        wait_until(&format!("{words:?} from {line}"), || {
            self.ask(line).1.contains(words)
        });
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        // With the machine's first process goes everything on it.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

fn child_of(pid: u32, program: &str) -> Option<u32> {
    children(pid).into_iter().find(|child| {
        fs::read_to_string(format!("/proc/{child}/comm"))
            .is_ok_and(|comm| comm.trim_end() == program)
    })
}
