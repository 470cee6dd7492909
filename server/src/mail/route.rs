//! Where mails go.

use std::io;
use std::path::PathBuf;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::config::{SmtpSettings, SmtpTls};
use crate::data_dir::DataDir;
use crate::reread::Reread;

/// Takes mails out of the house.
pub(crate) enum Route {
    /// A mail server.
    Smtp(Box<Reread<AsyncSmtpTransport<Tokio1Executor>>>),
    /// A folder with one `.eml` file a mail.
    Outbox(PathBuf),
    /// The memory of a test.
    #[cfg(test)]
    Kept(std::sync::Mutex<Vec<String>>),
}

/// Why a mail is not on its way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    /// No mail server would take this address.
    #[error("the address is none that mail can be sent to")]
    Address(#[from] lettre::address::AddressError),
    /// The mail cannot be put together.
    #[error("the mail cannot be written")]
    Message(#[from] lettre::error::Error),
    /// The mail server did not take it.
    #[error("the mail server did not take it: {}", said(.0))]
    Smtp(#[from] lettre::transport::smtp::Error),
    /// The outbox did not take it.
    #[error("the outbox did not take it: {0}")]
    Outbox(#[from] io::Error),
}

impl MailError {
    /// Whether trying again cannot help.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Address(_) | Self::Message(_) => true,
            Self::Smtp(cause) => cause.is_permanent(),
            Self::Outbox(_) => false,
        }
    }
}

/// What may be logged of it: the words of a mail server often repeat the address.
fn said(cause: &lettre::transport::smtp::Error) -> String {
    match cause.status() {
        Some(code) => format!("it answered {code}"),
        None if cause.is_response() => "its answer is not SMTP".to_owned(),
        None => cause.to_string(),
    }
}

impl Route {
    /// A mail server, with TLS unless it is on this machine and the operator says otherwise. Its
    /// authority is read again when it changes.
    pub(crate) fn smtp(settings: &SmtpSettings) -> Result<Self, MailError> {
        let files = settings.ca_file.clone().into_iter().collect();
        let settings = settings.clone();
        let server = Reread::new(files, move || transport(&settings))?;
        Ok(Self::Smtp(Box::new(server)))
    }

    /// The folder `outbox` among the server's data.
    pub(crate) fn outbox(data_dir: &DataDir) -> io::Result<Self> {
        let folder = data_dir.path().join("outbox");
        DataDir::prepare(&folder)?.clear_dead_drafts()?;
        Ok(Self::Outbox(folder))
    }

    pub(super) async fn hand_over(&self, message: &Message) -> Result<(), MailError> {
        match self {
            Self::Smtp(server) => server.latest().send(message.clone()).await.map(drop)?,
            Self::Outbox(folder) => {
                let (folder, bytes) = (folder.clone(), message.formatted());
                let written = tokio::task::spawn_blocking(move || {
                    DataDir::prepare(&folder)?.write(&format!("{}.eml", Uuid::now_v7()), &bytes)
                });
                written.await.map_err(io::Error::other)??;
            }
            #[cfg(test)]
            Self::Kept(mails) => {
                let text = String::from_utf8(message.formatted()).unwrap();
                mails.lock().unwrap().push(text);
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> Vec<String> {
        match self {
            Self::Kept(mails) => std::mem::take(&mut mails.lock().unwrap()),
            _ => Vec::new(),
        }
    }
}

fn transport(settings: &SmtpSettings) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let tls = match settings.tls {
        SmtpTls::None => Tls::None,
        SmtpTls::Starttls => Tls::Required(parameters(settings)?),
        SmtpTls::Wrapped => Tls::Wrapper(parameters(settings)?),
    };
    let host = settings.host.as_str();
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(settings.port)
        .tls(tls);
    if let Some((name, password)) = &settings.credentials {
        let password = password.expose_secret().to_owned();
        builder = builder.credentials(Credentials::new(name.clone(), password));
    }
    Ok(builder.build())
}

fn parameters(settings: &SmtpSettings) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path)?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(builder.build()?)
}
