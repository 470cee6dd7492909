//! A real mail server, which tells what it got.

use serde_json::Value;

use crate::Stage;
use crate::program::Program;

/// How the server talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// With TLS after the greeting, and a login.
    Starttls,
    /// In the clear.
    Plain,
}

/// A running mail server on a free port.
pub struct MailServer {
    program: Program,
    port: String,
    settings: Vec<(&'static str, String)>,
}

impl MailServer {
    /// Starts it. Fails where `python3-aiosmtpd` is not installed.
    pub fn start(stage: &Stage, talk: Talk) -> Self {
        let script = stage.path("smtp.py");
        std::fs::write(&script, include_str!("smtp.py")).unwrap();
        let (certificate, key) = (stage.path("smtp.pem"), stage.path("smtp.key"));
        let mut arguments = vec![script];
        let mut settings = vec![("SMTP_TLS", "none".to_owned())];
        if talk == Talk::Starttls {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(&certificate, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            settings = vec![
                ("SMTP_TLS", "starttls".to_owned()),
                ("SMTP_CA_FILE", certificate.display().to_string()),
                ("SMTP_USERNAME", "keyferry".to_owned()),
                ("SMTP_PASSWORD", "mail-password".to_owned()),
            ];
            arguments.extend([certificate, key]);
        }
        let mut program = Program::start(stage, "smtp", "/usr/bin/python3".into(), |command| {
            command.args(arguments);
        });
        let port = program.next_line();
        settings.push(("SMTP_HOST", "localhost".to_owned()));
        settings.push(("SMTP_PORT", port.clone()));
        settings.push(("MAIL_FROM", "Keyferry <keyferry@example.org>".to_owned()));
        Self {
            program,
            port,
            settings,
        }
    }

    /// What the server under test is told about it.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        self.settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect()
    }

    /// Its port.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// The next mail that came.
    pub fn next_mail(&mut self) -> Value {
        serde_json::from_str(&self.program.next_line()).unwrap()
    }

    /// The token in the next mail.
    pub fn next_token(&mut self) -> String {
        let mail = self.next_mail();
        let text = mail["text"].as_str().unwrap();
        token_in(text)
    }
}

/// The token in this text, alone on its line.
pub fn token_in(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let token = lines.find(|line| line.starts_with("kfe_"));
    token.expect("the mail holds a token").to_owned()
}
