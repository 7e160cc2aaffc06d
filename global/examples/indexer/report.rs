//! The summary: the same for the same files, whatever the threads did and whoever allocated.

use super::build::{Index, Posting, Totals};
use super::words::Fnv;
use std::io::{self, Write};

const TOP: usize = 20;

/// Writes the summary of `index`.
pub(crate) fn write(out: &mut impl Write, index: &Index, totals: &Totals) -> io::Result<()> {
    let postings: usize = index.values().map(Vec::len).sum();
    writeln!(out, "files     {}", totals.files)?;
    writeln!(out, "skipped   {}", totals.skipped)?;
    writeln!(out, "bytes     {}", totals.bytes)?;
    writeln!(out, "tokens    {}", totals.tokens)?;
    writeln!(out, "words     {}", index.len())?;
    writeln!(out, "postings  {postings}")?;
    writeln!(out, "checksum  {:016x}", checksum(index))?;
    writeln!(out, "\n   count   files  word")?;
    for (count, word, postings) in top(index) {
        writeln!(out, "{count:>8} {:>7}  {word}", postings.len())?;
    }
    Ok(())
}

/// The words that occur most, in the order of the alphabet where they occur equally often.
fn top(index: &Index) -> Vec<(usize, &str, &[Posting])> {
    let count = |postings: &[Posting]| postings.iter().map(|posting| posting.positions.len()).sum();
    let mut words: Vec<_> = index.iter().map(|(word, postings)| (count(postings), word.as_str(), postings.as_slice())).collect();
    // Stable, and the index is sorted by word.
    words.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    words.truncate(TOP);
    words
}

/// Covers every word, file and position, in order.
fn checksum(index: &Index) -> u64 {
    let mut hash = Fnv::new();
    for (word, postings) in index {
        hash.add(word.as_bytes());
        // No byte of UTF-8.
        hash.add(&[0xFF]);
        for posting in postings {
            hash.add(&posting.file.to_le_bytes());
            hash.add(&(posting.positions.len() as u32).to_le_bytes());
            posting.positions.iter().for_each(|position| hash.add(&position.to_le_bytes()));
        }
    }
    hash.value()
}
