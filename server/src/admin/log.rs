//! What the programs tell of themselves: the log, on standard error, and traces.

use std::io::IsTerminal;

use tokio::runtime::Handle;
use tracing::Level;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::Failure;
use crate::config::{self, Config, LogFormat, Sources};
use crate::traces::{self, Traces};

/// For commands, whose log begins before files of settings are read: how it is written is looked
/// for in the environment and in `.env` alone.
pub(super) fn begin() {
    let sources = Sources::from_pairs(Vec::new()).and_environment(config::environment);
    let format = sources
        .and_dotenv(".env".as_ref())
        .and_then(|sources| LogFormat::parse(&sources));
    write_to_stderr(format.unwrap_or(LogFormat::People), None);
}

/// For what runs until it is stopped: the log, and traces where a collector is set.
pub(super) fn begin_with_traces(config: &Config) -> Result<Option<Traces>, Failure> {
    let settings = config.traces.as_ref();
    let traces = settings.map(|settings| Traces::new(settings, Handle::current()));
    let traces = traces.transpose()?;
    write_to_stderr(config.log, traces.as_ref());
    Ok(traces)
}

fn write_to_stderr(format: LogFormat, traces: Option<&Traces>) {
    let no_spans: Directive = format!("{}=off", traces::TARGET)
        .parse()
        .expect("a target's name and a level are a directive");
    let wanted = config::environment(config::LOG).filter(|wanted| !wanted.is_empty());
    let filter = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .parse_lossy(wanted.as_deref().unwrap_or(USUAL))
        .add_directive(no_spans);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match format {
        LogFormat::People => log.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Programs => log.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(traces.map(Traces::layer))
        .init();
}

/// PostgreSQL notices, at every start, that there is a schema already.
const USUAL: &str = "info,sqlx::postgres::notice=warn";
