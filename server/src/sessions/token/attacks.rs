//! Tokens as attackers make them: each is refused, and the one that they are made of is not.

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::tests::{bearer, hs256, signed};
use super::{check, issue};
use crate::app::App;
use crate::config::Config;
use crate::testing::{self, Server};

async fn servers() -> [Server; 2] {
    [
        testing::server_with(Config::for_tests()).await,
        testing::server_with(hs256()).await,
    ]
}

fn good(app: &App) -> String {
    let token = issue(app, &bearer()).unwrap();
    assert!(check(app, &token).is_some());
    token.to_string()
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

/// The good token's claims under another head and signature.
fn under(app: &App, header: &Value, sign: impl Fn(&str) -> String) -> String {
    let good = good(app);
    let claims = good.split('.').nth(1).unwrap();
    let message = format!("{}.{claims}", part(header.to_string()));
    let signature = sign(&message);
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    for server in servers().await {
        let app = &server.app;
        let kid = app.signing_keys.keys().current_id().to_owned();
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let header = json!({ "alg": alg, "typ": "at+jwt", "kid": kid });
            assert!(
                check(app, &under(app, &header, |_| String::new())).is_none(),
                "{alg}"
            );
        }
        let token = good(app);
        let (message, _) = token.rsplit_once('.').unwrap();
        for cut in [
            message.to_owned(),
            format!("{message}."),
            format!("{message}.AA"),
        ] {
            assert!(check(app, &cut).is_none(), "{cut}");
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let server = testing::server().await;
    let app = &server.app;
    let keys = serde_json::to_value(app.signing_keys.keys().published()).unwrap();
    let public = Base64UrlUnpadded::decode_vec(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
    let text = keys["keys"][0].to_string();
    let kid = app.signing_keys.keys().current_id().to_owned();
    for secret in [
        public.as_slice(),
        keys["keys"][0]["x"].as_str().unwrap().as_bytes(),
        text.as_bytes(),
        b"",
    ] {
        for alg in ["HS256", "HS384", "EdDSA"] {
            let header = json!({ "alg": alg, "typ": "at+jwt", "kid": kid });
            let forged = under(app, &header, |message| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                part(hmac::sign(&key, message.as_bytes()))
            });
            assert!(check(app, &forged).is_none(), "{alg}");
        }
    }
}

#[tokio::test]
async fn an_attackers_own_key_is_not_taken_from_the_header() {
    for server in servers().await {
        let app = &server.app;
        for (field, value) in [
            (
                "jwk",
                json!({ "kty": "OKP", "crv": "Ed25519", "x": part([9; 32]) }),
            ),
            ("jwk", json!({ "kty": "oct", "k": part(b"secret") })),
            ("jku", json!("https://evil.example/jwks.json")),
            ("x5u", json!("https://evil.example/cert.pem")),
            ("x5c", json!(["MIIB"])),
            ("x5t#S256", json!(part([1; 32]))),
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
            ("cty", json!("JWT")),
        ] {
            let token = signed(app, |header, _| header[field] = value.clone());
            assert!(check(app, &token).is_none(), "{field}");
        }
    }
}

#[tokio::test]
async fn a_key_id_leads_nowhere_else() {
    for server in servers().await {
        let app = &server.app;
        for kid in [
            json!(""),
            json!("../../../../dev/null"),
            json!("' UNION SELECT 'x' --"),
            json!("current"),
            json!(0),
            json!(null),
            json!([app.signing_keys.keys().current_id()]),
            json!("\u{0}"),
        ] {
            let token = signed(app, |header, _| header["kid"] = kid.clone());
            assert!(check(app, &token).is_none(), "{kid}");
        }
        for field in ["alg", "typ", "kid"] {
            let token = signed(app, |header, _| {
                header.as_object_mut().unwrap().remove(field);
            });
            assert!(check(app, &token).is_none(), "{field}");
        }
    }
}

#[tokio::test]
async fn base64_has_one_form() {
    for server in servers().await {
        let app = &server.app;
        let token = good(app);
        let parts: Vec<&str> = token.split('.').collect();
        for place in 0..3 {
            let mut forms = vec![
                format!("{}=", parts[place]),
                format!("{}==", parts[place]),
                format!("{}\n", parts[place]),
                format!(" {}", parts[place]),
                format!("{}A", parts[place]),
            ];
            // The unused bits of the last character, one by one.
            let last = parts[place].chars().next_back().unwrap();
            forms.extend(
                ('A'..='z')
                    .filter(|other| *other != last)
                    .map(|other| format!("{}{other}", &parts[place][..parts[place].len() - 1])),
            );
            for form in forms {
                let mut changed = parts.clone();
                changed[place] = &form;
                assert!(check(app, &changed.join(".")).is_none(), "{place}: {form}");
            }
        }
    }
}

#[tokio::test]
async fn other_shapes_of_tokens_are_refused() {
    for server in servers().await {
        let app = &server.app;
        let token = good(app);
        let parts: Vec<&str> = token.split('.').collect();
        let json_form = json!({ "payload": parts[1], "signatures":
            [{ "protected": parts[0], "signature": parts[2] }] });
        for shape in [
            json_form.to_string(),
            format!("{token}.{}", parts[2]),
            format!("{token}.."),
            format!("{}.{token}", parts[0]),
            token.replacen('.', "..", 1),
            format!("{}.{}", parts[1], parts[2]),
            format!("Bearer {token}"),
            format!("{token}{}", "A".repeat(5_000)),
        ] {
            assert!(check(app, &shape).is_none(), "{shape}");
        }
    }
}

#[tokio::test]
async fn claims_of_a_wrong_type_are_refused() {
    for server in servers().await {
        let app = &server.app;
        for (claim, value) in [
            ("exp", json!("9999999999")),
            ("exp", json!(1e30)),
            ("exp", json!(null)),
            ("nbf", json!("0")),
            ("iat", json!([])),
            ("iss", json!(["urn:keyferry"])),
            ("aud", json!({})),
            ("sub", json!(7)),
            ("sid", json!("")),
            ("jti", json!("x")),
            ("tenant", json!(null)),
            ("roles", json!("owner")),
        ] {
            let token = signed(app, |_, claims| claims[claim] = value.clone());
            assert!(check(app, &token).is_none(), "{claim}: {value}");
        }
    }
}
