use getrandom::SysRng;
use keyferry_protocol::memory::{self, ProtectionLevel};
use rand_core::UnwrapErr;
use secrecy::SecretString;
use uuid::Uuid;

use super::source::NEXT;
use super::*;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::testing::{self, Server};

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
async fn another_master_key_or_none_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_in_memory().await;
    let mut first = load(folder.path(), &MasterKeySource::Folder, &store)
        .await
        .unwrap();
    first.confirm(&store, NOW).await.unwrap();
    std::fs::remove_file(folder.path().join(FILE)).unwrap();
    let refused = load(folder.path(), &MasterKeySource::Folder, &store).await;
    assert!(matches!(refused, Err(MasterKeyError::Missing(_))));
    std::fs::write(folder.path().join(FILE), "A".repeat(43)).unwrap();
    let refused = load(folder.path(), &MasterKeySource::Folder, &store).await;
    assert!(matches!(refused, Err(MasterKeyError::Wrong(_))));
    std::fs::remove_file(folder.path().join(FILE)).unwrap();
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

/// A server that keeps its master key in this folder.
async fn server_at(folder: &std::path::Path) -> Server {
    let arena = Arena::new(memory::self_test().unwrap()).unwrap();
    let home = Home::new(&DataDir::prepare(folder).unwrap());
    let mut master_key = for_tests(&arena);
    home.make(&master_key.current()).unwrap();
    master_key.home = Some(home);
    Box::pin(testing::server_under(
        Config::for_tests(),
        (arena, master_key),
    ))
    .await
}

#[tokio::test]
async fn a_new_key_that_cannot_be_written_down_is_not_announced() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_at(folder.path()).await;
    // Whoever runs the test, a file cannot take the place of a folder.
    std::fs::create_dir(folder.path().join(NEXT)).unwrap();
    let refused = begin(&server.app, NewKey::Made).await;
    assert!(matches!(refused, Err(MasterKeyError::File { .. })));
    let announced = server.app.store.master_key_rotation().await.unwrap();
    assert!(announced.is_none());
    std::fs::remove_dir(folder.path().join(NEXT)).unwrap();
    begin(&server.app, NewKey::Made).await.unwrap();
}

#[tokio::test]
async fn the_old_key_is_not_forgotten_while_no_file_has_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let Server { app, .. } = &server_at(folder.path()).await;
    let rotation = begin(app, NewKey::Made).await.unwrap();
    std::fs::remove_file(folder.path().join(NEXT)).unwrap();
    std::fs::create_dir(folder.path().join(NEXT)).unwrap();
    while reseal_some(app, &rotation).await.unwrap() > 0 {}
    let refused = finish(app, &rotation).await;
    assert!(matches!(refused, Err(MasterKeyError::File { .. })));
    let rotation = app.store.master_key_rotation().await.unwrap();
    std::fs::remove_dir(folder.path().join(NEXT)).unwrap();
    finish(app, &rotation.unwrap()).await.unwrap();
    let next = load(folder.path(), &MasterKeySource::Folder, &app.store).await;
    assert_eq!(next.unwrap().current().id(), app.master_key.current().id());
}

#[tokio::test]
async fn a_server_that_starts_during_a_change_writes_the_new_key_down() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Server { app, .. } = &server_at(here.path()).await;
    std::fs::copy(here.path().join(FILE), there.path().join(FILE)).unwrap();
    begin(app, NewKey::Made).await.unwrap();
    let source = MasterKeySource::Folder;
    let mut other = load(there.path(), &source, &app.store).await.unwrap();
    other.confirm(&app.store, NOW).await.unwrap();
    let written = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(NEXT)).unwrap();
    assert_eq!(written(&there), written(&here));
}
