//! Writes one honest input of every kind for the fuzz targets to start from.
#![expect(clippy::unwrap_used, reason = "a generator fails by panicking")]

use std::path::{Path, PathBuf};

use getrandom::SysRng;
use keyferry_protocol::agreement::{KeyPair, PublicKey};
use keyferry_protocol::handshake::agent::{Hello, begin};
use keyferry_protocol::handshake::{CredentialKind, CredentialRef, Suite};
use keyferry_protocol::ids::{CredentialId, InstanceId, SessionId, VmId};
use keyferry_protocol::local::{Delivery as LocalDelivery, Refusal, RefusalCode, Reply, Request};
use keyferry_protocol::memory::{Arena, PageState, ProtectionLevel, self_test};
use keyferry_protocol::sealed::{put_info, seal};
use keyferry_protocol::ticket::Ticket;
use keyferry_protocol::wire::{
    Accept, Access, AccessKind, Budget, Delivery, Held, KeyPolicy, Outcome, Put, ToAgent, ToServer,
    ToolRule, Used,
};
use rand_core::UnwrapErr;
use serde_json::json;

fn main() {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .expect("usage: fuzz_seeds FOLDER");
    let arena = Arena::new(self_test().unwrap()).unwrap();
    let server = KeyPair::generate(&arena, &mut UnwrapErr(SysRng)).unwrap();
    handshakes(&folder, &arena, &server);
    to_agent(&folder, &arena);
    to_server(&folder, &arena);
    local(&folder);
    texts(&folder, &arena, &server);
    requests(&folder);
    answers(&folder);
}

fn handshakes(folder: &Path, arena: &Arena, server: &KeyPair) {
    let agent_key = KeyPair::generate(arena, &mut UnwrapErr(SysRng)).unwrap();
    for suite in [Suite::Classical, Suite::Hybrid] {
        let hello = Hello {
            server_key: server.public(),
            suite,
            instance: InstanceId([1; 16]),
            credential: CredentialRef {
                kind: CredentialKind::Ticket,
                id: CredentialId([2; 16]),
            },
            agent_key: &agent_key,
        };
        let (_, first) = begin(arena, &mut UnwrapErr(SysRng), hello).unwrap();
        write(folder, "handshake_first", &suite.to_string(), &first);
    }
    for target in ["handshake_reply", "handshake_third", "channel"] {
        // An odd first byte lays the rest over an honest message.
        write(folder, target, "honest", &[1]);
        write(
            folder,
            target,
            "one_bit",
            &[&[1][..], &[0; 40], &[1]].concat(),
        );
        write(folder, target, "forged", &[0; 200]);
    }
}

fn to_agent(folder: &Path, arena: &Arena) {
    let key = || "openai".parse().unwrap();
    let accept = Accept {
        session: SessionId([1; 16]),
        vm: VmId([2; 16]),
        lease_seconds: 900,
        next_id: CredentialId([3; 16]),
        next_secret: &[4; 32],
    };
    let messages = [
        ("accept", ToAgent::Accept(accept)),
        ("put", ToAgent::Put(put())),
        (
            "retire",
            ToAgent::Retire {
                key: key(),
                version: 1,
            },
        ),
        ("revoke", ToAgent::Revoke { key: key() }),
        ("wipe", ToAgent::Wipe),
        ("lease", ToAgent::Lease { seconds: 900 }),
        ("drain", ToAgent::Drain),
        (
            "server_key",
            ToAgent::ServerKey {
                key: PublicKey([7; 32]),
            },
        ),
        (
            "used",
            ToAgent::Used(vec![Used {
                key: key(),
                requests: 7,
                bytes: 1 << 20,
            }]),
        ),
    ];
    for (name, message) in messages {
        write(
            folder,
            "wire_to_agent",
            name,
            message.encode(arena).unwrap().expose(),
        );
    }
}

/// With all that a key can have.
fn put() -> Put<'static> {
    Put {
        key: "openai".parse().unwrap(),
        version: 1,
        not_after: 0,
        provider: "openai",
        delivery: Delivery::Raw,
        allowed_hosts: vec!["api.openai.com"],
        policy: KeyPolicy {
            tools: vec![ToolRule {
                uid: Some(1000),
                gid: Some(100),
                exe: Some("/usr/bin/curl".to_owned()),
                sha256: Some([5; 32]),
            }],
            budget: Budget {
                requests_per_minute: 60,
                requests_per_day: 1000,
                bytes_per_day: 1 << 30,
            },
        },
        value: b"sk-value",
    }
}

fn to_server(folder: &Path, arena: &Arena) {
    let key = || "openai".parse().unwrap();
    let held = Held {
        protection: ProtectionLevel::MemfdSecret,
        keys: vec![(key(), 1)],
    };
    let access = Access {
        key: key(),
        version: 1,
        uid: 1000,
        at: 5,
        count: 3,
        sent: 1,
        received: 2,
        kind: AccessKind::Requested,
    };
    let messages = [
        (
            "ready",
            ToServer::Ready {
                credential: CredentialId([3; 16]),
            },
        ),
        (
            "ack",
            ToServer::Ack {
                key: key(),
                version: 1,
                outcome: Outcome::Held,
            },
        ),
        ("held", ToServer::Held(held)),
        ("audit", ToServer::Audit(vec![access])),
        ("bye", ToServer::Bye),
    ];
    for (name, message) in messages {
        write(
            folder,
            "wire_to_server",
            name,
            message.encode(arena).unwrap().expose(),
        );
    }
}

fn local(folder: &Path) {
    let name = || "openai".parse().unwrap();
    let requests = [
        Request::Hello { version: 1 },
        Request::Open {
            name: name(),
            delivery: LocalDelivery::Page,
        },
        Request::Open {
            name: name(),
            delivery: LocalDelivery::Inject,
        },
        Request::Status,
    ];
    let refusal = Refusal {
        code: RefusalCode::NotPermitted,
        rule: "rule".into(),
        advice: "advice".into(),
    };
    let replies = [
        Reply::Welcome {
            version: 1,
            protection: ProtectionLevel::MemfdSecret,
        },
        Reply::Page {
            name: name(),
            version: 1,
        },
        Reply::Refused(refusal),
        Reply::Status(b"{}".to_vec()),
        Reply::Changed {
            name: name(),
            version: 2,
            state: PageState::Live,
        },
        Reply::Proxied {
            port: 40_000,
            name: name(),
            provider: "openai".into(),
            token: TOKEN.into(),
        },
    ];
    let frames = requests
        .iter()
        .map(Request::encode)
        .chain(replies.iter().map(Reply::encode));
    for (number, frame) in frames.enumerate() {
        write(folder, "local", &number.to_string(), &frame);
    }
}

fn texts(folder: &Path, arena: &Arena, server: &KeyPair) {
    let ticket = Ticket {
        id: CredentialId([1; 16]),
        secret: arena.hold(&[2; 32]).unwrap(),
        server_key: server.public(),
        min_suite: Suite::Hybrid,
        spki_pin: Some([3; 32]),
        urls: vec![
            "https://127.0.0.1:8443".into(),
            "https://keys.example.org".into(),
        ],
    };
    write(
        folder,
        "ticket",
        "two_urls",
        ticket.print(arena).unwrap().expose(),
    );
    let info = put_info([1; 16], &"openai".parse().unwrap(), 1);
    let value = arena.hold(b"sk-value").unwrap();
    let sealed = seal(
        arena,
        &mut UnwrapErr(SysRng),
        server.public(),
        &info,
        &value,
    )
    .unwrap();
    write(folder, "sealed", "value", &sealed);
    write(folder, "key_name", "usual", b"groq-prod_2.x");
}

/// To the server and to the agent's proxy. A byte before a head says where it is cut.
fn requests(folder: &Path) {
    let heads = [
        (
            "get",
            "GET /keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n",
        ),
        (
            "put",
            "PUT /keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        ),
        (
            "chunks",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "agent",
            "GET /agent HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        ),
    ];
    for (name, head) in heads {
        write(
            folder,
            "request_head",
            name,
            format!("\x14{head}").as_bytes(),
        );
        let proxied = head.replacen("\r\n", &format!("\r\nx-api-key: {TOKEN}\r\n"), 1);
        write(folder, "proxy_request", name, proxied.as_bytes());
    }
    let google = format!("GET /@host/v1?key={TOKEN}&a=b HTTP/1.1\r\n\r\n");
    write(folder, "proxy_request", "google", google.as_bytes());
    let bodies = [
        json!({ "username": "ada", "email": "a@b", "password": "x", "full_name": "A", "tenant_name": "T" }),
        json!({ "username": "ada", "password": "x", "mfa_code": "1", "cookie": true }),
        json!({ "refresh_token": "x", "token": "x", "mfa_token": "x", "code": "1" }),
        json!({ "provider": "openai", "sealed": "x", "version": 1, "policy": { "delivery": "raw",
            "vms": [], "lease_seconds": 60, "allowed_hosts": ["a"], "expires_at": "x" } }),
        json!({ "value": "x", "overlap_seconds": 60, "name": "a", "permissions": ["vault:read"] }),
        json!({ "current_password": "x", "new_password": "y", "role": "member", "status": "x" }),
    ];
    for (number, body) in bodies.iter().enumerate() {
        write(
            folder,
            "json_body",
            &number.to_string(),
            body.to_string().as_bytes(),
        );
    }
}

/// To the agent's proxy. Before an answer, a byte says whether it is one to HEAD, and one where its
/// body is cut.
fn answers(folder: &Path) {
    let answers = [
        (
            "length",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"),
        ("interim", "HTTP/1.1 100 Continue\r\n\r\n"),
    ];
    for (name, answer) in answers {
        write(
            folder,
            "proxy_answer",
            name,
            format!("\0\x03{answer}").as_bytes(),
        );
    }
    let chunks = b"\x035;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
    write(folder, "proxy_chunks", "two", chunks);
}

fn write(folder: &Path, target: &str, name: &str, bytes: &[u8]) {
    let folder = folder.join(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
}

const TOKEN: &str = "kfp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
