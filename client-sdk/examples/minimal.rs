//! The whole use of a key, in ten lines.

use keyferry_sdk::{Client, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let key = Client::connect().await?.key("openai").await?;
    let length = key.expose(|bytes| bytes.len())?;
    assert!(
        length > 0,
        "the bytes are only lent: they are wiped when the closure returns"
    );
    Ok(())
}
