use getrandom::SysRng;
use keyferry_protocol::memory::ProtectionLevel;
use rand_core::UnwrapErr;
use secrecy::SecretString;
use uuid::Uuid;

use super::*;

const NOW: UnixTime = UnixTime::from_seconds(1);

async fn load(
    folder: &std::path::Path,
    source: &MasterKeySource,
    store: &Store,
) -> Result<MasterKey, MasterKeyError> {
    let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
    let place = Place {
        data_dir: &DataDir::prepare(folder).unwrap(),
        arena: &arena,
        instance: Uuid::nil(),
    };
    let schema = store.schema().await.unwrap();
    MasterKey::load(source, &place, (store, &schema), &mut UnwrapErr(SysRng)).await
}

#[tokio::test]
async fn the_key_of_the_first_start_is_the_key_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_in_memory().await;
    let mut first = load(folder.path(), &MasterKeySource::Folder, &store)
        .await
        .unwrap();
    assert!(
        !folder.path().join(FILE).exists(),
        "unconfirmed, it is not written"
    );
    first.confirm(&store, NOW).await.unwrap();
    let mut next = load(folder.path(), &MasterKeySource::Folder, &store)
        .await
        .unwrap();
    assert_eq!(next.current().id(), first.current().id());
    next.confirm(&store, NOW).await.unwrap();
}

#[tokio::test]
async fn another_master_key_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_in_memory().await;
    let mut first = load(folder.path(), &MasterKeySource::Folder, &store)
        .await
        .unwrap();
    first.confirm(&store, NOW).await.unwrap();
    std::fs::remove_file(folder.path().join(FILE)).unwrap();
    let refused = load(folder.path(), &MasterKeySource::Folder, &store).await;
    assert!(matches!(refused, Err(MasterKeyError::Wrong(_))));
    assert!(!folder.path().join(FILE).exists());
}

#[tokio::test]
async fn a_passphrase_gives_the_same_key_again_and_a_short_one_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_in_memory().await;
    let said = |text: &str| MasterKeySource::Passphrase("P", SecretString::from(text));
    let long = said("correct horse battery staple");
    let mut first = load(folder.path(), &long, &store).await.unwrap();
    first.confirm(&store, NOW).await.unwrap();
    let mut next = load(folder.path(), &long, &store).await.unwrap();
    next.confirm(&store, NOW).await.unwrap();
    let other = said("correct horse battery stable");
    let refused = load(folder.path(), &other, &store).await;
    assert!(matches!(refused, Err(MasterKeyError::Wrong(_))));
    let refused = load(folder.path(), &said("too short"), &store).await;
    assert!(matches!(refused, Err(MasterKeyError::ShortPassphrase("P"))));
}
