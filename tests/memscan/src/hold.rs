//! The positive control: a process that keeps a secret the careless way, until its input ends.
#![expect(
    unsafe_code,
    reason = "only a raw system call keeps chosen bytes in a register"
)]

use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, Write};

use crate::encodings::hex;

/// Reads one secret line, keeps it in ordinary memory and in a register, answers `holding`, and
/// returns when the input ends.
pub fn hold(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let secret = read_line(&mut input)?;
    let encoded = black_box(hex(&secret));
    let fragment = secret
        .first_chunk::<8>()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let in_a_register = i64::from_le_bytes(*fragment);
    std::thread::spawn(move || wait_forever(in_a_register));
    while !is_another_thread_waiting()? {
        std::thread::yield_now();
    }
    writeln!(output, "holding")?;
    output.flush()?;
    input.read_to_end(&mut Vec::new())?;
    black_box((secret, encoded));
    Ok(())
}

fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    line.pop_if(|last| *last == b'\n');
    Ok(line)
}

/// Whether a thread of this process is in `pause`, as the kernel sees it.
fn is_another_thread_waiting() -> io::Result<bool> {
    for thread in fs::read_dir("/proc/self/task")? {
        let call = fs::read_to_string(thread?.path().join("syscall"))?;
        if call.starts_with(&format!("{} ", libc::SYS_pause)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `pause` takes no argument: what stands in the first argument's register stays there.
fn wait_forever(value: i64) {
    loop {
        // SAFETY: `pause` reads and writes no memory, and ignores its arguments.
        unsafe { libc::syscall(libc::SYS_pause, value) };
    }
}
