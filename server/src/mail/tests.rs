use std::fs;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::{Mail, Mailer, Route};
use crate::background::Background;
use crate::clock::Clock;
use crate::config::{SmtpSettings, SmtpTls};
use crate::data_dir::DataDir;

fn mail(subject: &str) -> Mail {
    let text = Zeroizing::new("https://keyferry.example/x#kfe_AB\n".to_owned());
    Mail::new("ada@example.org".parse().unwrap(), subject, text)
}

fn mailer(route: Route) -> Mailer {
    let from = "Keyferry <keyferry@example.org>".parse().unwrap();
    Mailer::new(from, route, Clock::system(), Background::new())
}

#[tokio::test]
async fn without_a_mail_server_a_mail_is_a_file_that_only_the_server_reads() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDir::prepare(folder.path()).unwrap();
    mailer(Route::outbox(&data_dir).unwrap())
        .deliver(&mail("Hello"))
        .await;
    let file = fs::read_dir(folder.path().join("outbox"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert!(file.file_name().to_str().unwrap().ends_with(".eml"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(file.path()).unwrap();
    for line in [
        "From: Keyferry <keyferry@example.org>\r\n",
        "To: ada@example.org\r\n",
        "Subject: Hello\r\n",
        "\r\n\r\nhttps://keyferry.example/x#kfe_AB\r\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[tokio::test]
async fn a_subject_adds_no_field() {
    let mailer = mailer(Route::Kept(Vec::new().into()));
    mailer.post(mail("Hello\r\nBcc: eve@example.org"));
    let [text] = mailer.taken().await.try_into().unwrap();
    assert!(!text.contains("\nBcc:"), "{text}");
}

#[tokio::test]
async fn mails_that_wait_for_another_try_keep_no_others_waiting() {
    let hangs_up = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port: hangs_up.local_addr().unwrap().port(),
        tls: SmtpTls::None,
        credentials: None,
        ca_file: None,
    };
    let mailer = mailer(Route::smtp(&settings).unwrap());
    for _ in 0..9 {
        mailer.post(mail("Hello"));
    }
    let all_are_tried = async {
        for _ in 0..9 {
            drop(hangs_up.accept().await.unwrap());
        }
    };
    let soon = Duration::from_secs(60);
    tokio::time::timeout(soon, all_are_tried).await.unwrap();
}

/// Says these words, one line to each that it hears.
async fn mail_server<const N: usize>(says: [&'static str; N]) -> SmtpSettings {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (hears, mut speaks) = stream.into_split();
        let mut hears = BufReader::new(hears).lines();
        for line in says {
            speaks.write_all(line.as_bytes()).await.unwrap();
            hears.next_line().await.unwrap();
        }
    });
    SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port,
        tls: SmtpTls::None,
        credentials: None,
        ca_file: None,
    }
}

#[tokio::test]
async fn what_is_logged_of_a_refusal_names_nobody() {
    let refuses = ["220 here\r\n", "250 here\r\n", "250 go on\r\n", REFUSED];
    let babbles = ["ada@example.org is unknown here\r\n"];
    let refuses = mail_server(refuses).await;
    let babbles = mail_server(babbles).await;
    for (settings, words) in [(refuses, "answered 550"), (babbles, "not SMTP")] {
        let message = mailer(Route::Kept(Vec::new().into())).write(&mail("Hello"));
        let route = Route::smtp(&settings).unwrap();
        let cause = route.hand_over(&message.unwrap()).await.unwrap_err();
        let logged = cause.to_string();
        assert!(
            logged.contains(words) && !logged.contains("ada"),
            "{logged}"
        );
    }
}

const REFUSED: &str = "550 5.1.1 <ada@example.org>: no such user\r\n";
