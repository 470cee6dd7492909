//! Tools at the socket and at the proxy: who is kept out, and what nobody may notice.

use std::path::Path;
use std::process::Command;

use futures_util::{SinkExt, StreamExt};
use keyferry_tests::{
    Agent, Engine, Person, Provider, Raw, RawAnswer, Secret, Server, Stage, binary, copy_of,
    on_both_engines,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

on_both_engines!(
    a_process_of_the_same_user_cannot_drain_the_socket,
    the_proxy_breaks_no_stream_no_websocket_and_no_odd_client,
);

async fn a_process_of_the_same_user_cannot_drain_the_socket(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let usual = ["keys", "put", "usual"];
    ada.run(&usual, Secret::fresh().text().as_bytes()).success();
    ada.put("bound", &Secret::fresh());
    let tool = stage.path("my-tool");
    copy_of("keyferry", &tool);
    let rule = format!("exe={}", tool.display());
    ada.run(&["keys", "policy", "bound", "--tool", &rule], b"")
        .success();
    let settings = "[policy]\nidentify_programs = true\n[limits]\nconnections = 8\n";
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", settings).await;
    agent.until_holding("bound", 1).await;

    let keyferry = binary("keyferry");
    let read = |program: &Path, key| {
        let mut command = Command::new(program);
        command.args(["read", key, "--socket"]).arg(agent.socket());
        let output = command
            .env_clear()
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    // Without a word from its owner nobody reads a key, and with one only whom it names.
    for program in [&tool, &keyferry] {
        let (given, why) = read(program, "usual");
        assert!(!given && why.contains("inject_only"), "{why}");
    }
    let (given, why) = read(&keyferry, "bound");
    assert!(!given && why.contains("not_permitted"), "{why}");
    assert!(read(&tool, "bound").0);
}

async fn the_proxy_breaks_no_stream_no_websocket_and_no_odd_client(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &provider.agent_settings()).await;
    agent.until_holding("openai", 1).await;
    let raw = Raw::of(&agent, "openai").await;
    streams_pass_piece_by_piece(&raw, &provider).await;
    websockets_pass(&raw).await;
    odd_clients_are_understood(&raw).await;
    a_proxy_in_the_environment_is_no_obstacle(&ada, &agent);
}

/// The provider sends the second piece only when the first has arrived.
async fn streams_pass_piece_by_piece(raw: &Raw, provider: &Provider) {
    let mut stream = raw.connect().await;
    let body = r#"{"stream": true}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        raw.token,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut piece) = (String::new(), [0; 4096]);
    while !answer.contains("fer") {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    assert!(!answer.contains("ried"));
    provider.go_on();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("ried") && answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
}

async fn websockets_pass(raw: &Raw) {
    let url = raw.base.replace("http://", "ws://") + "/v1/websocket";
    let request = ClientRequestBuilder::new(url.parse().unwrap())
        .with_header("Authorization", format!("Bearer {}", raw.token));
    let (mut socket, _) = client_async(request, raw.connect().await).await.unwrap();
    for text in ["one", &"three".repeat(20_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
}

/// Letters of any size, heads byte by byte, several requests at once, chunks with extensions and
/// trailers, and what has to be refused is refused with a reason.
async fn odd_clients_are_understood(raw: &Raw) {
    let token = &raw.token;
    let odd = format!("get: x\r\nAUTHORIZATION: Bearer {token}\r\n");
    let mut stream = raw.connect().await;
    let request = format!("GET /v1/models?a=%20&b=c#d HTTP/1.1\r\n{odd}connection: CLOSE\r\n\r\n");
    for byte in request.replace("#d", "").bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(RawAnswer::after(stream, "").await.status, 200);

    let chunks = "5;x=y\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n";
    let several = format!(
        "HEAD /v1/models HTTP/1.1\r\n{odd}\r\n\
         POST /v1/upload HTTP/1.1\r\n{odd}Transfer-Encoding: chunked\r\n\r\n{chunks}\
         OPTIONS /v1/models HTTP/1.1\r\n{odd}Connection: close\r\n\r\n"
    );
    let said = raw.say(&several).await;
    assert_eq!(
        (said.status, said.body.matches("HTTP/1.1 200").count()),
        (200, 2),
        "{said:?}"
    );
    assert!(said.body.contains("\"length\":5,"), "{said:?}");

    for (request, told) in [
        (format!("GET /v1/models HTTP/1.0\r\n{odd}\r\n"), "HTTP/1.1"),
        (
            format!("CONNECT api.openai.com:443 HTTP/1.1\r\n{odd}\r\n"),
            "HTTP/1.1",
        ),
        (
            "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer sk-1\r\n\r\n".into(),
            "keyferry exec",
        ),
    ] {
        let said = raw.say(&request).await;
        assert!(
            !said.code.is_empty() && said.body.contains(told),
            "{said:?}"
        );
    }
}

fn a_proxy_in_the_environment_is_no_obstacle(ada: &Person<'_>, agent: &Agent) {
    let call = "http_proxy=http://127.0.0.1:9 ALL_PROXY=http://127.0.0.1:9 exec \"$0\" exec --socket \
        \"$1\" -- sh -c 'curl --silent --fail -H \"Authorization: Bearer $OPENAI_API_KEY\" \
        \"$OPENAI_BASE_URL/models\" && echo done'";
    let socket = agent.socket().to_str().unwrap();
    let keyferry = binary("keyferry");
    let shell = [
        "exec",
        "--socket",
        socket,
        "--",
        "sh",
        "-c",
        call,
        keyferry.to_str().unwrap(),
        socket,
    ];
    let answer = ada.run(&shell, b"");
    assert!(answer.output.ends_with("done\n"), "{answer:?}");
}
