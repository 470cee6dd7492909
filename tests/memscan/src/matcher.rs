//! Looks for many encodings at once: a window of eight bytes finds the candidate, growing it both
//! ways finds its length.

use std::collections::{HashMap, HashSet};

use crate::encodings::encodings_of;

/// A planted secret and the name under which it is reported.
pub struct Sentinel {
    /// What reports call it.
    pub name: String,
    /// The secret itself.
    pub bytes: Vec<u8>,
}

/// What to look for.
pub struct Matcher {
    names: Vec<String>,
    forms: Vec<Form>,
    filter: Vec<u64>,
    windows: HashMap<[u8; WINDOW], Vec<Place>>,
    longest: usize,
}

/// A stretch of memory that holds part of a form.
pub(crate) struct Hit {
    pub(crate) address: u64,
    pub(crate) length: usize,
    form: usize,
}

struct Form {
    sentinel: usize,
    encoding: &'static str,
    bytes: Vec<u8>,
    /// The shortest fragment that counts.
    shortest: usize,
}

#[derive(Clone, Copy)]
struct Place {
    form: usize,
    offset: usize,
}

impl Matcher {
    /// Looks for fragments of at least `fragment` bytes of each secret; eight is the least.
    pub fn new(sentinels: &[Sentinel], fragment: usize) -> Self {
        let mut matcher = Self {
            names: sentinels
                .iter()
                .map(|sentinel| sentinel.name.clone())
                .collect(),
            forms: forms_of(sentinels, fragment),
            filter: vec![0; 1 << (FILTER_BITS - 6)],
            windows: HashMap::new(),
            longest: WINDOW,
        };
        for (form, it) in matcher.forms.iter().enumerate() {
            matcher.longest = matcher.longest.max(it.bytes.len());
            for (offset, window) in it.bytes.array_windows::<WINDOW>().enumerate() {
                let (word, bit) = filter_position(*window);
                if let Some(bits) = matcher.filter.get_mut(word) {
                    *bits |= bit;
                }
                matcher
                    .windows
                    .entry(*window)
                    .or_default()
                    .push(Place { form, offset });
            }
        }
        matcher
    }

    /// How many bytes neighbouring blocks must share, so that no form falls between two.
    pub(crate) fn overlap(&self) -> usize {
        self.longest
    }

    /// The hits in `block` that begin before `own`; `base` is the address of its first byte.
    pub(crate) fn scan(&self, block: &[u8], own: usize, base: u64) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut seen = HashSet::new();
        for (position, window) in block.array_windows::<WINDOW>().enumerate() {
            if !self.may_match(*window) {
                continue;
            }
            for place in self.windows.get(window).into_iter().flatten() {
                let Some(form) = self.forms.get(place.form) else {
                    continue;
                };
                let (start, length) = grow(block, position, &form.bytes, place.offset);
                if seen.insert((place.form, start)) && length >= form.shortest && start < own {
                    hits.push(Hit {
                        address: base + start as u64,
                        length,
                        form: place.form,
                    });
                }
            }
        }
        hits
    }

    pub(crate) fn describe(&self, hit: &Hit) -> (&str, &'static str, bool) {
        let form = self
            .forms
            .get(hit.form)
            .expect("a hit names a form of this matcher");
        let name = self
            .names
            .get(form.sentinel)
            .expect("a form names one of the sentinels");
        (name, form.encoding, hit.length == form.bytes.len())
    }

    fn may_match(&self, window: [u8; WINDOW]) -> bool {
        let (word, bit) = filter_position(window);
        self.filter.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

fn forms_of(sentinels: &[Sentinel], fragment: usize) -> Vec<Form> {
    let mut forms = Vec::new();
    for (sentinel, it) in sentinels.iter().enumerate() {
        let mut seen = HashSet::new();
        for encoding in encodings_of(&it.bytes) {
            if encoding.bytes.len() >= WINDOW && seen.insert(encoding.bytes.clone()) {
                let shortest = (fragment * encoding.expansion).max(WINDOW);
                let shortest = shortest.min(encoding.bytes.len());
                let (encoding, bytes) = (encoding.name, encoding.bytes);
                forms.push(Form {
                    sentinel,
                    encoding,
                    bytes,
                    shortest,
                });
            }
        }
    }
    forms
}

/// The start and length of the longest common stretch around `block[at..]` = `form[offset..]`.
fn grow(block: &[u8], at: usize, form: &[u8], offset: usize) -> (usize, usize) {
    let before = block
        .iter()
        .take(at)
        .rev()
        .zip(form.iter().take(offset).rev());
    let back = before.take_while(|(left, right)| left == right).count();
    let after = block.iter().skip(at).zip(form.iter().skip(offset));
    let forth = after.take_while(|(left, right)| left == right).count();
    (at - back, back + forth)
}

fn filter_position(window: [u8; WINDOW]) -> (usize, u64) {
    let spread = u64::from_le_bytes(window).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = spread >> (64 - FILTER_BITS);
    (
        usize::try_from(hash >> 6).expect("22 bits fit a usize"),
        1 << (hash & 63),
    )
}

const WINDOW: usize = 8;
const FILTER_BITS: u32 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_of_eight_bytes_is_found_and_one_of_seven_is_not() {
        let matcher = matcher();
        assert_eq!(matcher.scan(b"....gnarled-....", 16, 0).len(), 1);
        assert_eq!(matcher.scan(b"....gnarled....", 15, 0).len(), 0);
    }

    #[test]
    fn a_hit_tells_its_address_its_length_and_that_it_is_whole() {
        let matcher = matcher();
        let hits = matcher.scan(b"xxgnarled-oakxx", 15, 0x1000);
        let hit = hits.iter().find(|hit| matcher.describe(hit).2).unwrap();
        assert_eq!((hit.address, hit.length), (0x1002, 11));
        assert_eq!(matcher.describe(hit).0, "tree");
    }

    #[test]
    fn a_hit_that_begins_in_the_next_block_is_left_to_it() {
        assert!(matcher().scan(b"....gnarled-oak", 4, 0).is_empty());
    }

    fn matcher() -> Matcher {
        Matcher::new(
            &[Sentinel {
                name: "tree".into(),
                bytes: b"gnarled-oak".to_vec(),
            }],
            8,
        )
    }
}
