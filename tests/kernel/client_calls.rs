//! What the client asks of the system for one knock: the system calls and the files.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use postern_harness::Requirement::{Program, Root};
use postern_harness::{Machine, find, postern, trials};

/// The calls between the first line of the program and its end, without those for memory.
const CALLS_MAX: usize = 35;
/// How the program begins.
const FIRST: &str = "prctl(PR_SET_DUMPABLE";
const MEMORY: [&str; 5] = ["brk(", "mmap(", "munmap(", "mprotect(", "madvise("];
const LIST: &str = "/etc/ld.so.cache";
const C: &str = "/libc.so.6";

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    trials![machine, &[Root, Program("strace")]; knock_needs_few_system_calls]
}

fn knock_needs_few_system_calls() {
    let gate = UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let address = gate.local_addr().unwrap();
    let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let profile = format!(
        "[home]\ngate = \"g\"\naddress = \"{address}\"\nkey = \"{key}\"\nservices = [\"tcp/22\"]\n"
    );
    fs::write(&config, profile).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let log = folder.path().join("strace");
    let status = Command::new(find("strace").unwrap())
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .args([postern(), "knock", "home", "--config"])
        .arg(&config)
        .env_clear()
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(gate.recv(&mut [0; 1024]).unwrap() > 0);

    let log = fs::read_to_string(log).unwrap();
    let opened = |line: &&str| line.contains("open") && !line.contains("= -1 ");
    let libraries = log
        .lines()
        .filter(opened)
        .filter(|line| line.contains(".so"));
    let libraries: Vec<&str> = libraries.collect();
    assert!(
        matches!(libraries[..], [list, c] if list.contains(LIST) && c.contains(C)),
        "{libraries:#?}"
    );
    let (_, own) = log.split_once(FIRST).unwrap();
    let own: Vec<&str> = own.lines().skip(1).collect();
    let files: Vec<&&str> = own.iter().filter(|line| opened(line)).collect();
    let [file] = files[..] else {
        panic!("{files:#?}")
    };
    assert!(file.contains("config.toml"), "{file}");
    let calls = own
        .iter()
        .filter(|line| !MEMORY.iter().any(|call| line.contains(call)));
    let calls: Vec<_> = calls.collect();
    assert!(calls.len() <= CALLS_MAX, "{} {calls:#?}", calls.len());
    let spawns = |line: &&&&str| line.contains("clone") || line.contains("rt_sig");
    assert_eq!(calls.iter().find(spawns), None);
}
