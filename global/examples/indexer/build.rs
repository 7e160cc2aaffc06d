//! Reading and merging. Each worker indexes the files that it gets hold of; then each merger puts one share of the words together.
//! So most strings and vectors are freed by another thread than the one that allocated them.

use super::words::{Fnv, words};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Where a word occurs in one file: the file's number, and the numbers of the words before it.
pub(crate) struct Posting {
    pub(crate) file: u32,
    pub(crate) positions: Vec<u32>,
}

/// Every word with its postings, ordered by file.
pub(crate) type Index = BTreeMap<String, Vec<Posting>>;

/// What was read.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) skipped: u64,
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
}

type Partial = HashMap<String, Vec<Posting>>;

/// Indexes `files`, numbered in their order.
pub(crate) fn index(files: &[PathBuf], threads: usize) -> (Index, Totals) {
    let next = AtomicUsize::new(0);
    let (mut totals, mut shares) = (Totals::default(), (0..threads).map(|_| Vec::new()).collect::<Vec<_>>());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(files, &next, threads))).collect();
        for worker in workers {
            let (partials, read) = worker.join().expect("a worker panicked");
            totals.add(&read);
            for (share, partial) in shares.iter_mut().zip(partials) {
                share.push(partial);
            }
        }
    });
    let index = thread::scope(|scope| {
        let mergers: Vec<_> = shares.into_iter().map(|partials| scope.spawn(|| merge(partials))).collect();
        mergers.into_iter().flat_map(|merger| merger.join().expect("a merger panicked")).collect()
    });
    (index, totals)
}

/// Reads files until none is left. Which ones is a matter of luck; the merged index is not.
fn work(files: &[PathBuf], next: &AtomicUsize, shares: usize) -> (Vec<Partial>, Totals) {
    let (mut partials, mut totals) = ((0..shares).map(|_| Partial::new()).collect::<Vec<_>>(), Totals::default());
    while let Some((number, file)) = claim(files, next) {
        let Some(text) = std::fs::read(file).ok().and_then(text) else {
            totals.skipped += 1;
            continue;
        };
        totals.files += 1;
        totals.bytes += text.len() as u64;
        for (position, word) in words(&text).enumerate() {
            totals.tokens += 1;
            enter(&mut partials[share(&word, shares)], word, number, position as u32);
        }
    }
    (partials, totals)
}

fn claim<'a>(files: &'a [PathBuf], next: &AtomicUsize) -> Option<(u32, &'a PathBuf)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number as u32, files.get(number)?))
}

/// What is not UTF-8, or has zeros in it, is no text.
fn text(bytes: Vec<u8>) -> Option<String> {
    if bytes.contains(&0) { None } else { String::from_utf8(bytes).ok() }
}

fn enter(partial: &mut Partial, word: String, file: u32, position: u32) {
    let postings = partial.entry(word).or_default();
    match postings.last_mut() {
        Some(last) if last.file == file => last.positions.push(position),
        _ => postings.push(Posting { file, positions: vec![position] }),
    }
}

/// Who merges `word`.
fn share(word: &str, shares: usize) -> usize {
    let mut hash = Fnv::new();
    hash.add(word.as_bytes());
    (hash.value() % shares as u64) as usize
}

fn merge(partials: Vec<Partial>) -> Index {
    let mut index = Index::new();
    for (word, mut postings) in partials.into_iter().flatten() {
        index.entry(word).or_default().append(&mut postings);
    }
    for postings in index.values_mut() {
        postings.sort_unstable_by_key(|posting| posting.file);
    }
    index
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.skipped += other.skipped;
        self.bytes += other.bytes;
        self.tokens += other.tokens;
    }
}
