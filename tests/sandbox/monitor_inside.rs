//! The process inside a monitor's sandbox: enters it by the monitor's function, then tries what must be refused.
//!
//! Without a backend it enters no sandbox, to show that the sandbox is what refuses.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use caps::Capability;
use postern::adapters::capture::packet;
use postern::adapters::config::disk;
use postern::daemon::monitor::confinement;

use crate::engine_inside::{attempt, limit, mount, raise, read_memory, tell};

pub(crate) const NOTHING: &str = "--nothing";

pub(crate) fn monitor(folder: &Path, backend: Option<&str>) -> ExitCode {
    let config = folder.join("posternd.toml");
    let (bundle, settings) = disk::load(&config).unwrap();
    drop(bundle);
    let parent = std::os::unix::process::parent_id().into();
    if let Some(backend) = backend {
        let gaps = confinement::enter(&settings, &config, backend).unwrap();
        // Root cannot lift this limit everywhere.
        let gaps: Vec<String> = gaps
            .into_iter()
            .filter(|gap| !gap.contains("RLIMIT_MEMLOCK"))
            .collect();
        assert_eq!(gaps, Vec::<String>::new(), "this kernel has all parts");
    }
    needs(folder, backend);
    files(folder);
    others(parent);
    if backend.is_some() {
        rights(parent);
    }
    ExitCode::SUCCESS
}

fn needs(folder: &Path, backend: Option<&str>) {
    for place in ["state/marks", "state.monitor/kept", "run/control.sock"] {
        tell(
            &format!("write to {place}"),
            fs::write(folder.join(place), "x"),
        );
    }
    tell("read its config", fs::read(folder.join("posternd.toml")));
    tell("open a packet socket", packet::open(&[62201]));
    tell("listen on a port", TcpListener::bind("127.0.0.1:0"));
    tell(
        "start itself",
        run(&std::env::current_exe().unwrap(), NOTHING),
    );
    if backend == Some("iptables") {
        tell(
            "run iptables-restore",
            run(Path::new("/usr/sbin/iptables-restore"), "--version"),
        );
    }
}

fn files(folder: &Path) {
    tell("make a file", fs::write(folder.join("new"), "x"));
    tell(
        "write to a file",
        OpenOptions::new()
            .append(true)
            .open(folder.join("open-to-all")),
    );
    tell("make a folder", fs::create_dir(folder.join("folder")));
    tell(
        "rename a file",
        fs::rename(folder.join("renamed"), folder.join("renamed-too")),
    );
    tell("remove a file", fs::remove_file(folder.join("removed")));
    tell(
        "read a file of another user",
        fs::read(folder.join("private")),
    );
    tell("start a shell", run(Path::new("/bin/sh"), "/dev/null"));
    tell("start a program that it made", made(folder));
    // Nobody listens there, so an allowed call fails with another error.
    tell("connect to a port", TcpStream::connect("127.0.0.1:9"));
}

fn made(folder: &Path) -> io::Result<()> {
    let path = folder.join("state/program");
    fs::copy("/bin/sh", &path)?;
    run(&path, "/dev/null")
}

fn others(parent: i64) {
    tell(
        "read its parent's environment",
        fs::read(format!("/proc/{parent}/environ")),
    );
    attempt("signal its parent", libc::SYS_kill, &[parent]);
}

fn rights(parent: i64) {
    attempt(
        "trace its parent",
        libc::SYS_ptrace,
        &[libc::PTRACE_SEIZE.into(), parent],
    );
    tell("read its parent's memory", read_memory(parent));
    mount();
    attempt(
        "make a mount namespace",
        libc::SYS_unshare,
        &[libc::CLONE_NEWNS.into()],
    );
    attempt("load a kernel module", libc::SYS_init_module, &[]);
    // Without its magic numbers, an allowed call fails with another error.
    attempt("reboot", libc::SYS_reboot, &[]);
    for capability in [
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_SYS_MODULE,
        Capability::CAP_SYS_PTRACE,
        Capability::CAP_DAC_OVERRIDE,
        Capability::CAP_SYS_TIME,
    ] {
        tell(&format!("raise {capability}"), raise(capability));
    }
    tell(
        "raise its limit of core dumps",
        limit(libc::RLIMIT_CORE, libc::RLIM_INFINITY),
    );
    attempt(
        "make a user namespace",
        libc::SYS_unshare,
        &[libc::CLONE_NEWUSER.into()],
    );
    attempt("set the clock", libc::SYS_clock_settime, &[]);
    attempt("load another kernel", libc::SYS_kexec_load, &[]);
    attempt("io_uring", libc::SYS_io_uring_setup, &[1]);
    attempt("keep a secret in the kernel", libc::SYS_keyctl, &[]);
    attempt("watch the kernel", libc::SYS_perf_event_open, &[]);
}

fn run(program: &Path, argument: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    let status = command
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(status.to_string()))
    }
}
