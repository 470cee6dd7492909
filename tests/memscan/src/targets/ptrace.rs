//! Stops every thread of a process and reads its registers: the only unsafe code of this crate
//! beside the holder.
#![expect(unsafe_code, reason = "ptrace has no safe wrapper")]

use std::collections::BTreeSet;
use std::{fs, io, ptr};

/// A process whose threads all stand still until this is dropped.
pub(crate) struct Frozen {
    pid: i32,
    threads: BTreeSet<i32>,
}

impl Frozen {
    /// Stops all threads, also those that are born meanwhile.
    pub(crate) fn freeze(pid: i32) -> io::Result<Self> {
        let mut frozen = Self {
            pid,
            threads: BTreeSet::new(),
        };
        loop {
            let fresh: Vec<i32> = threads_of(pid)?
                .into_iter()
                .filter(|it| !frozen.threads.contains(it))
                .collect();
            if fresh.is_empty() {
                return Ok(frozen);
            }
            for thread in fresh {
                match stop(thread) {
                    Ok(()) => {
                        frozen.threads.insert(thread);
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(error) => return Err(explain(pid, &error)),
                }
            }
        }
    }

    /// The general and the vector registers of every thread.
    pub(crate) fn registers(&self) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
        let mut sets = Vec::new();
        for thread in &self.threads {
            for (name, set) in REGISTER_SETS {
                sets.push((name, register_set(*thread, set)?));
            }
        }
        Ok(sets)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for thread in &self.threads {
            // SAFETY: PTRACE_DETACH takes no memory of ours; a thread that died is refused.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, *thread, NONE, NONE) };
        }
        tracing_ended(self.pid);
    }
}

/// Waits until the kernel no longer names us as the tracer, so that the next scan can begin.
fn tracing_ended(pid: i32) {
    let traced = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    while traced() {
        std::thread::yield_now();
    }
}

fn threads_of(pid: i32) -> io::Result<Vec<i32>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        threads.extend(name.to_str().and_then(|text| text.parse::<i32>().ok()));
    }
    Ok(threads)
}

fn stop(thread: i32) -> io::Result<()> {
    // SAFETY: PTRACE_SEIZE takes no memory of ours.
    checked(unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread, NONE, NONE) })?;
    // SAFETY: PTRACE_INTERRUPT takes no memory of ours.
    checked(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, thread, NONE, NONE) })?;
    // SAFETY: a null status is allowed: nothing is written.
    checked(unsafe { libc::waitpid(thread, ptr::null_mut(), libc::__WALL) }.into())
}

fn register_set(thread: i32, set: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; 16 << 10];
    let mut vector = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: `vector` describes `bytes`, which outlives the call and is written by nobody else.
    checked(unsafe {
        libc::ptrace(
            libc::PTRACE_GETREGSET,
            thread,
            set,
            ptr::from_mut(&mut vector),
        )
    })?;
    bytes.truncate(vector.iov_len);
    Ok(bytes)
}

fn checked(result: i64) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn explain(pid: i32, error: &io::Error) -> io::Error {
    let text = format!("process {pid} cannot be stopped ({error}): scanning needs root");
    io::Error::new(error.kind(), text)
}

const NONE: *mut libc::c_void = ptr::null_mut();
/// `NT_PRSTATUS` and `NT_X86_XSTATE` of `linux/elf.h`.
const REGISTER_SETS: [(&str, usize); 2] = [("general", 1), ("vector", 0x202)];
