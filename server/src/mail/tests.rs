use std::fs;

use zeroize::Zeroizing;

use super::{Mail, Mailer, Route};
use crate::background::Background;
use crate::clock::Clock;
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
