//! The helper's side: looks at processes, and knows nothing else.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Program;
use crate::harden;

/// Answers until the agent is gone.
pub fn answer_questions(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    harden::of_helper().map_err(io::Error::other)?;
    let mut known = Known::default();
    for line in input.lines() {
        let line = line?;
        let Some((number, pid)) = line.split_once(' ') else {
            continue;
        };
        let answer = match pid.parse::<u32>() {
            Ok(pid) => describe(known.look(pid)),
            Err(_no_number) => "no such process".to_owned(),
        };
        writeln!(output, "{number} {answer}")?;
        output.flush()?;
    }
    Ok(())
}

/// Hashes of files that have not changed since.
#[derive(Default)]
struct Known(HashMap<Mark, [u8; 32]>);

/// Which file, and in which state: who changes its content changes its last times too.
#[derive(PartialEq, Eq, Hash)]
struct Mark([i64; 6]);

impl Known {
    /// The link in `/proc` opens the very file that runs, whatever stands at its path by now.
    fn look(&mut self, pid: u32) -> io::Result<Program> {
        let link = format!("/proc/{pid}/exe");
        let path = std::fs::read_link(&link)?;
        let file = File::open(&link)?;
        let mark = Mark::of(&file.metadata()?);
        let sha256 = match self.0.get(&mark) {
            Some(hash) => *hash,
            None => hash(&file, Instant::now() + TO_READ)?,
        };
        // A process that has become another program meanwhile is neither of the two.
        if Mark::of(&std::fs::metadata(&link)?) != mark || std::fs::read_link(&link)? != path {
            return Err(io::Error::other("it is changing"));
        }
        if self.0.len() >= MOST_KNOWN {
            self.0.clear();
        }
        self.0.insert(mark, sha256);
        let path = path.into_os_string().into_string();
        let path = path.map_err(|_odd| io::Error::other("its path is not UTF-8"))?;
        Ok(Program { path, sha256 })
    }
}

impl Mark {
    fn of(file: &Metadata) -> Self {
        Self([
            file.dev().cast_signed(),
            file.ino().cast_signed(),
            file.size().cast_signed(),
            file.ctime(),
            file.ctime_nsec(),
            file.mtime_nsec(),
        ])
    }
}

/// Whoever may ask for a key may start a program of any length, and others wait meanwhile.
fn hash(mut file: &File, deadline: Instant) -> io::Result<[u8; 32]> {
    if file.metadata()?.len() > LONGEST {
        return Err(io::Error::other("it is longer than 1 GiB"));
    }
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        if Instant::now() > deadline {
            return Err(io::Error::other("it takes too long to read"));
        }
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(piece.get(..read).unwrap_or_default());
    }
}

fn describe(looked: io::Result<Program>) -> String {
    match looked {
        Ok(program) if !program.path.contains('\n') => {
            let mut text = "ok ".to_owned();
            for byte in program.sha256 {
                let _strings_take_all = write!(text, "{byte:02x}");
            }
            text.push(' ');
            text.push_str(&program.path);
            text
        }
        Ok(_) => "no its path has a line end".to_owned(),
        Err(error) => format!("no {error}").replace('\n', " "),
    }
}

const MOST_KNOWN: usize = 256;
const LONGEST: u64 = 1 << 30;
/// The agent waits a second longer.
const TO_READ: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_runs_is_hashed_and_remembered() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut known = Known::default();
        for _ in 0..2 {
            let program = known.look(std::process::id()).unwrap();
            assert_eq!(program.sha256, <[u8; 32]>::from(Sha256::digest(&own)));
            let path = std::env::current_exe().unwrap();
            assert_eq!(program.path, path.to_str().unwrap());
        }
        assert_eq!(known.0.len(), 1);
    }

    #[test]
    fn a_program_that_is_too_long_or_too_slow_to_read_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        let writing = File::create_new(&path).unwrap();
        let file = File::open(&path).unwrap();
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        assert!(hash(&file, later).is_ok());
        let refused = hash(&file, now).unwrap_err().to_string();
        assert!(refused.contains("too long to read"), "{refused}");
        writing.set_len(LONGEST + 1).unwrap();
        let refused = hash(&file, later).unwrap_err().to_string();
        assert!(refused.contains("1 GiB"), "{refused}");
    }

    #[test]
    fn a_program_that_was_replaced_at_its_path_keeps_its_own_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        // By another process: a program that this one has open for writing, even in a child that
        // another test has just forked, cannot be started.
        let mut copy = std::process::Command::new("cp");
        assert!(
            copy.arg("/bin/sleep")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let mut tool = std::process::Command::new(&path).arg("60").spawn().unwrap();
        let before = Known::default().look(tool.id()).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::copy("/bin/true", &path).unwrap();
        let after = Known::default().look(tool.id()).unwrap();
        tool.kill().unwrap();
        tool.wait().unwrap();
        assert_eq!(before.sha256, after.sha256);
        assert!(after.path.ends_with(" (deleted)"), "{}", after.path);
    }

    #[test]
    fn a_process_that_is_gone_has_no_program() {
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let pid = ended.id();
        ended.wait().unwrap();
        assert!(describe(Known::default().look(pid)).starts_with("no "));
    }
}
