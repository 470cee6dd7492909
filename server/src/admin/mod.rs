//! The operator's commands.

mod audit;
mod backup;
mod care;
mod draft;
mod harden;
mod health;
mod import;
mod init;
mod log;
mod migrate;
mod open;
mod openapi;
mod people;
mod plan_limits;
mod progress;
mod renew_certificate;
mod rotate;
mod secrets_file;
mod serve;
mod start;
mod verify;
mod verify_services;
mod vm_channel;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::json;

use crate::config::{self, Config, Sources};
use crate::error::ApiError;

/// Any failure of a command, told to the operator with everything behind it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Keeps provider API keys encrypted on this host and ferries them into virtual machines.
#[derive(Parser)]
#[command(name = "keyferry-server", version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server until SIGTERM or SIGINT
    Serve(Serve),
    /// Ask the server on this host how it is; fails unless it can serve
    Health(health::Health),
    /// Prepare the data folder and create the first admin
    Init(init::InitFlags),
    /// Manage accounts and tenants on this host
    Admin(people::Admin),
    /// Print the OpenAPI document of this version; no server needs to run
    Openapi,
    /// What the host does for its virtual machines
    #[command(subcommand)]
    Vm(Vm),
    /// Count what the database holds
    Stats(care::CareFlags),
    /// Throw away what has ended, as running servers do by themselves
    Sweep(care::CareFlags),
    /// Write the whole database into a file, while servers run
    Backup(backup::BackupFlags),
    /// Fill an empty database from a backup, of this engine or the other
    Restore(backup::RestoreFlags),
    /// Show what a restore holds back, and let it live on
    Confirm(backup::ConfirmFlags),
    /// Take users and keys over from the PostgreSQL database of another system
    Import(import::ImportFlags),
    /// Bring the database to this program's schema; `serve` does so by itself
    Migrate(migrate::Migrate),
    /// Try everything: settings, database, clock, and that every sealed record opens
    Verify(verify::Verify),
    /// Verify, keep and prune the record of what happened
    Audit(audit::Audit),
    /// Replace one of the server's own keys
    #[command(subcommand)]
    Rotate(rotate::Rotate),
}

#[derive(Subcommand)]
enum Vm {
    /// Answer a VM over a Unix socket that its hypervisor connects to a serial port in it, so that
    /// it enrols by itself at every boot; prints the flags for QEMU and libvirt
    Channel(Channel),
}

#[derive(Args)]
struct Channel {
    /// The VM's name, or its id where several tenants have one of that name
    vm: String,
    /// Where the hypervisor connects
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Args)]
struct Settings {
    /// The folder for keys, certificate and database file
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<String>,
    /// A TOML file with settings. Without it keyferry.toml in the data folder, and where no data
    /// folder is named either, /etc/keyferry/server.toml of the package
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Where to listen, such as 127.0.0.1:8443; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Serve plain HTTP, on a loopback address only
    #[arg(long)]
    plain_http: bool,
    /// The URL under which agents reach this server; several with commas
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

/// The whole command line, for manuals.
pub(crate) fn command_line() -> clap::Command {
    CommandLine::command()
}

/// Runs the command line and says how it went.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let for_program = arguments.iter().any(|argument| argument == "--json");
    let command = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line.command,
        Err(told) => {
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    match harden::harden()
        .map_err(Failure::from)
        .and_then(|()| execute(command))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match for_program {
                true => tell_program(failure.as_ref()),
                false => tell(failure.as_ref()),
            }
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // What requests left behind on the stack of a thread goes before it rests.
        .on_thread_park(keyferry_protocol::memory::scrub)
        .build()?;
    if !matches!(command, Command::Serve(_) | Command::Vm(_)) {
        log::begin();
    }
    match command {
        Command::Serve(flags) => {
            let config = flags.config()?;
            runtime.block_on(serve::serve(config))
        }
        Command::Vm(Vm::Channel(flags)) => {
            let config = flags.serve.config()?;
            runtime.block_on(vm_channel::answer(config, &flags.vm, &flags.socket))
        }
        Command::Health(flags) => {
            let config = flags.serve.config()?;
            runtime.block_on(health::health(config, &flags))
        }
        Command::Init(flags) => runtime.block_on(init::init(flags)),
        Command::Admin(flags) => {
            let config = flags.settings.parse(Vec::new())?;
            runtime.block_on(people::admin(config, flags))
        }
        Command::Openapi => openapi::print(),
        Command::Stats(flags) => runtime.block_on(care::stats(flags)),
        Command::Sweep(flags) => runtime.block_on(care::sweep(flags)),
        Command::Backup(flags) => runtime.block_on(backup::backup(flags)),
        Command::Restore(flags) => runtime.block_on(backup::restore(flags)),
        Command::Confirm(flags) => runtime.block_on(backup::confirm(flags)),
        Command::Import(flags) => runtime.block_on(import::import(flags)),
        Command::Migrate(flags) => runtime.block_on(migrate::migrate(flags)),
        Command::Verify(flags) => runtime.block_on(verify::verify(flags)),
        Command::Rotate(what) => runtime.block_on(rotate::rotate(what)),
        Command::Audit(flags) => {
            let config = flags.settings.parse(Vec::new())?;
            runtime.block_on(audit::audit(config, flags))
        }
    }
}

impl Serve {
    fn config(&self) -> Result<Config, Failure> {
        let mut flags = Vec::new();
        flags.extend(self.listen.as_deref().map(|text| (config::LISTEN, text)));
        flags.extend(
            self.public_url
                .as_deref()
                .map(|text| (config::PUBLIC_URL, text)),
        );
        flags.extend(self.plain_http.then_some((config::PLAIN_HTTP, "true")));
        let sources = self.settings.sources(flags)?;
        sources.refuse_unknown()?;
        self.settings.parse_from(sources)
    }
}

impl Settings {
    /// Flags win over the environment, which wins over `.env`, which wins over the TOML file.
    fn parse<'a>(&'a self, flags: Vec<(&'static str, &'a str)>) -> Result<Config, Failure> {
        self.parse_from(self.sources(flags)?)
    }

    /// The same, refused where a server would refuse it.
    fn parse_as_served(&self) -> Result<Config, Failure> {
        let sources = self.sources(Vec::new())?;
        sources.refuse_unknown()?;
        self.parse_from(sources)
    }

    /// The same, with one more file of settings.
    fn parse_with(&self, more: Option<&Path>) -> Result<Config, Failure> {
        let sources = self.sources(Vec::new())?;
        sources.refuse_unknown()?;
        self.parse_from(match more {
            Some(path) if is_toml(path) => sources.and_toml(path)?,
            Some(path) => sources.and_dotenv(path)?,
            None => sources,
        })
    }

    /// The data folder, which may have no settings yet.
    fn data_folder(&self) -> Result<PathBuf, Failure> {
        Ok(self.and_file(self.sources(Vec::new())?)?.data_dir())
    }

    fn sources<'a>(&'a self, mut flags: Vec<(&'static str, &'a str)>) -> Result<Sources, Failure> {
        flags.extend(
            self.data_dir
                .as_deref()
                .map(|text| (config::DATA_DIR, text)),
        );
        Ok(Sources::from_pairs(flags)
            .and_environment(config::environment)
            .noting_unknown(config::environment_names())
            .and_dotenv(".env".as_ref())?)
    }

    fn parse_from(&self, sources: Sources) -> Result<Config, Failure> {
        Ok(Config::parse(&self.and_file(sources)?)?)
    }

    fn and_file(&self, sources: Sources) -> Result<Sources, Failure> {
        let usual = sources.data_dir().join("keyferry.toml");
        Ok(match &self.config {
            Some(path) => sources.and_toml(path)?,
            None if usual.exists() => sources.and_toml(&usual)?,
            None if self.are_installed(&sources) => sources
                .and_toml(INSTALLED.as_ref())?
                .and_data_dir(INSTALLED_DATA),
            None => sources,
        })
    }

    /// The same as far as flags and environment tell.
    fn lead_to_the_package(&self) -> bool {
        let sources = self.sources(Vec::new());
        sources.is_ok_and(|sources| self.are_installed(&sources))
    }

    /// Whether it is the package's server that is meant.
    fn are_installed(&self, sources: &Sources) -> bool {
        let named = self.config.is_some() || sources.names_data_dir();
        !named && !sources.data_dir().exists() && Path::new(INSTALLED).exists()
    }
}

/// Files of settings are TOML, or lines of NAME=VALUE.
fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "toml")
}

/// Where the package keeps settings and data.
const INSTALLED: &str = "/etc/keyferry/server.toml";
const INSTALLED_DATA: &str = "/var/lib/keyferry";

#[expect(
    clippy::print_stderr,
    reason = "this is how a command tells its operator what failed"
)]
fn tell(failure: &dyn std::error::Error) {
    eprintln!("keyferry-server: {failure}");
    for cause in causes(failure) {
        eprintln!("  because: {cause}");
    }
}

/// The same in one object.
#[expect(
    clippy::print_stderr,
    reason = "this is how a command tells a program what failed"
)]
fn tell_program(failure: &(dyn std::error::Error + Send + Sync + 'static)) {
    let mut text = failure.to_string();
    for cause in causes(failure) {
        text.push_str(": ");
        text.push_str(&cause);
    }
    let code = failure
        .downcast_ref::<ApiError>()
        .map_or("failed", |refused| refused.code());
    eprintln!("{}", json!({ "error": text, "code": code, "exit_code": 1 }));
}

/// What lies under a failure, one below the other. Some libraries repeat their cause in their own
/// words: it is told once.
fn causes(failure: &dyn std::error::Error) -> impl Iterator<Item = String> {
    let deeper = std::iter::successors(failure.source(), |cause| cause.source());
    let mut told = failure.to_string();
    deeper.filter_map(move |cause| {
        let text = cause.to_string();
        let repeated = told.ends_with(&text);
        told.clone_from(&text);
        (!repeated).then_some(text)
    })
}
