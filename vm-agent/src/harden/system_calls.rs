//! seccomp: the calls that the agent makes, and death for every other.
//!
//! The list is what tokio, rustls, glibc's name resolution and memory allocator, and our own
//! locked memory use. What is not on it and matters: `execve`, `ptrace`, `process_vm_readv`,
//! `kill`, `unlink`, `rename`, `chmod`, `bpf`, `io_uring_setup`, `keyctl`, `mount`, `setuid`.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::{HardenError, Step};

/// Applies the list to every thread, and to those to come.
pub fn allow_only_what_is_needed() -> Result<Step, HardenError> {
    let program = program().map_err(filter_error)?;
    seccompiler::apply_filter_all_threads(&program).map_err(filter_error)?;
    Ok(Step::full(
        "system_calls",
        format!("seccomp, {} allowed", rules_len()),
    ))
}

fn filter_error(error: impl std::error::Error + Send + Sync + 'static) -> HardenError {
    HardenError::Filter(Box::new(error))
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    for call in ALLOWED.iter().chain(ALLOWED_HERE) {
        rules.insert(*call, Vec::new());
    }
    for (call, argument, values) in LIMITED {
        let limited = values.iter().map(|value| value_rule(*argument, *value));
        rules.insert(*call, limited.collect::<Result<_, _>>()?);
    }
    let sockets = SOCKETS.iter().map(socket_rule);
    rules.insert(libc::SYS_socket, sockets.collect::<Result<_, _>>()?);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        ARCH.try_into()?,
    )?;
    filter.try_into()
}

fn value_rule(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![condition(argument, SeccompCmpOp::Eq, value)?])
}

fn socket_rule(
    (family, kind, protocol): &(i32, i32, i32),
) -> Result<SeccompRule, seccompiler::BackendError> {
    let value = |number: &i32| u64::from(number.unsigned_abs());
    SeccompRule::new(vec![
        condition(0, SeccompCmpOp::Eq, value(family))?,
        condition(1, SeccompCmpOp::MaskedEq(SOCKET_KIND), value(kind))?,
        condition(2, SeccompCmpOp::Eq, value(protocol))?,
    ])
}

fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn rules_len() -> usize {
    ALLOWED.len() + ALLOWED_HERE.len() + LIMITED.len() + 1
}

/// The sockets that may be made: family, type and protocol. TCP for the proxy and the server, UDP
/// for name resolution, which asks the kernel for its addresses too; whose a connection is. No other
/// protocol, so that none has its module loaded, and no raw packets whatever capability there is.
const SOCKETS: &[(i32, i32, i32)] = &[
    (libc::AF_UNIX, libc::SOCK_STREAM, 0),
    (libc::AF_UNIX, libc::SOCK_DGRAM, 0),
    (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_IP),
    (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP),
    (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_IP),
    (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    (libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_IP),
    (libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP),
    (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_IP),
    (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
    (libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_ROUTE),
    (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_SOCK_DIAG),
];

/// The flags beside it (`SOCK_CLOEXEC`, `SOCK_NONBLOCK`) do not matter.
const SOCKET_KIND: u64 = 0xf;

/// Allowed with one of these values in that argument: the kind of a pair of sockets, the question to
/// a terminal or socket, the name of a thread.
const LIMITED: &[(i64, u8, &[u64])] = &[
    (libc::SYS_socketpair, 0, &[libc::AF_UNIX as u64]),
    (
        libc::SYS_ioctl,
        1,
        &[
            libc::FIONBIO,
            libc::FIONREAD,
            libc::TCGETS,
            libc::TIOCGWINSZ,
        ],
    ),
    (
        libc::SYS_prctl,
        0,
        &[libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64],
    ),
];

const ALLOWED: &[i64] = &[
    // Reading and writing what is open, and opening (Landlock forbids opening for writing).
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fadvise64,
    // Sockets.
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_ftruncate,
    // Threads of name resolution, and how they end.
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Who and when.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_pidfd_open,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getcpu,
];

/// The older calls that glibc still makes on this architecture.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_getrlimit,
    libc::SYS_time,
];

/// No older calls on the newer architectures.
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];
