//! How the server sends mail.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use secrecy::SecretString;

use super::names::{
    EMAIL_VERIFICATION, MAIL_FROM, RESET_MINUTES, SMTP_CA_FILE, SMTP_HOST, SMTP_PASSWORD,
    SMTP_PORT, SMTP_TLS, SMTP_USERNAME, VERIFICATION_HOURS,
};
use super::parse::{choice, number, wrong};
use super::{ConfigError, Sources};

/// How mail is sent.
pub(crate) struct MailSettings {
    /// Who writes.
    pub(crate) from: Mailbox,
    /// Whether an account needs a verified address before its first login.
    pub(crate) must_verify: bool,
    /// How long the link to verify an address counts.
    pub(crate) verification_life: Duration,
    /// How long the link to reset a password counts.
    pub(crate) reset_life: Duration,
    /// The mail server; without one, mails go to the outbox folder.
    pub(crate) smtp: Option<SmtpSettings>,
}

/// A mail server.
#[derive(Clone)]
pub(crate) struct SmtpSettings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: SmtpTls,
    /// A certificate authority of one's own, as PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// Name and password.
    pub(crate) credentials: Option<(String, SecretString)>,
}

/// How the way to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SmtpTls {
    /// TLS after a greeting in the clear; without it no mail is sent.
    Starttls,
    /// TLS from the first byte.
    Wrapped,
    /// Nothing, for a mail server on this machine.
    None,
}

impl MailSettings {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let from = sources
            .text(MAIL_FROM)
            .unwrap_or("Keyferry <keyferry@localhost>");
        let from = from
            .parse()
            .map_err(|_| wrong(MAIL_FROM, "must be NAME <ADDRESS> or an address"))?;
        let smtp = sources.text(SMTP_HOST).map(|host| smtp(sources, host));
        let hours = number(sources, VERIFICATION_HOURS, 24_u64, 1..=720)?;
        let minutes = number(sources, RESET_MINUTES, 30_u64, 1..=1_440)?;
        Ok(Self {
            from,
            must_verify: choice(sources, EMAIL_VERIFICATION)?,
            verification_life: Duration::from_secs(hours * 3_600),
            reset_life: Duration::from_secs(minutes * 60),
            smtp: smtp.transpose()?,
        })
    }
}

fn smtp(sources: &Sources, host: &str) -> Result<SmtpSettings, ConfigError> {
    let (tls, usual_port) = match sources.text(SMTP_TLS) {
        None | Some("starttls") => (SmtpTls::Starttls, 587),
        Some("tls") => (SmtpTls::Wrapped, 465),
        Some("none") => (SmtpTls::None, 25),
        Some(_) => return Err(wrong(SMTP_TLS, "must be starttls, tls or none")),
    };
    let loopback = host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
    if tls == SmtpTls::None && !loopback {
        return Err(wrong(SMTP_TLS, "none is only possible on this machine"));
    }
    let credentials = match (sources.text(SMTP_USERNAME), sources.text(SMTP_PASSWORD)) {
        (None, None) => None,
        (Some(name), Some(password)) => Some((name.to_owned(), SecretString::from(password))),
        _ => return Err(wrong(SMTP_USERNAME, "goes together with SMTP_PASSWORD")),
    };
    Ok(SmtpSettings {
        host: host.to_owned(),
        port: number(sources, SMTP_PORT, usual_port, 1..=65_535)?,
        tls,
        ca_file: sources.text(SMTP_CA_FILE).map(PathBuf::from),
        credentials,
    })
}

#[cfg(test)]
mod tests {
    use super::{MailSettings, SmtpTls, Sources};

    fn parse<const N: usize>(pairs: [(&'static str, &str); N]) -> Result<MailSettings, String> {
        MailSettings::parse(&Sources::from_pairs(pairs)).map_err(|error| error.to_string())
    }

    #[test]
    fn mail_leaves_the_machine_only_under_tls() {
        let usual = parse([("SMTP_HOST", "mail.example.org")])
            .unwrap()
            .smtp
            .unwrap();
        assert_eq!((usual.tls, usual.port), (SmtpTls::Starttls, 587));
        let bare = parse([("SMTP_HOST", "mail.example.org"), ("SMTP_TLS", "none")]);
        assert!(bare.err().unwrap().starts_with("SMTP_TLS: "));
        assert!(parse([("SMTP_HOST", "127.0.0.1"), ("SMTP_TLS", "none")]).is_ok());
    }

    #[test]
    fn without_a_host_there_is_no_mail_server() {
        assert!(parse([]).unwrap().smtp.is_none());
        assert!(parse([("MAIL_FROM", "nobody")]).is_err());
    }
}
