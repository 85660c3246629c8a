//! Seccomp: the system calls that a process may make. Any other fails with EPERM.

use std::collections::BTreeMap;

use super::error::SandboxError;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

const ENGINE: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_getpid,
    // Libraries expect that these never fail.
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_tgkill,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Sockets that it was given or accepts, and the files of its store.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // Not sendmsg: it could pass descriptors to the monitor.
    libc::SYS_sendto,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
];

/// The same for system calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
const ENGINE_HERE: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_arch_prctl,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_stat,
    libc::SYS_lstat,
];
#[cfg(not(target_arch = "x86_64"))]
const ENGINE_HERE: &[libc::c_long] = &[libc::SYS_renameat];

/// For the monitor also: new sockets, engines that it starts and ends, directories, files, and what an engine does while it gives up
/// its rights.
const MONITOR: &[libc::c_long] = &[
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_pwrite64,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_clone,
    libc::SYS_execve,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_ioctl,
    libc::SYS_bpf,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_memfd_create,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_chdir,
    libc::SYS_getcwd,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_set_tid_address,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_mlockall,
    libc::SYS_prctl,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_getgroups,
    libc::SYS_setgroups,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_setpriority,
    // Changes of legacy iptables, which the kernel does not report, are seen by its lock file.
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    // The programs of iptables; whether a file's permissions can be changed.
    libc::SYS_statfs,
    libc::SYS_fstatfs,
];

/// For a cluster process beside those of the engine: connections, and answers of name servers.
const CLUSTER: &[libc::c_long] = &[
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sendmmsg,
];

#[cfg(target_arch = "x86_64")]
const MONITOR_HERE: &[libc::c_long] = &[
    libc::SYS_vfork,
    libc::SYS_alarm,
    libc::SYS_access,
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_dup2,
    libc::SYS_pipe,
];
#[cfg(not(target_arch = "x86_64"))]
const MONITOR_HERE: &[libc::c_long] = &[];

// asm-generic/ioctls.h and linux/sockios.h: FIONBIO, FIONREAD and SIOCGIFINDEX, which connecting and looking up names use.
const CLUSTER_IOCTLS: [u64; 3] = [0x5421, 0x541b, 0x8933];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

// linux/bpf.h: look up and update an element of a map, update many, and read what kind of map it is.
const BPF_COMMANDS: [u64; 4] = [1, 2, 15, 26];
/// The last of the descriptors that an engine shares with the monitor: its link, and the log.
const SHARED: u64 = 2;

/// Calls that change a file or its descriptor. Not for the log.
const OWN_FILES: [libc::c_long; 5] = [
    libc::SYS_lseek,
    libc::SYS_pwrite64,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_dup,
];
/// What fcntl may do: duplicate, and lock a range of the store.
const FCNTL: [libc::c_int; 7] = [
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_OFD_GETLK,
    libc::F_OFD_SETLK,
    libc::F_OFD_SETLKW,
];
/// The socket options of an engine: deadlines of a reader of metrics, and the classic filter of a packet socket. The monitor has
/// locked the filters of all sockets that outlive an engine. No option of SOL_PACKET: rings take the host's memory.
const OPTIONS: [libc::c_int; 3] = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_ATTACH_FILTER];

/// Restricts this thread and its threads to the calls of an engine. It cannot execute a program, start or trace a process, or make or
/// connect a socket. What it shares with the monitor or passes on to its successor stays as it is.
pub(super) fn engine() -> Result<Vec<String>, SandboxError> {
    let (thread, executable) = (number(libc::CLONE_THREAD), number(libc::PROT_EXEC));
    let threads_only = when(0, SeccompCmpOp::MaskedEq(thread), thread)?;
    let no_new_code = when(2, SeccompCmpOp::MaskedEq(executable), 0)?;
    let own = || number_is(0, SeccompCmpOp::Gt, SHARED);
    let is = |argument, value| number_is(argument, SeccompCmpOp::Eq, value);
    let socket_level = || is(1, number(libc::SOL_SOCKET));
    let mut rules = plain(&[ENGINE, ENGINE_HERE]);
    for call in OWN_FILES {
        rules.insert(call, vec![SeccompRule::new(vec![own()?])?]);
    }
    let fcntl = FCNTL.map(|command| SeccompRule::new(vec![own()?, is(1, number(command))?]));
    let mut fcntl = fcntl.into_iter().collect::<Result<Vec<_>, _>>()?;
    // pnet sets this for its packet socket. Other sockets are non-blocking already, and no engine can change that.
    let non_blocking = is(2, number(libc::O_NONBLOCK))?;
    fcntl.push(SeccompRule::new(vec![
        own()?,
        is(1, number(libc::F_SETFL))?,
        non_blocking,
    ])?);
    rules.insert(libc::SYS_fcntl, fcntl);
    let options = OPTIONS
        .map(|option| SeccompRule::new(vec![own()?, socket_level()?, is(2, number(option))?]));
    let options = options.into_iter().collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_setsockopt, options);
    rules.insert(
        libc::SYS_getsockopt,
        vec![SeccompRule::new(vec![socket_level()?])?],
    );
    rules.insert(libc::SYS_mmap, vec![no_new_code.clone()]);
    rules.insert(libc::SYS_mprotect, vec![no_new_code]);
    rules.insert(libc::SYS_clone, vec![threads_only]);
    rules.insert(libc::SYS_bpf, one_of(0, &BPF_COMMANDS)?);
    // Of the calling thread alone, and only lower.
    let own_priority = vec![is(0, u64::from(libc::PRIO_PROCESS))?, is(1, 0)?];
    rules.insert(libc::SYS_setpriority, vec![SeccompRule::new(own_priority)?]);
    // Only for wake-ups between threads.
    rules.insert(libc::SYS_socketpair, one_of(0, &[number(libc::AF_UNIX)])?);
    rules.insert(libc::SYS_prctl, one_of(0, &[number(libc::PR_SET_NAME)])?);
    apply(rules)
}

/// Restricts this thread and its threads to the calls of a cluster process. It may make connections over IP, look up names, and talk
/// to its engine. It cannot execute a program, start or trace a process, or bind or listen on a socket.
pub(super) fn cluster() -> Result<Vec<String>, SandboxError> {
    let (thread, executable) = (number(libc::CLONE_THREAD), number(libc::PROT_EXEC));
    let no_new_code = when(2, SeccompCmpOp::MaskedEq(executable), 0)?;
    let mut rules = plain(&[ENGINE, ENGINE_HERE, CLUSTER]);
    for call in [libc::SYS_bind, libc::SYS_accept4] {
        rules.remove(&call);
    }
    // Of netlink the C library asks which addresses this host has, before it looks up a name.
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(number);
    rules.insert(libc::SYS_socket, one_of(0, &families)?);
    rules.insert(libc::SYS_mmap, vec![no_new_code.clone()]);
    rules.insert(libc::SYS_mprotect, vec![no_new_code]);
    let threads_only = when(0, SeccompCmpOp::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, vec![threads_only]);
    rules.insert(libc::SYS_prctl, one_of(0, &[number(libc::PR_SET_NAME)])?);
    // The log, and a terminal behind it, are the monitor's as well.
    let own = || number_is(0, SeccompCmpOp::Gt, SHARED);
    for call in [libc::SYS_fcntl, libc::SYS_lseek, libc::SYS_ftruncate] {
        rules.insert(call, vec![SeccompRule::new(vec![own()?])?]);
    }
    let ioctls = CLUSTER_IOCTLS
        .map(|request| SeccompRule::new(vec![own()?, number_is(1, SeccompCmpOp::Eq, request)?]));
    let ioctls = ioctls.into_iter().collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, ioctls);
    apply(rules)
}

/// Restricts this thread and its children to the calls of a monitor that runs no program but engines. It cannot trace, mount, load a
/// kernel module or set the clock.
pub(super) fn monitor() -> Result<Vec<String>, SandboxError> {
    apply(plain(&[ENGINE, ENGINE_HERE, MONITOR, MONITOR_HERE]))
}

fn plain(lists: &[&[libc::c_long]]) -> Rules {
    let calls = lists.iter().copied().flatten();
    calls.map(|call| (*call, Vec::new())).collect()
}

fn number(flag: libc::c_int) -> u64 {
    u64::from(flag.unsigned_abs())
}

/// A condition on an `int`, whose upper half the kernel ignores.
fn number_is(
    argument: u8,
    operation: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
}

fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |value: &u64| when(argument, SeccompCmpOp::Eq, *value);
    values.iter().map(rule).collect()
}

fn when(argument: u8, operation: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operation, value)?;
    SeccompRule::new(vec![condition])
}

/// Installs two filters. The first one makes clone3 fail, so that the C library uses clone, whose flags a filter can see.
fn apply(mut allowed: Rules) -> Result<Vec<String>, SandboxError> {
    let name = std::env::consts::ARCH;
    let Ok(arch) = TargetArch::try_from(name) else {
        return Ok(vec![format!("system calls are not filtered on {name}")]);
    };
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    // The flags of clone3 are in memory, which a filter cannot read.
    allowed.insert(libc::SYS_clone3, Vec::new());
    let unseen = [(libc::SYS_clone3, Vec::new())].into();
    // If the kernel refuses a filter, the rest of the sandbox stays. The second filter forbids any other.
    for (rules, otherwise, listed) in [
        (unseen, SeccompAction::Allow, missing),
        (allowed, denied, SeccompAction::Allow),
    ] {
        let filter = SeccompFilter::new(rules, otherwise, listed, arch)?;
        let program = BpfProgram::try_from(filter)?;
        if let Err(error) = apply_filter(&program) {
            return Ok(vec![format!("system calls are not filtered: {error}")]);
        }
    }
    Ok(Vec::new())
}
