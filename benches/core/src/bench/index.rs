//! index: a real program. An inverted index of two thousand texts, as `examples/index` of kmem builds it, on one thread.
//!
//! Words become strings, strings become keys of a hash map, positions become vectors in vectors; the whole is merged
//! into an ordered map and dropped. The texts are made before the clock starts.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::hint::black_box;

use clap::ArgMatches;

use super::{Bench, Outcome, Row, Scale};
use crate::Result;
use crate::crew::{Job, Kind, race};
use crate::params::Params;
use crate::rng::Rng;

/// The benchmark.
pub(crate) struct Index;

/// Different words.
const VOCABULARY: usize = 60_000;
/// Words per text.
const WORDS: usize = 1_000;

/// Where a word occurs in one text.
struct Posting {
    text: u32,
    positions: Vec<u32>,
}

/// The hash does not differ from run to run, as that of a plain `HashMap` does.
type Words = HashMap<String, Vec<Posting>, BuildHasherDefault<DefaultHasher>>;

impl Bench for Index {
    fn name(&self) -> &'static str {
        "index"
    }

    fn about(&self) -> &'static str {
        "a real program: an inverted index of texts in hash map, tree, strings and vectors"
    }

    fn rows(&self, _: &ArgMatches, scale: Scale) -> Result<Vec<Row>> {
        let texts = scale.pick(5, 500, 2_000);
        Ok(vec![Row::new(format!("{texts} texts of {WORDS} words")).with("texts", texts)])
    }

    fn run(&self, params: &Params) -> Result<Outcome> {
        let texts: usize = params.get("texts")?;
        let job: Job<'_> = Box::new(move |line| {
            let texts = write_texts(texts);
            line.wait();
            let index = merge(index(&texts));
            black_box(&index);
        });
        Ok(race(Kind::Threads, vec![job])?.into())
    }
}

fn index(texts: &[String]) -> Words {
    let mut words = Words::default();
    for (number, text) in (0..).zip(texts) {
        for (position, word) in (0..).zip(text.split_ascii_whitespace()) {
            let postings = words.entry(word.to_lowercase()).or_default();
            match postings.last_mut() {
                Some(last) if last.text == number => last.positions.push(position),
                _ => postings.push(Posting { text: number, positions: vec![position] }),
            }
        }
    }
    words
}

fn merge(words: Words) -> BTreeMap<String, Vec<Posting>> {
    let mut index = BTreeMap::<String, Vec<Posting>>::new();
    for (word, mut postings) in words {
        index.entry(word).or_default().append(&mut postings);
    }
    index
}

/// Texts in which, as in natural ones, a word's frequency is about the inverse of its rank.
fn write_texts(count: usize) -> Vec<String> {
    let vocabulary: Vec<_> = (0..VOCABULARY).map(spell).collect();
    let mut rng = Rng::new(0);
    let mut word = || {
        let chance = (rng.next() >> 11) as f64 / (1_u64 << 53) as f64;
        vocabulary[(VOCABULARY as f64).powf(chance) as usize - 1].as_str()
    };
    (0..count).map(|_| (0..WORDS).map(|_| word()).collect::<Vec<_>>().join(" ")).collect()
}

/// The word of a rank: frequent ones are short, and some begin with a capital.
fn spell(rank: usize) -> String {
    let mut rng = Rng::new(rank);
    let length = 2 + rank.checked_ilog2().unwrap_or(0) as usize / 2 + rng.below(6);
    let mut word: Vec<u8> = (0..length).map(|_| b'a' + rng.below(26) as u8).collect();
    if rng.below(8) == 0 {
        word[0] = word[0].to_ascii_uppercase();
    }
    String::from_utf8(word).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postings_are_ordered_and_case_does_not_matter() {
        let texts = ["The cat the".to_owned(), "dog".to_owned(), "THE dog".to_owned()];
        let index = merge(index(&texts));
        assert_eq!(index.keys().collect::<Vec<_>>(), ["cat", "dog", "the"]);
        let the: Vec<_> = index["the"].iter().map(|posting| (posting.text, posting.positions.as_slice())).collect();
        assert_eq!(the, [(0, &[0, 2][..]), (2, &[0][..])]);
    }

    #[test]
    fn few_words_are_frequent_and_many_are_rare() {
        let index = index(&write_texts(20));
        let often = |postings: &Vec<Posting>| postings.iter().map(|posting| posting.positions.len()).sum::<usize>() > 200;
        assert!(index.values().filter(|postings| often(postings)).count() < 50);
        assert!(index.len() > 1_000, "{}", index.len());
        assert!(index.values().any(often));
    }
}
