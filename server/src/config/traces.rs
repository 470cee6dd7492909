//! Where traces go, under the names that OpenTelemetry gives its settings.

use std::path::PathBuf;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::names::{
    OTEL_ATTRIBUTES, OTEL_BATCH, OTEL_CERTIFICATE, OTEL_DELAY, OTEL_DISABLED, OTEL_ENDPOINT,
    OTEL_EXPORTER, OTEL_HEADERS, OTEL_PROTOCOL, OTEL_QUEUE, OTEL_SAMPLER, OTEL_SAMPLER_ARG,
    OTEL_SERVICE, OTEL_TIMEOUT, OTEL_TRACES_ENDPOINT,
};
use super::parse::{choice, number, wrong};
use super::{ConfigError, Sources};
use crate::outbound::Url;

/// The collector, what it is told, and how much of it.
pub(crate) struct TraceSettings {
    pub(crate) url: Url,
    /// Sent with every batch; what they say may be secret.
    pub(crate) headers: HeaderMap,
    /// Certificates of the collector's authority, in place of the system's.
    pub(crate) authorities: Option<PathBuf>,
    /// How long one batch may take.
    pub(crate) patience: Duration,
    pub(crate) sampling: Sampling,
    /// What the server calls itself, beginning with its name.
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) batches: Batches,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// Of those that no caller has decided on, 0 to 1.
    pub(crate) share: f64,
    pub(crate) callers: Callers,
}

/// Whether a proxy that we trust decides for the requests that it traces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callers {
    Decide,
    AreIgnored,
}

/// How spans are gathered. When the queue is full, further ones are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batches {
    pub(crate) queue: usize,
    pub(crate) most: usize,
    pub(crate) every: Duration,
}

impl TraceSettings {
    /// None unless the operator names a collector.
    pub(super) fn parse(sources: &Sources) -> Result<Option<Self>, ConfigError> {
        let off = match sources.text(OTEL_EXPORTER) {
            None | Some("otlp") => choice(sources, OTEL_DISABLED)?,
            Some("none") => true,
            Some(_) => return Err(wrong(OTEL_EXPORTER, "must be otlp or none")),
        };
        let Some((name, url)) = endpoint(sources).filter(|_| !off) else {
            return Ok(None);
        };
        if !matches!(sources.text(OTEL_PROTOCOL), None | Some("http/protobuf")) {
            let problem =
                "only http/protobuf is spoken: name the collector's port for it, usually 4318";
            return Err(wrong(OTEL_PROTOCOL, problem));
        }
        let url = Url::anywhere(&url);
        let url = url.map_err(|_| wrong(name, "must be http://HOST:PORT or https://HOST:PORT"))?;
        let headers = headers(sources)?;
        if !headers.is_empty() && url.is_readable_underway() {
            let problem = "would be read by others underway: use an https:// endpoint";
            return Err(wrong(OTEL_HEADERS, problem));
        }
        Ok(Some(Self {
            url,
            headers,
            authorities: sources.text(OTEL_CERTIFICATE).map(PathBuf::from),
            patience: milliseconds(sources, OTEL_TIMEOUT, 10_000)?,
            sampling: Sampling::parse(sources)?,
            attributes: attributes(sources)?,
            batches: Batches {
                queue: number(sources, OTEL_QUEUE, 2_048, 1..=65_536)?,
                most: number(sources, OTEL_BATCH, 512, 1..=4_096)?,
                every: milliseconds(sources, OTEL_DELAY, 5_000)?,
            },
        }))
    }
}

impl Sampling {
    fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let sampler = sources.text(OTEL_SAMPLER);
        let sampler = sampler.unwrap_or("parentbased_always_on");
        let (rule, callers) = match sampler.strip_prefix("parentbased_") {
            Some(rule) => (rule, Callers::Decide),
            None => (sampler, Callers::AreIgnored),
        };
        let share = match rule {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => number(sources, OTEL_SAMPLER_ARG, 1.0, 0.0..=1.0)?,
            _ => {
                let problem = "must be always_on, always_off or traceidratio, with or without \
                    parentbased_ before it";
                return Err(wrong(OTEL_SAMPLER, problem));
            }
        };
        Ok(Self { share, callers })
    }
}

/// The traces' own endpoint as it is, or the common one with the usual path.
fn endpoint(sources: &Sources) -> Option<(&'static str, String)> {
    let own = sources.text(OTEL_TRACES_ENDPOINT);
    let own = own.map(|url| (OTEL_TRACES_ENDPOINT, url.to_owned()));
    own.or_else(|| {
        let common = sources.text(OTEL_ENDPOINT)?.trim_end_matches('/');
        Some((OTEL_ENDPOINT, format!("{common}/v1/traces")))
    })
}

fn headers(sources: &Sources) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(sources, OTEL_HEADERS)? {
        let name = name.parse::<HeaderName>();
        let value = HeaderValue::try_from(value);
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err(wrong(OTEL_HEADERS, "a name or value cannot stand in HTTP"));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The service's name goes before what the list says of it.
fn attributes(sources: &Sources) -> Result<Vec<(String, String)>, ConfigError> {
    const NAME: &str = "service.name";
    let mut attributes = pairs(sources, OTEL_ATTRIBUTES)?;
    let listed = attributes.iter().position(|(name, _)| name == NAME);
    let listed = listed.map(|place| attributes.remove(place).1);
    let given = sources.text(OTEL_SERVICE).map(str::to_owned);
    let name = given
        .or(listed)
        .unwrap_or_else(|| "keyferry-server".to_owned());
    attributes.insert(0, (NAME.to_owned(), name));
    Ok(attributes)
}

/// `NAME=VALUE,NAME=VALUE`, where values may be percent-encoded.
fn pairs(sources: &Sources, setting: &'static str) -> Result<Vec<(String, String)>, ConfigError> {
    let text = sources.text(setting).unwrap_or_default();
    let entries = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    let pairs = entries.map(|entry| {
        let (name, value) = entry.split_once('=')?;
        let value = decode(value.trim())?;
        Some((name.trim().to_owned(), value))
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    pairs.ok_or_else(|| wrong(setting, "must be NAME=VALUE, with commas between several"))
}

fn decode(text: &str) -> Option<String> {
    let (plain, escaped) = text
        .split_once('%')
        .map_or((text, None), |(plain, rest)| (plain, Some(rest)));
    let mut bytes = plain.as_bytes().to_vec();
    for part in escaped.into_iter().flat_map(|rest| rest.split('%')) {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn milliseconds(
    sources: &Sources,
    setting: &'static str,
    default: u64,
) -> Result<Duration, ConfigError> {
    number(sources, setting, default, 10..=60_000).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::{Callers, Sampling, Sources, TraceSettings};

    fn parse(pairs: &[(&'static str, &str)]) -> Result<Option<TraceSettings>, String> {
        let sources = Sources::from_pairs(pairs.iter().copied());
        TraceSettings::parse(&sources).map_err(|error| error.to_string())
    }

    const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    const ENCRYPTED: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");

    #[test]
    fn nothing_is_traced_unless_a_collector_is_named() {
        assert!(parse(&[]).unwrap().is_none());
        assert!(
            parse(&[("OTEL_TRACES_SAMPLER", "always_on")])
                .unwrap()
                .is_none()
        );
        for off in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert!(parse(&[COLLECTOR, off]).unwrap().is_none(), "{off:?}");
        }
        let usual = parse(&[COLLECTOR]).unwrap().unwrap();
        assert_eq!(usual.url.text(), "http://collector:4318/v1/traces");
        assert_eq!(
            usual.attributes,
            [("service.name".into(), "keyferry-server".into())]
        );
    }

    #[test]
    fn the_traces_own_endpoint_is_taken_as_it_is() {
        let own = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://t.example.org/in",
        );
        let settings = parse(&[COLLECTOR, own]).unwrap().unwrap();
        assert_eq!(settings.url.text(), "https://t.example.org/in");
    }

    #[test]
    fn headers_are_decoded_hidden_and_kept_from_who_could_read_them_underway() {
        let headers = (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20abc, x-org = 7",
        );
        let settings = parse(&[ENCRYPTED, headers]).unwrap().unwrap();
        let token = settings.headers.get("authorization").unwrap();
        assert!(token == "Bearer abc" && token.is_sensitive());
        assert_eq!(settings.headers.get("x-org").unwrap(), "7");
        let refused = parse(&[COLLECTOR, headers]).err().unwrap();
        assert!(
            refused.contains("https://") && !refused.contains("abc"),
            "{refused}"
        );
        for wrong in ["authorization", "a=%zz", "a=%2", "a b=c"] {
            let wrong = ("OTEL_EXPORTER_OTLP_HEADERS", wrong);
            assert!(parse(&[ENCRYPTED, wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn samplers_are_those_of_opentelemetry() {
        let sampling = |sampler, share| {
            let sampler = ("OTEL_TRACES_SAMPLER", sampler);
            let share = ("OTEL_TRACES_SAMPLER_ARG", share);
            parse(&[COLLECTOR, sampler, share]).map(|settings| settings.unwrap().sampling)
        };
        let is = |share, callers| Ok(Sampling { share, callers });
        assert_eq!(sampling("", ""), is(1.0, Callers::Decide));
        assert_eq!(sampling("always_off", ""), is(0.0, Callers::AreIgnored));
        assert_eq!(
            sampling("parentbased_traceidratio", "0.25"),
            is(0.25, Callers::Decide)
        );
        assert!(sampling("traceidratio", "2").is_err());
        assert!(sampling("traceidratio", "NaN").is_err());
        assert!(sampling("xray", "").is_err());
    }

    #[test]
    fn another_protocol_is_refused_by_name() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let refused = parse(&[COLLECTOR, grpc]).err().unwrap();
        assert!(
            refused.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL: "),
            "{refused}"
        );
    }
}
