//! Providers that speak HTTP/2: the program, its SDK and the key notice nothing of it.

use keyferry_tests::{Engine, Raw, Secret, Speaks, Stage, python_with_sdks, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::proxy::{World, script};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_of_openai_works_with_a_host_that_speaks_http2_only() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with_provider(&stage, "openai", Speaks::Http2, "").await;
    let python = python_with_sdks();
    world.exec(
        &ada,
        &[python.to_str().unwrap(), "-B", &script("use_openai.py")],
    );
    world.seen_only_the_key();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_one_program_share_a_connection_and_bodies_and_trailers_pass() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with_provider(&stage, "openai", Speaks::Http2, "").await;
    let raw = Raw::of(&world.agent, "openai").await;
    let field = format!("AUTHORIZATION: Bearer {}\r\n", raw.token);
    let upload = "x".repeat(3 << 20);
    let requests = format!(
        "POST /v1/upload HTTP/1.1\r\n{field}Content-Length: {}\r\n\r\n{upload}\
         HEAD /v1/models HTTP/1.1\r\n{field}\r\n\
         POST /v1/trailers HTTP/1.1\r\n{field}TE: trailers\r\nTransfer-Encoding: chunked\r\n\
         Expect: 100-continue\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n\
         HEAD /v1/models HTTP/1.1\r\n{field}Connection: close\r\n\r\n",
        upload.len()
    );
    let mut stream = raw.connect().await;
    let (mut from_proxy, mut to_proxy) = stream.split();
    let mut answer = String::new();
    let (sent, heard) = tokio::join!(
        to_proxy.write_all(requests.as_bytes()),
        from_proxy.read_to_string(&mut answer)
    );
    sent.and(heard).unwrap();
    assert!(
        answer.contains(&format!("\"length\":{}", upload.len())),
        "{answer}"
    );
    assert!(answer.contains("HTTP/1.1 100 Continue\r\n\r\n"), "{answer}");
    let trailers = "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\nHTTP/1.1 200";
    assert!(answer.contains(trailers), "{answer}");
    let seen = world.provider.seen();
    let connections: Vec<u64> = seen.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 1, 1, 1]);
    world.seen_only_the_key();
    let tools = world.agent.status().await.proxy.unwrap().tools;
    assert_eq!(tools[0].requests, 4);
    assert!(
        tools[0].sent > 3 << 20 && tools[0].received > 300,
        "{tools:?}"
    );

    // A rotated key is used on the same connection from the next request on.
    let second = Secret::fresh();
    world.provider.rotate(&second);
    assert_eq!(raw.ask("/v1/models").await.status, 401);
    ada.rotate("openai", &second);
    world.agent.until_holding("openai", 2).await;
    assert_eq!(raw.ask("/v1/models").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_http2_passes_piece_by_piece_and_ends_with_its_key() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with_provider(&stage, "openai", Speaks::Http2, "").await;
    let raw = Raw::of(&world.agent, "openai").await;
    let body = r#"{"stream": true}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        raw.token,
        body.len()
    );
    let mut stream = raw.connect().await;
    for end in ["0\r\n\r\n", "revoked"] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut answer, mut piece) = (String::new(), [0; 4096]);
        while !answer.contains("fer") {
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "{answer}");
            answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        assert!(!answer.contains("ried"));
        if end == "revoked" {
            ada.revoke("openai");
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
            break;
        }
        world.provider.go_on();
        while !answer.ends_with(end) {
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "{answer}");
            answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        assert!(answer.contains("ried"));
    }
    until("the agent has wiped the key", async || {
        (world.agent.key("openai").await?.state == "revoked").then_some(())
    })
    .await;
    assert_eq!(raw.ask("/v1/models").await.refused(), (403, "revoked"));
}

/// Where a host speaks both, what HTTP/2 cannot carry is said in HTTP/1.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_http2_cannot_carry_needs_a_host_that_speaks_http1_too() {
    for (speaks, expected) in [
        (Speaks::Http2, "502 Bad Gateway"),
        (Speaks::Both, "101 Switching"),
    ] {
        let stage = Stage::new(Engine::Sqlite).await;
        let (world, _ada) = World::with_provider(&stage, "openai", speaks, "").await;
        let raw = Raw::of(&world.agent, "openai").await;
        let upgrade = format!(
            "GET /v1/websocket HTTP/1.1\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            raw.token
        );
        assert_eq!(raw.ask("/v1/models").await.status, 200);
        let mut stream = raw.connect().await;
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.contains(expected), "{answer}");
        assert_eq!(
            answer.contains("only_http2"),
            speaks == Speaks::Http2,
            "{answer}"
        );
    }
}
