//! `memscan`: searches processes, files and folders for the secrets named on its input.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use memscan::{Matcher, Report, Sentinel, hold::hold, scan_file, scan_process, scan_tree};

/// Searches for secrets, raw and in many encodings, whole and as fragments.
///
/// The secrets come on the input, one a line: a name, a tab, the bytes in hexadecimal.
/// Exit code: 0 nothing found, 1 something found, 2 the search itself failed.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The shortest fragment of a secret that counts, in bytes.
    #[arg(long, default_value_t = 8)]
    fragment: usize,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    target: Target,
}

#[derive(Subcommand)]
enum Target {
    /// Memory, registers, arguments and environment of running processes.
    Process {
        /// Their numbers.
        #[arg(required = true)]
        pids: Vec<i32>,
    },
    /// The contents of files.
    File {
        /// Their paths.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Names and contents of everything below folders.
    Tree {
        /// Their paths.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
    },
    /// Hold the first input line in ordinary memory until the input ends: the positive control.
    Hold,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(io::stderr(), "memscan: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<usize> {
    if matches!(arguments.target, Target::Hold) {
        return hold(io::stdin().lock(), io::stdout().lock()).map(|()| 0);
    }
    let matcher = Matcher::new(&sentinels()?, arguments.fragment);
    let mut report = Report::default();
    scan(&arguments.target, &matcher, &mut report)?;
    let mut output = io::stdout().lock();
    if arguments.json {
        writeln!(output, "{}", report.to_json())?;
    } else {
        writeln!(output, "{report}")?;
    }
    Ok(report.hits())
}

fn scan(target: &Target, matcher: &Matcher, report: &mut Report) -> io::Result<()> {
    match target {
        Target::Process { pids } => pids
            .iter()
            .try_for_each(|pid| scan_process(matcher, report, *pid)),
        Target::File { paths } => paths
            .iter()
            .try_for_each(|it| scan_file(matcher, report, it)),
        Target::Tree { folders } => folders
            .iter()
            .try_for_each(|it| scan_tree(matcher, report, it)),
        Target::Hold => Ok(()),
    }
}

fn sentinels() -> io::Result<Vec<Sentinel>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let sentinels: Option<Vec<_>> = text.lines().map(sentinel).collect();
    match sentinels {
        Some(some) if !some.is_empty() => Ok(some),
        _ => Err(io::Error::other(
            "the input must name secrets: NAME, a tab, HEXADECIMAL",
        )),
    }
}

fn sentinel(line: &str) -> Option<Sentinel> {
    let (name, digits) = line.split_once('\t')?;
    let pairs = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| pair.and_then(|it| u8::from_str_radix(it, 16).ok()))
        .collect();
    Some(Sentinel {
        name: name.to_owned(),
        bytes: bytes?,
    })
}
