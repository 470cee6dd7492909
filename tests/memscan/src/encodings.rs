//! The shapes in which a program may leave a secret behind.

use std::fmt::Write as _;

/// One encoding of a secret.
pub(crate) struct Encoding {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// How many encoded bytes stand for one byte of the secret, rounded down.
    pub(crate) expansion: usize,
}

/// Every encoding of `secret` that is looked for.
pub(crate) fn encodings_of(secret: &[u8]) -> Vec<Encoding> {
    let mut all = vec![
        encoding("raw", 1, secret.to_vec()),
        encoding("reversed", 1, secret.iter().rev().copied().collect()),
        encoding("hex", 2, hex(secret).into_bytes()),
        encoding("HEX", 2, hex(secret).to_uppercase().into_bytes()),
        encoding("utf16le", 2, secret.iter().flat_map(|b| [*b, 0]).collect()),
        encoding("utf16be", 2, secret.iter().flat_map(|b| [0, *b]).collect()),
        encoding(
            "utf32le",
            4,
            secret.iter().flat_map(|b| [*b, 0, 0, 0]).collect(),
        ),
        encoding("bswap32", 1, byte_swapped(secret, 4)),
        encoding("bswap64", 1, byte_swapped(secret, 8)),
    ];
    all.extend(base64_at_every_alignment(secret));
    if let Ok(text) = std::str::from_utf8(secret) {
        all.extend(text_encodings(text));
    }
    all
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every write");
        text
    })
}

fn encoding(name: &'static str, expansion: usize, bytes: Vec<u8>) -> Encoding {
    Encoding {
        name,
        bytes,
        expansion,
    }
}

fn byte_swapped(secret: &[u8], width: usize) -> Vec<u8> {
    secret
        .chunks_exact(width)
        .flat_map(|word| word.iter().rev().copied())
        .collect()
}

/// Base64 of a secret that starts 0, 1 or 2 bytes after a group of three; the groups that mix in
/// its neighbours are left out.
fn base64_at_every_alignment(secret: &[u8]) -> Vec<Encoding> {
    const NAMES: [(&str, &str); 3] = [
        ("base64+0", "base64url+0"),
        ("base64+1", "base64url+1"),
        ("base64+2", "base64url+2"),
    ];
    let mut all = Vec::new();
    for (alignment, (plain, url)) in NAMES.into_iter().enumerate() {
        let rest = secret.get((3 - alignment) % 3..).unwrap_or_default();
        let whole_groups = rest.get(..rest.len() / 3 * 3).unwrap_or_default();
        all.push(encoding(
            plain,
            1,
            base64::<base64ct::Base64Unpadded>(whole_groups),
        ));
        all.push(encoding(
            url,
            1,
            base64::<base64ct::Base64UrlUnpadded>(whole_groups),
        ));
    }
    all
}

fn base64<Alphabet: base64ct::Encoding>(bytes: &[u8]) -> Vec<u8> {
    Alphabet::encode_string(bytes).into_bytes()
}

fn text_encodings(text: &str) -> Vec<Encoding> {
    let quoted = serde_json::Value::from(text).to_string();
    let json = quoted
        .trim_start_matches('"')
        .trim_end_matches('"')
        .to_owned();
    let escaped: String = text.bytes().map(|b| format!("\\u{b:04x}")).collect();
    let percent: String = text.bytes().map(percent_encoded).collect();
    vec![
        encoding("json-slash", 1, json.replace('/', "\\/").into_bytes()),
        encoding("json", 1, json.into_bytes()),
        encoding("json-u", 6, escaped.into_bytes()),
        encoding("percent", 1, percent.into_bytes()),
    ]
}

fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
