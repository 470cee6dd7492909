//! What was found, where, and what could not be read.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use crate::matcher::{Hit, Matcher};

/// The result of one or several scans.
#[derive(Default)]
pub struct Report {
    findings: BTreeMap<Source, Tally>,
    scanned: u64,
    unreadable: BTreeMap<String, u64>,
}

/// All hits of one encoding of one secret in one place.
#[derive(Debug)]
pub struct Finding {
    /// A mapping, a register set or a file.
    pub place: String,
    /// The name of the secret.
    pub sentinel: String,
    /// How it was encoded there.
    pub encoding: &'static str,
    /// The whole secret, not a fragment.
    pub whole: bool,
    /// How often.
    pub count: usize,
    /// The longest stretch, in encoded bytes.
    pub longest: usize,
    /// Addresses or offsets, of the first few only.
    pub addresses: Vec<u64>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    place: String,
    sentinel: String,
    encoding: &'static str,
    whole: bool,
}

#[derive(Default)]
struct Tally {
    count: usize,
    longest: usize,
    addresses: Vec<u64>,
}

impl Report {
    /// How many stretches were found anywhere.
    pub fn hits(&self) -> usize {
        self.findings.values().map(|tally| tally.count).sum()
    }

    /// How many bytes were looked at.
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    /// What was found, in order of place.
    pub fn findings(&self) -> impl Iterator<Item = Finding> {
        self.findings.iter().map(|(source, tally)| Finding {
            place: source.place.clone(),
            sentinel: source.sentinel.clone(),
            encoding: source.encoding,
            whole: source.whole,
            count: tally.count,
            longest: tally.longest,
            addresses: tally.addresses.clone(),
        })
    }

    /// Places that the kernel refused to show, with their size in bytes.
    pub fn unreadable(&self) -> impl Iterator<Item = (&str, u64)> {
        self.unreadable
            .iter()
            .map(|(place, bytes)| (place.as_str(), *bytes))
    }

    /// The same for programs.
    pub fn to_json(&self) -> serde_json::Value {
        let findings: Vec<_> = self
            .findings()
            .map(|it| {
                json!({
                    "place": it.place, "sentinel": it.sentinel, "encoding": it.encoding,
                    "whole": it.whole, "count": it.count, "longest": it.longest,
                    "addresses": it.addresses,
                })
            })
            .collect();
        json!({
            "hits": self.hits(), "scanned": self.scanned,
            "findings": findings, "unreadable": self.unreadable,
        })
    }

    /// Adds what one place held. Where encodings share a stretch, the longest one counts.
    pub(crate) fn add(&mut self, matcher: &Matcher, place: &str, mut hits: Vec<Hit>) {
        hits.sort_by_key(|hit| (hit.address, std::cmp::Reverse(hit.length)));
        let mut end = 0;
        for hit in hits {
            if hit.address + hit.length as u64 <= end {
                continue;
            }
            end = hit.address + hit.length as u64;
            let (sentinel, encoding, whole) = matcher.describe(&hit);
            let (place, sentinel) = (place.to_owned(), sentinel.to_owned());
            let source = Source {
                place,
                sentinel,
                encoding,
                whole,
            };
            let tally = self.findings.entry(source).or_default();
            if tally.count < ADDRESSES {
                tally.addresses.push(hit.address);
            }
            tally.count += 1;
            tally.longest = tally.longest.max(hit.length);
        }
    }

    pub(crate) fn add_scanned(&mut self, bytes: usize) {
        self.scanned += bytes as u64;
    }

    pub(crate) fn add_unreadable(&mut self, place: String, bytes: u64) {
        *self.unreadable.entry(place).or_default() += bytes;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in self.findings() {
            let kind = if it.whole { "whole" } else { "fragment" };
            let Finding {
                sentinel,
                encoding,
                count,
                longest,
                addresses,
                place,
                ..
            } = it;
            let first = addresses.first().copied().unwrap_or_default();
            writeln!(
                f,
                "{kind:8} {sentinel:10} {encoding:11} x{count:<4} longest {longest:3} first {first:#x}  {place}"
            )?;
        }
        write!(f, "{} hits in {} bytes", self.hits(), self.scanned)
    }
}

/// How many addresses a finding tells.
const ADDRESSES: usize = 64;
