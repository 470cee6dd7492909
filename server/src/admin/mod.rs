//! The operator's commands.

mod harden;
mod init;
mod openapi;
mod people;
mod rotate;
mod serve;
mod start;
mod vm_channel;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config, Sources};

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
    /// Prepare the data folder and create the first admin
    Init(Init),
    /// Manage accounts and tenants on this host
    Admin(people::Admin),
    /// Print the OpenAPI document of this version; no server needs to run
    Openapi,
    /// What the host does for its virtual machines
    #[command(subcommand)]
    Vm(Vm),
    /// Replace one of the server's own keys
    #[command(subcommand)]
    Rotate(Rotate),
}

#[derive(Subcommand)]
enum Rotate {
    /// Sign tokens with a new key from now on; those of the old one count until they end
    Jwt {
        #[command(flatten)]
        settings: Settings,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
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
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// A TOML file with settings; keyferry.toml in the data folder when it is there
    #[arg(long, value_name = "FILE")]
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

#[derive(Args)]
struct Init {
    #[command(flatten)]
    settings: Settings,
    /// The first admin's name
    #[arg(long, value_name = "NAME")]
    username: String,
    /// The first admin's e-mail address
    #[arg(long, value_name = "MAIL")]
    email: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command line and says how it went.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line.command,
        Err(told) => {
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    log_to_stderr();
    match harden::harden()
        .map_err(Failure::from)
        .and_then(|()| execute(command))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(failure.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match command {
        Command::Serve(flags) => {
            let config = flags.config()?;
            runtime.block_on(serve::serve(config))
        }
        Command::Vm(Vm::Channel(flags)) => {
            let config = flags.serve.config()?;
            runtime.block_on(vm_channel::answer(config, &flags.vm, &flags.socket))
        }
        Command::Init(flags) => {
            let config = flags.settings.parse(Vec::new())?;
            runtime.block_on(init::init(config, flags))
        }
        Command::Admin(flags) => {
            let config = flags.settings.parse(Vec::new())?;
            runtime.block_on(people::admin(config, flags))
        }
        Command::Openapi => openapi::print(),
        Command::Rotate(Rotate::Jwt { settings, json }) => {
            let config = settings.parse(Vec::new())?;
            runtime.block_on(rotate::jwt(config, json))
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
        self.settings.parse(flags)
    }
}

impl Settings {
    /// Flags win over the environment, which wins over `.env`, which wins over the TOML file.
    fn parse<'a>(&'a self, mut flags: Vec<(&'static str, &'a str)>) -> Result<Config, Failure> {
        flags.extend(
            self.data_dir
                .as_deref()
                .map(|text| (config::DATA_DIR, text)),
        );
        let mut sources = Sources::from_pairs(flags)
            .and_environment(config::environment)
            .and_dotenv(".env".as_ref())?;
        let usual = sources.data_dir().join("keyferry.toml");
        if let Some(path) = &self.config {
            sources = sources.and_toml(path)?;
        } else if usual.exists() {
            sources = sources.and_toml(&usual)?;
        }
        Ok(Config::parse(&sources)?)
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .with_env_var("KEYFERRY_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

#[expect(
    clippy::print_stderr,
    reason = "this is how a command tells its operator what failed"
)]
fn tell(failure: &dyn std::error::Error) {
    eprintln!("keyferry-server: {failure}");
    let mut deeper = failure.source();
    while let Some(cause) = deeper {
        eprintln!("  because: {cause}");
        deeper = cause.source();
    }
}
