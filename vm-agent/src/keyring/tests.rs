use keyferry_protocol::memory::{MappedPage, ReadError, ValueBuffer, self_test};

use super::*;

#[test]
fn a_tool_reads_the_key_that_was_put() {
    let mut ring = Ring::new();
    assert_eq!(ring.put("openai", 1, b"sk-one"), Outcome::Held);
    let tool = ring.keys.join();
    assert_eq!(
        ring.open(tool, "openai").read(),
        Ok((1, b"sk-one".to_vec()))
    );
}

#[test]
fn a_rotated_key_appears_in_every_page_in_place() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    let (first, second) = (ring.keys.join(), ring.keys.join());
    let pages = [ring.open(first, "openai"), ring.open(second, "openai")];
    ring.put("openai", 2, b"sk-number-two");
    for mut page in pages {
        assert_eq!(page.read(), Ok((2, b"sk-number-two".to_vec())));
    }
}

#[test]
fn a_revoked_key_is_zeroed_in_every_page_in_place() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    ring.put("groq", 1, b"gsk-one");
    let (first, second) = (ring.keys.join(), ring.keys.join());
    let pages = [ring.open(first, "openai"), ring.open(second, "openai")];
    let mut other = ring.open(first, "groq");
    assert_eq!(ring.keys.revoke(&name("openai")), Outcome::Wiped);
    for mut page in pages {
        assert_eq!(page.read(), Err(ReadError::NotLive(PageState::Revoked)));
    }
    assert_eq!(other.read(), Ok((1, b"gsk-one".to_vec())));
    assert_eq!(ring.refusal(first, "openai"), RefusalCode::Revoked);
}

#[test]
fn a_revoked_key_that_is_put_again_lives_in_the_same_page() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    let tool = ring.keys.join();
    let mut page = ring.open(tool, "openai");
    ring.keys.revoke(&name("openai"));
    ring.put("openai", 2, b"sk-two");
    assert_eq!(page.read(), Ok((2, b"sk-two".to_vec())));
}

#[test]
fn the_lease_ends_every_key_and_a_new_session_brings_them_back() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    let tool = ring.keys.join();
    let mut page = ring.open(tool, "openai");
    ring.keys.wipe(PageState::LeaseOver);
    assert_eq!(page.read(), Err(ReadError::NotLive(PageState::LeaseOver)));
    assert_eq!(ring.refusal(tool, "openai"), RefusalCode::LeaseOver);
    assert!(!ring.keys.holds_any() && ring.keys.held().keys.is_empty());
    ring.put("openai", 1, b"sk-one");
    assert_eq!(page.read(), Ok((1, b"sk-one".to_vec())));
}

#[test]
fn each_tool_has_a_page_of_its_own() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    let (first, second) = (ring.keys.join(), ring.keys.join());
    let (first, second) = (ring.opened(first, "openai"), ring.opened(second, "openai"));
    let inode = |opened: &Opened| rustix::fs::fstat(&opened.descriptor).unwrap().st_ino;
    assert_ne!(inode(&first), inode(&second));
}

#[test]
fn a_tool_that_asks_twice_gets_the_same_page() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    let tool = ring.keys.join();
    let (first, second) = (ring.opened(tool, "openai"), ring.opened(tool, "openai"));
    let inode = |opened: &Opened| rustix::fs::fstat(&opened.descriptor).unwrap().st_ino;
    assert_eq!(inode(&first), inode(&second));
    assert_eq!(ring.keys.report()[0].opened, 2);
}

#[test]
fn a_tool_that_has_gone_finds_zeros_in_what_it_still_maps() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    let tool = ring.keys.join();
    let mut page = ring.open(tool, "openai");
    ring.keys.leave(tool);
    assert!(matches!(page.read(), Err(ReadError::NotLive(_))));
    assert_eq!(ring.keys.receivers(), 0);
}

#[test]
fn an_inject_only_key_is_handed_to_nobody() {
    let mut ring = Ring::new();
    let put = Put {
        delivery: Delivery::Inject,
        ..a_put("openai", 1, b"sk-one")
    };
    assert_eq!(ring.keys.put(&put), Outcome::Held);
    let tool = ring.keys.join();
    assert_eq!(ring.refusal(tool, "openai"), RefusalCode::InjectOnly);
}

#[test]
fn a_key_that_becomes_inject_only_leaves_the_pages() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    let tool = ring.keys.join();
    let mut page = ring.open(tool, "openai");
    ring.keys.put(&Put {
        delivery: Delivery::Inject,
        ..a_put("openai", 2, b"sk-two")
    });
    assert_eq!(page.read(), Err(ReadError::NotLive(PageState::Revoked)));
}

#[test]
fn a_key_whose_owner_names_other_tools_leaves_the_pages_of_these() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    let tool = ring.keys.join();
    let mut page = ring.open(tool, "openai");
    let mut put_for = |uid| {
        let rule = ToolRule {
            uid: Some(uid),
            ..ToolRule::default()
        };
        let mut put = a_put("openai", 1, b"sk-one");
        put.policy.tools = vec![rule];
        ring.keys.put(&put);
    };
    put_for(1001);
    assert_eq!(page.read(), Err(ReadError::NotLive(PageState::Revoked)));
    put_for(1000);
    assert_eq!(page.read(), Ok((1, b"sk-one".to_vec())));
}

#[test]
fn an_older_version_does_not_replace_a_newer_one() {
    let mut ring = Ring::new();
    ring.put("openai", 2, b"sk-two");
    assert_eq!(ring.put("openai", 1, b"sk-one"), Outcome::Wiped);
    assert_eq!(ring.keys.held().keys, [(name("openai"), 2)]);
}

#[test]
fn a_key_that_began_anew_while_the_agent_was_away_is_held() {
    let mut ring = Ring::new();
    ring.put("openai", 2, b"sk-two");
    let tool = ring.keys.join();
    let mut page = ring.open(tool, "openai");
    ring.keys.begin_batch();
    assert_eq!(ring.put("openai", 1, b"sk-anew"), Outcome::Held);
    ring.keys.end_batch();
    assert_eq!(page.read(), Ok((1, b"sk-anew".to_vec())));
}

#[test]
fn retiring_an_older_version_leaves_the_current_one() {
    let mut ring = Ring::new();
    ring.put("openai", 2, b"sk-two");
    assert_eq!(ring.keys.retire(&name("openai"), 1), Outcome::Wiped);
    assert!(ring.keys.holds_any());
    assert_eq!(ring.keys.retire(&name("openai"), 2), Outcome::Wiped);
    assert!(!ring.keys.holds_any());
}

#[test]
fn a_key_that_a_new_session_does_not_tell_again_is_zeroed() {
    let mut ring = Ring::new();
    ring.put("openai", 1, b"sk-one");
    ring.put("groq", 1, b"gsk-one");
    let tool = ring.keys.join();
    let mut page = ring.open(tool, "groq");
    ring.keys.begin_batch();
    ring.put("openai", 1, b"sk-one");
    ring.keys.end_batch();
    assert_eq!(ring.keys.held().keys, [(name("openai"), 1)]);
    assert_eq!(page.read(), Err(ReadError::NotLive(PageState::Revoked)));
}

#[test]
fn a_key_ends_at_its_own_end() {
    let mut ring = Ring::new();
    let put = Put {
        not_after: 5_000_000,
        ..a_put("openai", 1, b"sk-one")
    };
    ring.keys.put(&put);
    assert!(!ring.keys.expire(Duration::from_micros(4_999_999)));
    assert!(ring.keys.expire(Duration::from_secs(5)));
    assert!(!ring.keys.holds_any());
}

#[test]
fn a_tool_has_only_so_many_pages() {
    let mut ring = Ring::new();
    let tool = ring.keys.join();
    for number in 0..=LIMIT.0 {
        ring.put(&format!("key-{number}"), 1, b"sk");
    }
    for number in 0..LIMIT.0 {
        ring.open(tool, &format!("key-{number}"));
    }
    assert_eq!(
        ring.refusal(tool, &format!("key-{}", LIMIT.0)),
        RefusalCode::Busy
    );
}

#[test]
fn more_keys_than_the_bound_are_refused_and_the_ended_make_room() {
    let mut ring = Ring::new();
    for number in 0..MOST_KEYS {
        assert_eq!(ring.put(&format!("key-{number}"), 1, b"sk"), Outcome::Held);
    }
    assert_eq!(ring.put("one-more", 1, b"sk"), Outcome::Refused);
    ring.keys.begin_batch();
    ring.keys.end_batch();
    assert_eq!(ring.put("one-more", 1, b"sk"), Outcome::Held);
}

#[test]
fn keys_that_come_and_go_in_one_session_make_room() {
    let mut ring = Ring::new();
    for number in 0..4 * MOST_KEYS {
        let key = format!("key-{number}");
        assert_eq!(ring.put(&key, 1, b"sk"), Outcome::Held);
        assert_eq!(ring.keys.revoke(&name(&key)), Outcome::Wiped);
    }
}

#[test]
fn an_unknown_key_is_not_found() {
    let mut ring = Ring::new();
    let tool = ring.keys.join();
    assert_eq!(ring.refusal(tool, "openai"), RefusalCode::NotFound);
}

const LIMIT: PageLimit = PageLimit(3);

struct Ring {
    keys: Keyring,
    arena: Arena,
}

impl Ring {
    fn new() -> Self {
        let arena = Arena::new(self_test().unwrap()).unwrap();
        Self {
            keys: Keyring::new(arena.clone(), LIMIT),
            arena,
        }
    }

    fn put(&mut self, key: &str, version: u32, value: &[u8]) -> Outcome {
        self.keys.put(&a_put(key, version, value))
    }

    fn opened(&mut self, tool: ReceiverId, key: &str) -> Opened {
        self.keys.open(tool, &peer(), &name(key)).unwrap()
    }

    fn open(&mut self, tool: ReceiverId, key: &str) -> Page {
        let page = MappedPage::map(self.opened(tool, key).descriptor).unwrap();
        Page(page, ValueBuffer::new(&self.arena).unwrap())
    }

    fn refusal(&mut self, tool: ReceiverId, key: &str) -> RefusalCode {
        self.keys
            .open(tool, &peer(), &name(key))
            .expect_err("it is to be refused")
    }
}

struct Page(MappedPage, ValueBuffer);

impl Page {
    fn read(&mut self) -> Result<(u32, Vec<u8>), ReadError> {
        let version = self.0.read(&mut self.1)?;
        Ok((version, self.1.expose().to_vec()))
    }
}

fn peer() -> Peer {
    Peer::of(1000, &[])
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn a_put<'a>(key: &str, version: u32, value: &'a [u8]) -> Put<'a> {
    Put {
        key: name(key),
        version,
        not_after: 0,
        provider: "openai",
        delivery: Delivery::Raw,
        allowed_hosts: Vec::new(),
        policy: KeyPolicy::default(),
        value,
    }
}
