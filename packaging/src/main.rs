//! `manuals FOLDER`: writes manual pages and shell completions, laid out as they are installed.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::create_dir_all;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        return complain("usage: manuals FOLDER");
    };
    match programs()
        .into_iter()
        .try_for_each(|program| write(program, &folder))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string()),
    }
}

fn programs() -> [Command; 3] {
    [
        keyferry_cli::arguments::Arguments::command(),
        keyferry_agent::arguments::Arguments::command(),
        keyferry_server::command_line(),
    ]
}

/// Each program has a folder of its own, since each is in a package of its own.
fn write(mut program: Command, folder: &OsStr) -> io::Result<()> {
    let name = program.get_name().to_owned();
    let root = Path::new(folder).join(&name).join("usr/share");
    for (shell, place) in COMPLETIONS {
        let place = root.join(place);
        create_dir_all(&place)?;
        let made = generate_to(*shell, &mut program, &name, &place)?;
        // Bash looks for a script that is called like the command.
        if *shell == Shell::Bash {
            std::fs::rename(made, place.join(&name))?;
        }
    }
    let pages = root.join("man/man1");
    create_dir_all(&pages)?;
    clap_mangen::generate_to(without_help(program), pages)
}

/// Pages for `help` and all that it would repeat are no help.
fn without_help(program: Command) -> Command {
    program
        .disable_help_subcommand(true)
        .mut_subcommands(without_help)
}

#[expect(clippy::print_stderr, reason = "this is how it tells what failed")]
fn complain(what: &str) -> ExitCode {
    eprintln!("manuals: {what}");
    ExitCode::FAILURE
}

const COMPLETIONS: &[(Shell, &str)] = &[
    (Shell::Bash, "bash-completion/completions"),
    (Shell::Zsh, "zsh/vendor-completions"),
    (Shell::Fish, "fish/vendor_completions.d"),
];
