//! Between server and PostgreSQL there may be a pooler, which takes what a connection is to be
//! bound by and may not pass it on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keyferry_tests::{Engine, Operator, Server, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// What a pooler does with the settings that a client begins with.
#[derive(Clone, Copy)]
enum Options {
    Passed,
    Dropped,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_keeps_the_bounds_of_connections_to_itself_is_refused() {
    let stage = Stage::new(Engine::Postgres).await;
    let mut server = Server::start(&stage);
    assert!(server.terminate().success());
    let passed = pooler(&stage, Options::Passed).await;
    let stats = Operator::of(&stage).with("DATABASE_URL", &passed);
    stats.run(&["stats"], b"").success();
    let dropped = pooler(&stage, Options::Dropped).await;
    let stats = Operator::of(&stage).with("DATABASE_URL", &dropped);
    let refused = stats.run(&["stats"], b"");
    assert_eq!(refused.code, 1, "{}", refused.output);
    let says = ["statement_timeout", "pool_mode = session"];
    let said = says.map(|word| refused.errors.contains(word));
    assert_eq!(said, [true; 2], "{}", refused.errors);
}

/// The database's URL by way of a pooler.
async fn pooler(stage: &Stage, options: Options) -> String {
    let url = stage.database().unwrap().url();
    let (name, settings) = url.split_once('?').unwrap();
    let name = name.rsplit('/').next().unwrap();
    let setting = |of: &str| {
        let mut settings = settings.split('&');
        settings.find_map(|one| one.strip_prefix(of)).unwrap()
    };
    let socket = format!("{}/.s.PGSQL.{}", setting("host="), setting("port="));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(carry(client, socket.clone(), options));
        }
    });
    let user = setting("user=");
    format!("postgres://{user}@{address}/{name}?sslmode=disable")
}

/// The first message of a client is its length, the protocol's number, and pairs of words.
async fn carry(mut client: TcpStream, socket: String, options: Options) -> std::io::Result<()> {
    let length = usize::try_from(client.read_u32().await?).unwrap() - 4;
    let mut first = vec![0; length];
    client.read_exact(&mut first).await?;
    if let Options::Dropped = options {
        first = without_options(&first);
    }
    let mut database = UnixStream::connect(socket).await?;
    let length = u32::try_from(first.len()).unwrap() + 4;
    database.write_u32(length).await?;
    database.write_all(&first).await?;
    copy_bidirectional(&mut client, &mut database).await?;
    Ok(())
}

fn without_options(first: &[u8]) -> Vec<u8> {
    let (protocol, words) = first.split_at(4);
    let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
    let pairs = words.chunks_exact(2);
    let kept =
        pairs.filter(|pair| !pair.contains(&b"options".as_slice()) && !pair.concat().is_empty());
    let kept: Vec<u8> = kept
        .flat_map(|pair| [pair.join(&0), vec![0]].concat())
        .collect();
    [protocol, &kept, &[0]].concat()
}
