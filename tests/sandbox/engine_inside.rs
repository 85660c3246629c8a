//! The process inside an engine's sandbox: enters it, then tries what an attacker would try.
#![allow(
    unsafe_code,
    reason = "system calls that no safe function makes, only to see them refused"
)]

use std::fs;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;

use caps::Capability;
use postern::adapters::capture::hint_filter::HintFilter;
use postern::adapters::capture::packet::{self, CapturedInterface, PacketCapture};
use postern::adapters::sandbox;
use postern::adapters::store::ReplayStore;
use postern::adapters::store::disk::DiskStore;
use postern::daemon::engine::{limits, privileges};
use postern::model::mark::{MarkRecord, StoredTimes};
use postern::model::time::Timestamp;
use postern_proto::Mark;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

pub(crate) const USER: u32 = 65_534;

pub(crate) fn engine(state: &Path) -> ExitCode {
    // The descriptors that an engine gets.
    let packets = packet::open(&[62201]).unwrap();
    let control = UnixListener::bind(state.with_file_name("control")).unwrap();
    let client = UnixStream::connect(state.with_file_name("control")).unwrap();
    let unconnected = UdpSocket::bind("127.0.0.1:0").unwrap();
    let packet = packets.as_raw_fd().into();
    let netfilter = [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER].map(i64::from);
    let [family, kind, protocol] = netfilter;
    let netfilter = call(libc::SYS_socket, [family, kind, protocol, 0, 0]).unwrap();
    let parent = std::os::unix::process::parent_id().into();

    limits::lower(1).unwrap();
    privileges::give_up(Some((USER, USER))).unwrap();
    let gaps = sandbox::engine(state).unwrap();
    assert_eq!(gaps, Vec::<String>::new(), "this kernel has all parts");

    shared(packet, control.as_raw_fd().into());
    needs(state, packets, &control, client);
    files(state);
    sockets(&unconnected);
    command_netfilter(netfilter);
    link(&UnixStream::pair().unwrap().0);
    others(parent);
    rights();
    limited(state);
    // Last, because it would end this process.
    let none: [*const libc::c_char; 1] = [std::ptr::null()];
    attempt(
        "execute /bin/true",
        libc::SYS_execve,
        &[
            c"/bin/true".as_ptr() as i64,
            none.as_ptr() as i64,
            none.as_ptr() as i64,
        ],
    );
    ExitCode::SUCCESS
}

fn needs(state: &Path, packets: OwnedFd, control: &UnixListener, mut client: UnixStream) {
    let store = DiskStore::open(state).map_err(|error| io::Error::other(error.to_string()));
    let at = Timestamp::from_millis(1_760_000_000_000);
    let record = MarkRecord {
        mark: Mark([1; 16]),
        timestamp: at,
        admitted: at,
    };
    let committed = store.and_then(|mut store| {
        tell("open its store", Ok(()));
        store
            .commit(
                &[record],
                StoredTimes {
                    floor: at,
                    horizon: at,
                },
            )
            .map_err(|error| io::Error::other(error.to_string()))
    });
    tell("commit a mark", committed);
    let thread = std::thread::Builder::new()
        .name("one more".to_owned())
        .spawn(|| 7);
    tell(
        "start a thread",
        thread.map(|thread| assert_eq!(thread.join().unwrap(), 7)),
    );
    std::thread::sleep(std::time::Duration::from_millis(1));
    tell(
        "read the clock",
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_err(io::Error::other),
    );
    tell(
        "random bytes",
        postern::adapters::random::bytes::<32>().map_err(io::Error::other),
    );
    let answered = control.accept().and_then(|(mut stream, _)| {
        rustix::net::sockopt::socket_peercred(&stream)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
        stream.write_all(b"!")
    });
    tell(
        "accept on its control socket",
        answered.and_then(|()| client.read_exact(&mut [0])),
    );
    tell(
        "bind its packet socket",
        // The monitor has looked up lo.
        PacketCapture::new(
            packets,
            Some(CapturedInterface::new("lo".to_owned(), 1)),
            vec![62201],
        ),
    );
}

fn files(state: &Path) {
    tell("read /etc/passwd", fs::read("/etc/passwd"));
    tell(
        "read a file that all may read",
        fs::read(state.with_file_name("open-to-all")),
    );
    tell("list /", fs::read_dir("/"));
    tell("write to /tmp", fs::write("/tmp/postern-sandbox-test", "x"));
    tell("read its own memory map", fs::read("/proc/self/maps"));
    tell(
        "make a folder in its state",
        fs::create_dir(state.join("folder")),
    );
    tell(
        "link a file of another folder",
        fs::hard_link(state.with_file_name("open-to-all"), state.join("link")),
    );
    mount();
}

fn sockets(unconnected: &UdpSocket) {
    for (name, family, kind) in [
        ("TCP socket", libc::AF_INET, libc::SOCK_STREAM),
        ("UDP socket", libc::AF_INET6, libc::SOCK_DGRAM),
        ("packet socket", libc::AF_PACKET, libc::SOCK_DGRAM),
        ("netlink socket", libc::AF_NETLINK, libc::SOCK_RAW),
        ("unix socket", libc::AF_UNIX, libc::SOCK_STREAM),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
    ] {
        attempt(name, libc::SYS_socket, &[family.into(), kind.into()]);
    }
    tell(
        "connect a socket it has",
        unconnected.connect("127.0.0.1:9"),
    );
}

/// Asks for the number of the ruleset, as nft does. The kernel answers with an error number.
fn command_netfilter(socket: i64) {
    let mut message = [0_u8; 36];
    message[..8].copy_from_slice(&[20, 0, 0, 0, 16, 10, 5, 0]);
    let bytes = message.as_mut_ptr() as i64;
    let sent = call(libc::SYS_sendto, [socket, bytes, 20, 0, 0]);
    let answered = sent.and_then(|_| call(libc::SYS_recvfrom, [socket, bytes, 36, 0, 0]));
    let error = i32::from_ne_bytes(*message[16..].first_chunk().unwrap());
    let result = answered.and_then(|_| match (message[4], error) {
        (2, error) if error != 0 => Err(io::Error::from_raw_os_error(-error)),
        _ => Ok(()),
    });
    tell(
        "command netfilter through the socket of dropped packets",
        result,
    );
}

fn link(link: &UnixStream) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let own = [link.as_fd()];
    assert!(rights.push(SendAncillaryMessage::ScmRights(&own)));
    let part = [io::IoSlice::new(b"x")];
    let sent = sendmsg(link, &part, &mut rights, SendFlags::empty());
    tell("send a descriptor", sent.map_err(io::Error::from));
    let number = link.as_raw_fd().into();
    attempt("send several messages", libc::SYS_sendmmsg, &[number]);
}

/// What other processes have, too, or what takes the host's memory.
fn shared(packet: i64, control: i64) {
    let non_blocking = i64::from(libc::O_NONBLOCK);
    let set_flags = i64::from(libc::F_SETFL);
    attempt("shorten the log", libc::SYS_ftruncate, &[2]);
    attempt("move in the log", libc::SYS_lseek, &[2]);
    attempt("duplicate the log", libc::SYS_dup, &[2]);
    attempt(
        "make the log non-blocking",
        libc::SYS_fcntl,
        &[2, set_flags, non_blocking],
    );
    attempt(
        "make a socket block",
        libc::SYS_fcntl,
        &[control, set_flags],
    );
    attempt("shut its control socket", libc::SYS_shutdown, &[control, 2]);
    for (name, level, option) in [
        ("lock a filter", libc::SOL_SOCKET, libc::SO_LOCK_FILTER),
        ("make a ring", libc::SOL_PACKET, libc::PACKET_RX_RING),
        (
            "promiscuous mode",
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
        ),
    ] {
        let arguments = [packet, level.into(), option.into()];
        attempt(name, libc::SYS_setsockopt, &arguments);
    }
}

fn limited(state: &Path) {
    let file = fs::File::create(state.join("long")).unwrap();
    tell("make a long file", file.set_len(2 << 30));
    let memory = Vec::<u8>::new().try_reserve_exact(1 << 30);
    let memory = memory.map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM));
    tell("take much memory", memory);
    let copies = (0..600)
        .map(|_| file.try_clone())
        .collect::<io::Result<Vec<_>>>();
    tell("open many files", copies);
}

fn others(parent: i64) {
    attempt(
        "trace its parent",
        libc::SYS_ptrace,
        &[libc::PTRACE_SEIZE.into(), parent],
    );
    tell("read its parent's memory", read_memory(parent));
    attempt("signal its parent", libc::SYS_kill, &[parent]);
    attempt(
        "open a handle on its parent",
        libc::SYS_pidfd_open,
        &[parent],
    );
    let flags = i64::from(libc::SIGCHLD);
    match call(libc::SYS_clone, [flags, 0, 0, 0, 0]) {
        // The copy must not exist.
        Ok(0) => std::process::exit(0),
        forked => tell("fork", forked),
    }
}

pub(crate) fn read_memory(of: i64) -> io::Result<i64> {
    let mut room = [0u8; 8];
    let place = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    };
    let at = (&raw const place) as i64;
    call(libc::SYS_process_vm_readv, [of, at, 1, at, 1])
}

fn rights() {
    let private = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let (write, execute) = (
        i64::from(libc::PROT_READ | libc::PROT_WRITE),
        i64::from(libc::PROT_READ | libc::PROT_EXEC),
    );
    tell("map executable memory", map(execute, private));
    let memory = map(write, private).unwrap();
    attempt(
        "make memory executable",
        libc::SYS_mprotect,
        &[memory, 4096, execute],
    );
    attempt("become root", libc::SYS_setuid, &[]);
    tell("set capabilities", raise(Capability::CAP_NET_ADMIN));
    tell("load an eBPF program", HintFilter::load(&[62201], 8, false));
    attempt(
        "make a namespace",
        libc::SYS_unshare,
        &[libc::CLONE_NEWUSER.into()],
    );
    attempt("io_uring", libc::SYS_io_uring_setup, &[1]);
    attempt(
        "core dumps",
        libc::SYS_prctl,
        &[libc::PR_SET_DUMPABLE.into(), 1],
    );
    tell(
        "raise its limit of core dumps",
        limit(libc::RLIMIT_CORE, libc::RLIM_INFINITY),
    );
    // Lowering it is always allowed.
    tell("change a limit of its own", limit(libc::RLIMIT_AS, 1 << 46));
    attempt("set the clock", libc::SYS_clock_settime, &[]);
}

fn map(protection: i64, flags: i64) -> io::Result<i64> {
    // SAFETY: a new mapping that nothing else uses.
    let address = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            0i64,
            4096i64,
            protection,
            flags,
            -1i64,
            0i64,
        )
    };
    if address < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(address)
    }
}

pub(crate) fn raise(capability: Capability) -> io::Result<i64> {
    // linux/capability.h: the version, then who, this process; 64 bits in two halves, each effective, permitted and inheritable.
    let header = [0x2008_0522_u32, 0];
    let mut halves = [[0u32; 3]; 2];
    let bit = 1 << (capability.index() % 32);
    halves[usize::from(capability.index() / 32)] = [bit, bit, 0];
    call(
        libc::SYS_capset,
        [
            (&raw const header) as i64,
            (&raw const halves) as i64,
            0,
            0,
            0,
        ],
    )
}

pub(crate) fn limit(resource: libc::__rlimit_resource_t, value: libc::rlim_t) -> io::Result<i64> {
    let both = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    call(
        libc::SYS_prlimit64,
        [0, resource.into(), (&raw const both) as i64, 0, 0],
    )
}

pub(crate) fn call(number: libc::c_long, arguments: [i64; 5]) -> io::Result<i64> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: pointers among the arguments are valid during this call, and a refused call does nothing.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, 0i64) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub(crate) fn attempt(action: &str, number: libc::c_long, arguments: &[i64]) {
    let mut all = [0; 5];
    all[..arguments.len()].copy_from_slice(arguments);
    tell(action, call(number, all));
}

pub(crate) fn mount() {
    let (kind, place) = (c"tmpfs".as_ptr() as i64, c"/mnt".as_ptr() as i64);
    attempt("mount", libc::SYS_mount, &[kind, place, kind]);
}

pub(crate) fn tell<T>(action: &str, result: io::Result<T>) {
    let said = match result {
        Ok(_) => "done".to_owned(),
        Err(error) => match error.raw_os_error() {
            Some(libc::EPERM) => "EPERM".to_owned(),
            Some(libc::EACCES) => "EACCES".to_owned(),
            _ => error.to_string(),
        },
    };
    println!("{action}: {said}");
}
