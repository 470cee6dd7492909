use super::super::Arena;
use super::*;

fn shared(level: ProtectionLevel) -> (SecretPage, MappedPage, ValueBuffer) {
    let page = SecretPage::new(level).unwrap();
    let reader = MappedPage::map(page.descriptor().try_clone_to_owned().unwrap()).unwrap();
    (
        page,
        reader,
        ValueBuffer::new(&Arena::new(level).unwrap()).unwrap(),
    )
}

const LEVELS: [ProtectionLevel; 3] = [
    ProtectionLevel::MemfdSecret,
    ProtectionLevel::Mlock,
    ProtectionLevel::Unlocked,
];

#[test]
fn a_value_appears_changes_and_vanishes_in_place() {
    for level in LEVELS {
        let (mut page, reader, mut buffer) = shared(level);
        assert_eq!(
            reader.read(&mut buffer),
            Err(ReadError::NotLive(PageState::Empty))
        );
        page.publish(1, b"sk-first-and-longer");
        assert_eq!(reader.read(&mut buffer), Ok(1));
        assert_eq!(buffer.expose(), b"sk-first-and-longer");
        page.publish(2, b"sk-second");
        assert_eq!(reader.read(&mut buffer), Ok(2));
        assert_eq!(buffer.expose(), b"sk-second");
        page.zero(PageState::Revoked);
        assert_eq!(
            reader.read(&mut buffer),
            Err(ReadError::NotLive(PageState::Revoked))
        );
        assert_eq!(reader.state(), (PageState::Revoked, 2));
        assert!(
            reader
                .0
                .value()
                .all(|word| word.load(Ordering::Relaxed) == 0)
        );
    }
}

#[test]
fn the_longest_value_fits_and_a_shorter_one_leaves_nothing_of_it() {
    let (mut page, reader, mut buffer) = shared(ProtectionLevel::MemfdSecret);
    page.publish(1, &[0xab; MAX_VALUE]);
    assert_eq!(reader.read(&mut buffer), Ok(1));
    assert_eq!(buffer.expose(), [0xab; MAX_VALUE]);
    page.publish(2, b"x");
    assert_eq!(
        reader
            .0
            .value()
            .filter(|word| word.load(Ordering::Relaxed) != 0)
            .count(),
        1
    );
}

#[test]
fn a_page_that_its_writer_drops_is_zeroed_for_its_readers() {
    let (mut page, reader, mut buffer) = shared(ProtectionLevel::MemfdSecret);
    page.publish(1, b"sk-value");
    drop(page);
    assert_eq!(
        reader.read(&mut buffer),
        Err(ReadError::NotLive(PageState::Revoked))
    );
}

#[test]
fn a_wiped_buffer_holds_nothing() {
    let (mut page, reader, mut buffer) = shared(ProtectionLevel::Mlock);
    page.publish(1, b"sk-value-of-some-length");
    reader.read(&mut buffer).unwrap();
    buffer.wipe();
    assert!(buffer.expose().is_empty());
    assert!(buffer.bytes.expose().iter().all(|byte| *byte == 0));
}

#[test]
fn a_reader_never_sees_half_a_change() {
    let (mut page, reader, mut buffer) = shared(ProtectionLevel::MemfdSecret);
    page.publish(0, &[0; 512]);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for version in 1..20_000u32 {
                let [byte, ..] = version.to_le_bytes();
                page.publish(version, &[byte; 512]);
                // A gap between changes, as any real writer leaves.
                (0..200).for_each(|_| std::hint::spin_loop());
            }
            std::mem::forget(page);
        });
        let mut seen = 0;
        while seen < 19_999 {
            seen = reader.read(&mut buffer).unwrap();
            let [expected, ..] = seen.to_le_bytes();
            assert!(buffer.expose().iter().all(|byte| *byte == expected));
        }
    });
}

#[test]
fn a_writer_that_died_in_a_change_is_noticed() {
    let (mut page, reader, mut buffer) = shared(ProtectionLevel::MemfdSecret);
    page.publish(1, b"sk-value");
    page.words.at(SEQUENCE).fetch_add(1, Ordering::Relaxed);
    assert_eq!(reader.read(&mut buffer), Err(ReadError::HalfWritten));
}

#[test]
fn a_descriptor_that_can_be_cut_short_is_refused() {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    let plain = memfd_create(c"plain", MemfdFlags::CLOEXEC).unwrap();
    assert!(matches!(
        MappedPage::map(plain.try_clone().unwrap()),
        Err(MemoryError::NotASecretPage("wrong size"))
    ));
    ftruncate(&plain, PAGE_BYTES as u64).unwrap();
    assert!(matches!(
        MappedPage::map(plain),
        Err(MemoryError::NotASecretPage("it can be cut short"))
    ));
}

#[test]
fn a_receiver_cannot_cut_a_page_short() {
    for level in LEVELS {
        let page = SecretPage::new(level).unwrap();
        assert!(rustix::fs::ftruncate(page.descriptor(), 0).is_err());
    }
}
