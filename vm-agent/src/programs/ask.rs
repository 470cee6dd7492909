//! The agent's side: asks the helper.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Program;

/// A running helper.
pub struct Programs {
    line: Mutex<Line>,
    /// Each user has one question under way: the others' wait no longer than for that.
    turns: std::sync::Mutex<HashMap<u32, Arc<Mutex<()>>>>,
}

struct Line {
    stream: Stream,
    /// Where a service manager starts another helper for whoever connects.
    socket: Option<PathBuf>,
    questions: u64,
}

/// A stream belongs to a runtime only once there is one.
enum Stream {
    Made(UnixStream),
    Open(BufReader<tokio::net::UnixStream>),
    Lost,
}

/// Why a program is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unidentified {
    /// The helper may not look, or the process is gone.
    #[error("the program cannot be looked at: {0}")]
    Hidden(String),
    /// The helper has ended.
    #[error("the agent's helper does not answer")]
    Lost,
    /// Nobody starts a helper there.
    #[error(
        "no helper answers at {} ([policy] programs_socket); with the packages: \
         systemctl enable --now keyferry-programs.socket", .0.display()
    )]
    NoHelper(PathBuf),
}

impl Programs {
    /// Starts the helper, which is this program by another command.
    pub fn start(command: &str) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        Command::new("/proc/self/exe")
            .arg(command)
            .env_clear()
            .stdin(Stdio::from(theirs.try_clone()?))
            .stdout(Stdio::from(theirs))
            .spawn()?;
        ours.set_nonblocking(true)?;
        Ok(Self::over(Stream::Made(ours), None))
    }

    /// A helper that a service manager starts for whoever connects to this socket, and that may see
    /// more than this process.
    pub fn at(socket: &Path) -> Self {
        Self::over(Stream::Lost, Some(socket.to_owned()))
    }

    fn over(stream: Stream, socket: Option<PathBuf>) -> Self {
        Self {
            line: Mutex::new(Line {
                stream,
                socket,
                questions: 0,
            }),
            turns: std::sync::Mutex::default(),
        }
    }

    /// What this process of this user runs. The caller holds the process by a pidfd, and looks afterwards
    /// whether it still lives: else the number may have become another's.
    pub async fn of(&self, (pid, uid): (i32, u32)) -> Result<Program, Unidentified> {
        let turn = self.turn_of(uid);
        let _mine = turn.lock().await;
        let mut line = self.line.lock().await;
        let asked = timeout(PATIENCE, line.ask(pid)).await;
        if let Ok(Ok(answer)) = asked {
            return parse(&answer);
        }
        let known = line.socket.clone();
        if known.is_some() {
            line.stream = Stream::Lost;
        }
        Err(known.map_or(Unidentified::Lost, Unidentified::NoHelper))
    }
}

impl Programs {
    fn turn_of(&self, uid: u32) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_user, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(uid).or_default())
    }
}

impl Line {
    async fn ask(&mut self, pid: i32) -> io::Result<String> {
        self.questions += 1;
        let number = self.questions.to_string();
        if let (Stream::Lost, Some(socket)) = (&self.stream, &self.socket) {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            self.stream = Stream::Open(BufReader::new(stream));
        }
        let stream = self.stream.open()?;
        stream
            .write_all(format!("{number} {pid}\n").as_bytes())
            .await?;
        loop {
            let mut answer = String::new();
            if stream.read_line(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // The answer to a question that nobody waits for any more has another number.
            match answer.trim_end().split_once(' ') {
                Some((answered, rest)) if answered == number => return Ok(rest.to_owned()),
                _ => {}
            }
        }
    }
}

impl Stream {
    fn open(&mut self) -> io::Result<&mut BufReader<tokio::net::UnixStream>> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Made(stream) => {
                Self::Open(BufReader::new(tokio::net::UnixStream::from_std(stream)?))
            }
            other => other,
        };
        match self {
            Self::Open(stream) => Ok(stream),
            Self::Made(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn parse(answer: &str) -> Result<Program, Unidentified> {
    let Some((hash, path)) = answer
        .strip_prefix("ok ")
        .and_then(|rest| rest.split_once(' '))
    else {
        let reason = answer.strip_prefix("no ").unwrap_or(answer);
        return Err(Unidentified::Hidden(reason.to_owned()));
    };
    let mut sha256 = [0; 32];
    for (byte, place) in sha256.iter_mut().zip((0..).step_by(2)) {
        let digits = hash.get(place..place + 2).ok_or(Unidentified::Lost)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_no_digits| Unidentified::Lost)?;
    }
    let path = path.to_owned();
    Ok(Program { path, sha256 })
}

const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_helper_behind_a_socket_is_asked_again_when_it_was_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("programs.sock");
        let programs = Programs::at(&path);
        let missing = programs.of((1, 1000)).await.unwrap_err().to_string();
        assert!(missing.contains("keyferry-programs.socket"), "{missing}");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let helper = tokio::spawn(async move {
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                let mut question = String::new();
                stream.read_line(&mut question).await.unwrap();
                let number = question.split(' ').next().unwrap();
                let answer = format!("{number} ok {} /bin/x\n", "00".repeat(32));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert_eq!(programs.of((1, 1000)).await.unwrap().path, "/bin/x");
        // That one has ended with its answer; the next question finds it gone, the one after asks
        // another.
        assert!(programs.of((1, 1000)).await.is_err());
        assert_eq!(programs.of((1, 1000)).await.unwrap().path, "/bin/x");
        helper.await.unwrap();
    }

    #[test]
    fn answers_are_read() {
        let hash = "0f".repeat(32);
        let program = parse(&format!("ok {hash} /opt/my tool")).unwrap();
        assert_eq!(
            (program.path.as_str(), program.sha256),
            ("/opt/my tool", [15; 32])
        );
        assert!(matches!(
            parse("no Permission denied"),
            Err(Unidentified::Hidden(_))
        ));
        assert!(matches!(parse("ok 0f /short"), Err(Unidentified::Lost)));
    }
}
