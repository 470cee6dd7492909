//! Runs a program on a poorer machine than this one: `confined mlock|unlocked PROGRAM ARGUMENTS...`
//!
//! A filter of system calls refuses `memfd_secret(2)`, as a kernel without it does; for `unlocked`
//! also the locking of memory, as a kernel does for a process that may lock nothing.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a launcher fails by panicking"
)]

use std::collections::BTreeMap;
use std::env::args_os;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

fn main() {
    let mut arguments = args_os().skip(1);
    let level = arguments.next().unwrap();
    let program = arguments.next().unwrap();
    refuse(&[libc::SYS_memfd_secret], libc::ENOSYS);
    if level == "unlocked" {
        let locking = [libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_mlockall];
        refuse(&locking, libc::EPERM);
    } else {
        assert_eq!(level, "mlock", "levels are mlock and unlocked");
    }
    let error = Command::new(program).args(arguments).exec();
    panic!("{error}");
}

fn refuse(calls: &[i64], error: i32) {
    let rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(error.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}
