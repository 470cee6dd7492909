//! The scanner finds what is there: without this, its zeros would mean nothing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use base64ct::{Base64, Encoding};
use memscan::{Finding, Matcher, Report, Sentinel, scan_file, scan_process, scan_tree};

#[test]
fn a_careless_process_is_caught_whole_in_hex_and_in_a_register() {
    let secret = random_secret();
    let mut holder = Holder::start(&secret);
    let mut report = Report::default();
    scan_process(&matcher(&secret), &mut report, holder.pid()).unwrap();
    let found: Vec<Finding> = report.findings().collect();
    assert!(
        found.iter().any(|it| it.whole && it.encoding == "raw"),
        "{report}"
    );
    assert!(found.iter().any(|it| it.encoding == "hex"), "{report}");
    assert!(
        found
            .iter()
            .any(|it| it.place.ends_with("general registers")),
        "{report}"
    );
    holder.end();
}

#[test]
fn a_process_goes_on_after_each_scan() {
    let secret = random_secret();
    let mut holder = Holder::start(&secret);
    for _ in 0..3 {
        scan_process(&matcher(&secret), &mut Report::default(), holder.pid()).unwrap();
    }
    assert!(holder.end(), "the holder must answer the end of its input");
}

#[test]
fn a_process_that_never_saw_the_secret_is_clean() {
    let mut holder = Holder::start(&random_secret());
    let mut report = Report::default();
    scan_process(&matcher(&random_secret()), &mut report, holder.pid()).unwrap();
    assert_eq!(report.hits(), 0, "{report}");
    assert!(report.scanned() > 100_000, "nearly nothing was read");
    holder.end();
}

#[test]
fn base64_is_found_at_every_alignment() {
    let secret = random_secret();
    let folder = tempfile::tempdir().unwrap();
    for lead in ["", "x", "xy"] {
        let text = [lead.as_bytes(), &secret, b"tail"].concat();
        let file = folder.path().join("encoded");
        std::fs::write(&file, Base64::encode_string(&text)).unwrap();
        let mut report = Report::default();
        scan_file(&matcher(&secret), &mut report, &file).unwrap();
        assert!(
            report
                .findings()
                .any(|it| it.encoding.starts_with("base64")),
            "after {lead:?}"
        );
    }
}

#[test]
fn a_secret_across_two_blocks_of_a_big_file_is_found_whole() {
    let secret = random_secret();
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = vec![b'.'; (1 << 20) - 7];
    bytes.extend(&secret);
    bytes.extend(vec![b'.'; 1 << 20]);
    std::fs::write(folder.path().join("big"), bytes).unwrap();
    let mut report = Report::default();
    scan_tree(&matcher(&secret), &mut report, folder.path()).unwrap();
    let whole: Vec<_> = report.findings().filter(|it| it.whole).collect();
    assert_eq!(whole.len(), 1, "{report}");
    assert_eq!(whole[0].addresses, [(1 << 20) - 7]);
}

#[test]
fn a_file_name_counts() {
    let secret = random_secret();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder
            .path()
            .join(String::from_utf8(secret.clone()).unwrap()),
        "",
    )
    .unwrap();
    let mut report = Report::default();
    scan_tree(&matcher(&secret), &mut report, folder.path()).unwrap();
    assert_eq!(report.hits(), 1, "{report}");
}

struct Holder(Child);

impl Holder {
    fn start(secret: &[u8]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_memscan"))
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.as_mut().unwrap();
        input.write_all(secret).unwrap();
        input.write_all(b"\n").unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready, "holding\n");
        Self(child)
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn end(&mut self) -> bool {
        drop(self.0.stdin.take());
        self.0.wait().unwrap().success()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn matcher(secret: &[u8]) -> Matcher {
    Matcher::new(
        &[Sentinel {
            name: "planted".into(),
            bytes: secret.to_vec(),
        }],
        8,
    )
}

fn random_secret() -> Vec<u8> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKMNPQRSTUVWXYZabcdefghj";
    let mut bytes = [0; 40];
    getrandom::fill(&mut bytes).unwrap();
    bytes
        .iter()
        .map(|byte| ALPHABET[usize::from(byte & 31)])
        .collect()
}
