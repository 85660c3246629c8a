//! Log lines of the real kernel open a service: from /dev/kmsg, from the journal, and from the file of a real rsyslog.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use postern_harness::process::children;
use postern_harness::world::Captured;
use postern_harness::{
    FAMILIES, Family, GateConfig, Namespace, SERVICE, World, find, run, wait_for, wait_until,
};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

const SWITCH: &str = "/proc/sys/net/netfilter/nf_log_all_netns";
const BOOK: [&str; 4] = ["5005", "5008", "1002", "1050"];

/// Lets the rules of a namespace write to the kernel's log, one test at a time on this machine.
struct AllNamespacesLog {
    before: String,
    _lock: File,
}

impl AllNamespacesLog {
    fn switch_on() -> Self {
        let lock = File::open(SWITCH).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let before = fs::read_to_string(SWITCH).unwrap();
        fs::write(SWITCH, "1").unwrap();
        Self {
            before,
            _lock: lock,
        }
    }
}

impl Drop for AllNamespacesLog {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.before);
    }
}

/// A process that ends with this value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No other test has it: all of them write to one kernel's log.
fn prefix(name: &str) -> String {
    format!("P{}{name} ", std::process::id())
}

fn config(backend: &str, source: &str, prefix: &str) -> GateConfig {
    let user = |sequence: &str| {
        format!(
            "services = [\"tcp/{SERVICE}\"]\nquota = \"1000/min\"\nduration = \"2s\"\n{sequence}"
        )
    };
    let book = "sequence = [\"tcp/5005\", \"tcp/5008\", \"tcp/1002\", \"tcp/1050\"]";
    GateConfig::empty(backend)
        .gate(&format!("capture = {{ {source}, prefix = \"{prefix}\" }}"))
        .user_with("legacy", &user(book))
        .user_with("cd00r", &user("sequence = [\"tcp/5001\"]"))
}

/// The rules of the manual.
fn log_new_connections(gate: &Namespace, backend: &str, prefix: &str) {
    let ports = "5001,5005,5008,1002,1050";
    if backend == "nftables" {
        let rules = format!(
            "table inet knocks {{
                chain seen {{
                    type filter hook prerouting priority raw
                    tcp dport {{ {ports} }} tcp flags & (syn | ack) == syn log prefix \"{prefix}\" flags tcp sequence
                }}
            }}"
        );
        let ran = gate.run(move || {
            let mut nft = Command::new(find("nft").unwrap());
            nft.arg(&rules).output().unwrap()
        });
        assert!(ran.status.success(), "{ran:?}");
        return;
    }
    for program in ["iptables", "ip6tables"] {
        let rule = format!(
            "-t raw -A PREROUTING -p tcp --syn -m multiport --dports {ports} -j LOG --log-tcp-sequence --log-prefix"
        );
        let words: Vec<&str> = rule.split(' ').chain([prefix]).collect();
        let ran = run(gate, program, &words);
        assert!(ran.status.success(), "{ran:?}");
    }
}

fn knock(world: &World, family: Family, ports: &[&str]) {
    let gate = family.address(1).to_string();
    let ran = run(
        &world.first.space,
        "knock",
        &[&[gate.as_str()], ports].concat(),
    );
    assert!(ran.status.success(), "{ran:?}");
}

/// The whole book sequence with each SYN twice, one SYN, over both families; half a sequence opens nothing.
fn expect_sequences_open(world: &World) {
    for family in FAMILIES {
        world.first.expect_shut_out(family);
        knock(
            world,
            family,
            &["5005", "5005", "5008", "5008", "1002", "1002", "1050"],
        );
        world.first.expect_let_in(family);
        world.second.expect_shut_out(family);
        world.wait_until_closed();
        knock(world, family, &["5001"]);
        world.first.expect_let_in(family);
        world.wait_until_closed();
    }
    knock(world, Family::V4, &BOOK[..3]);
    world.daemon.wait_for_admitted(4);
}

fn captured(world: &World) -> Captured {
    let status = world.daemon.status();
    status.captures.into_iter().next().unwrap()
}

/// A line as the kernel writes it for one SYN.
fn forged(prefix: &str) -> String {
    format!(
        "{prefix}IN=eth0 OUT= MAC= SRC=10.77.0.2 DST=10.77.0.1 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF PROTO=TCP SPT=4000 DPT=5001 WINDOW=64240 RES=0x00 SYN URGP=0"
    )
}

fn wait_for_malformed(world: &World, count: u64) {
    wait_for("a malformed line", || {
        (captured(world).malformed? >= count).then_some(())
    });
}

pub(crate) fn lines_of_the_kernels_log_open(backend: &'static str) {
    let _switch = AllNamespacesLog::switch_on();
    let prefix = prefix(&format!("k{}", &backend[..1]));
    let world = World::start(&config(backend, "kmsg = true", &prefix));
    log_new_connections(&world.gate, backend, &prefix);
    // User space cannot write with the kernel's facility, whatever it says.
    for level in ["", "<4>", "<12>", "<0>"] {
        fs::write("/dev/kmsg", format!("{level}{}\n", forged(&prefix))).unwrap();
    }
    wait_for_malformed(&world, 4);
    world.expect_nothing_open();
    expect_sequences_open(&world);
    wait_until("all hits", || captured(&world).received == 19);
}

/// rsyslog writes the file; it is moved away, and copied and cut.
pub(crate) fn lines_of_a_rotated_file_open(backend: &'static str) {
    let _switch = AllNamespacesLog::switch_on();
    let prefix = prefix("f");
    let mut world = World::prepare(&GateConfig::empty(backend));
    let path = world.folder().join("kern.log");
    let source = format!("log = \"{}\", trusted_file = true", path.display());
    world.rewrite(&config(backend, &source, &prefix));
    log_new_connections(&world.gate, backend, &prefix);
    // It is there before the file is.
    world.start_again();
    let why = wait_for("the missing file", || captured(&world).why);
    assert!(why.contains("No such file"), "{why}");
    let daemon = rsyslog(&world);
    wait_until("the file", || captured(&world).why.is_none());
    expect_sequences_open(&world);

    fs::rename(&path, path.with_extension("1")).unwrap();
    File::create(&path).unwrap();
    kill_process(Pid::from_child(&daemon.0), Signal::HUP).unwrap();
    knock(&world, Family::V4, &BOOK);
    world.first.expect_let_in(Family::V4);
    world.wait_until_closed();

    // A file that is cut was longer than what follows.
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&b"another line\n".repeat(1000)).unwrap();
    wait_until("all of it to be read", || {
        let read = offset_of_log(world.daemon.engine());
        read == file.metadata().unwrap().len()
    });
    file.set_len(0).unwrap();
    knock(&world, Family::V6, &BOOK);
    world.first.expect_let_in(Family::V6);
    let said = world.at_gate(&["check"]);
    assert!(said.contains("[log-file]"), "{said}");
}

/// An instance of its own, which reads the kernel's log and nothing else.
fn rsyslog(world: &World) -> Program {
    let folder = world.folder().display();
    let config = format!(
        "global(workDirectory=\"{folder}\")\nmodule(load=\"imkmsg\" ParseKernelTimestamp=\"off\")\nkern.* action(type=\"omfile\" file=\"{folder}/kern.log\")\n"
    );
    let config = world.write("rsyslog.conf", &config);
    let mut command = Command::new(find("rsyslogd").unwrap());
    command
        .arg("-n")
        .arg("-f")
        .arg(config)
        .arg("-i")
        .arg(world.folder().join("rsyslog.pid"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Program(command.spawn().unwrap())
}

/// A journal of its own in the daemon's mount namespace. A second shell ends it, because the monitor's sandbox lets no signal out.
const JOURNAL: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal
(/lib/systemd/systemd-journald & while kill -0 $$; do sleep 0.1; done; kill -KILL $!) 2>/dev/null &
while ! [ -S /run/systemd/journal/dev-log ]; do sleep 0.05; done
exec \"$@\"";

pub(crate) fn lines_of_the_journal_open(backend: &'static str) {
    let _switch = AllNamespacesLog::switch_on();
    let prefix = prefix("j");
    let mut world = World::prepare(&config(backend, "journal = true", &prefix));
    log_new_connections(&world.gate, backend, &prefix);
    world.daemon.through = Some(JOURNAL.to_owned());
    world.start_again();
    expect_sequences_open(&world);
    // What any local user can write, and what root can.
    let forge = format!("line='{}'\n{FORGE}", forged(&prefix));
    let forged = inside(&world, &forge);
    assert!(forged.status.success(), "{forged:?}");
    assert_eq!(world.daemon.status().admitted, 4);
    world.expect_nothing_open();
    let journalctl = || named(world.daemon.pid(), "journalctl");
    let first = wait_for("journalctl", journalctl);
    kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::KILL).unwrap();
    wait_until("another journalctl", || {
        captured(&world).restarts == Some(1)
    });
    // It may not read yet.
    wait_until("a hit", || {
        knock(&world, Family::V4, &["5001"]);
        !world.daemon.grants().is_empty()
    });
    let second = journalctl().unwrap();
    assert!(world.daemon.stop().success());
    assert!(!Path::new(&format!("/proc/{second}")).exists());
}

/// Writes $line in each way, and waits until the journal has all three.
const FORGE: &str = r#"
setpriv --reuid 65534 --clear-groups logger -u /run/systemd/journal/dev-log -p kern.warning -t kernel "$line"
printf 'MESSAGE=%s\n_TRANSPORT=kernel\nSYSLOG_FACILITY=0\n' "$line" | setpriv --reuid 65534 --clear-groups logger --journald
echo "$line" >/dev/kmsg
for again in $(seq 100); do
  [ "$(journalctl --quiet --no-pager --output=cat | grep -cF "$line")" = 3 ] && exit 0
  sleep 0.1
done
exit 1"#;

fn inside(world: &World, script: &str) -> Output {
    let target = world.daemon.pid().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &target, "--mount", "/bin/sh", "-c", script]);
    command.output().unwrap()
}

/// How far an engine has read its log file.
fn offset_of_log(engine: u32) -> u64 {
    let files = fs::read_dir(format!("/proc/{engine}/fd")).unwrap();
    let is_log = |path: &Path| fs::read_link(path).is_ok_and(|file| file.ends_with("kern.log"));
    let log = files
        .map(|file| file.unwrap().path())
        .find(|path| is_log(path));
    let number = log.unwrap().file_name().unwrap().to_owned();
    let info = fs::read_to_string(format!("/proc/{engine}/fdinfo/{}", number.display())).unwrap();
    let position = info.lines().find_map(|line| line.strip_prefix("pos:"));
    position.unwrap().trim().parse().unwrap()
}

fn named(parent: u32, program: &str) -> Option<u32> {
    let is_it = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim_end() == program)
    };
    children(parent).into_iter().find(is_it)
}
