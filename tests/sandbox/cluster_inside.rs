//! The process inside the sandbox of a cluster process: connects to the coordinator, then tries what must be refused.

use std::fs;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::process::ExitCode;

use postern::adapters::sandbox;
use postern::daemon::engine::privileges;

use crate::engine_inside::{USER, attempt, tell};

pub(crate) fn cluster(folder: &Path) -> ExitCode {
    let [coordinator, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [coordinator, closed] = [&coordinator, &other].map(|one| one.local_addr().unwrap());
    privileges::give_up(Some((USER, USER))).unwrap();
    let gaps = sandbox::cluster(&[coordinator.port()]).unwrap();
    assert_eq!(gaps, Vec::<String>::new(), "this kernel has all parts");

    tell(
        "connect to the coordinator",
        TcpStream::connect(coordinator),
    );
    tell("look up localhost", "localhost:1".to_socket_addrs());
    tell("start a thread", std::thread::Builder::new().spawn(|| ()));

    tell("connect to another port", TcpStream::connect(closed));
    tell("listen on a port", TcpListener::bind("127.0.0.1:0"));
    tell("bind a UDP port", UdpSocket::bind("127.0.0.1:0"));
    for (name, family, kind) in [
        ("packet socket", libc::AF_PACKET, libc::SOCK_DGRAM),
        ("unix socket", libc::AF_UNIX, libc::SOCK_STREAM),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
    ] {
        attempt(name, libc::SYS_socket, &[family.into(), kind.into()]);
    }
    tell("list the state", fs::read_dir(folder.join("state")));
    tell(
        "read a file that all may read",
        fs::read(folder.join("open-to-all")),
    );
    tell("write to /tmp", fs::write("/tmp/postern-cluster", "x"));
    let parent = i64::from(std::os::unix::process::parent_id());
    attempt("signal its parent", libc::SYS_kill, &[parent, 0]);
    attempt("trace its parent", libc::SYS_ptrace, &[16, parent]);
    attempt("fork", libc::SYS_clone, &[libc::SIGCHLD.into()]);
    let program = c"/bin/true".as_ptr() as i64;
    attempt("execute /bin/true", libc::SYS_execve, &[program]);
    ExitCode::SUCCESS
}
