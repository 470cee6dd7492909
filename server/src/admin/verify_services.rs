//! What `serve` loads beside the database: whether it could.

use super::Failure;
use super::verify::Check;
use crate::accounts::Providers;
use crate::alerts::Webhook;
use crate::config::{Config, Transport};
use crate::data_dir::DataDir;
use crate::http::Identity;
use crate::mail::Route;

/// The certificate, and the files that the way to each service takes. None of them is asked.
pub(super) fn services(config: &Config) -> impl Iterator<Item = Check> {
    let certificate =
        (config.transport == Transport::Tls).then(|| Check::of("certificate", certificate(config)));
    let mail = config.mail.smtp.as_ref().map(|smtp| {
        let route = Route::smtp(smtp);
        Check::of("mail server", route.map(|_| "its settings can be used"))
    });
    let webhook = match Webhook::new(&config.alerts) {
        Ok(None) => None,
        made => Some(Check::of(
            "webhook",
            made.map(|_| "its settings can be used"),
        )),
    };
    let providers = (!config.providers.is_empty()).then(|| {
        let made = Providers::new(&config.providers);
        Check::of("providers", made.map(|_| "their settings can be used"))
    });
    [certificate, mail, webhook, providers]
        .into_iter()
        .flatten()
}

fn certificate(config: &Config) -> Result<String, Failure> {
    let data_dir = DataDir::existing(&config.data_dir)?;
    if Identity::will_be_made(&data_dir, &config.tls) {
        return Ok("the first start makes one".to_owned());
    }
    let identity = Identity::load(&data_dir, &config.tls)?;
    Ok(identity.fingerprint())
}
