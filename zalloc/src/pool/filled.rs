//! Same-filled pages: one word, over and over. One page in five to ten of what a system swaps is (theory 4.3).

const WORD: usize = size_of::<u64>();

/// The word that `data` consists of, a last incomplete one included: what a [`Pool`](super::Pool) keeps instead of it. Most data is refused
/// at its first or last words.
#[must_use]
pub fn word_of(data: &[u8]) -> Option<u64> {
    let (words, rest) = data.as_chunks::<WORD>();
    let Some((first, others)) = words.split_first() else { return short(data) };
    if others.last().is_some_and(|last| last != first) || others.iter().any(|word| word != first) || rest != &first[..rest.len()] {
        return None;
    }
    Some(u64::from_le_bytes(*first))
}

/// Less than a word: filled if all its bytes are equal, or there are none.
fn short(data: &[u8]) -> Option<u64> {
    let first = data.first().copied().unwrap_or(0);
    data.iter().all(|byte| *byte == first).then(|| u64::from_le_bytes([first; WORD]))
}

/// Writes `word` over all of `data`.
pub(crate) fn fill(data: &mut [u8], word: u64) {
    let word = word.to_le_bytes();
    let (words, rest) = data.as_chunks_mut::<WORD>();
    words.fill(word);
    let len = rest.len();
    rest.copy_from_slice(&word[..len]);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_is_found_and_restored() {
        for len in [0, 1, 7, 8, 9, 15, 16, 17, 100, 4096] {
            let word = 0x0102_0304_0506_0708_u64;
            let mut data = std::vec![0; len];
            fill(&mut data, word);
            let found = word_of(&data);
            assert_eq!(found.is_some(), !(2..8).contains(&len), "{len}");
            if let Some(found) = found {
                let mut again = std::vec![0xEE; len];
                fill(&mut again, found);
                assert_eq!(again, data);
            }
        }
    }

    #[test]
    fn one_other_byte_anywhere_is_seen() {
        for len in [2, 7, 8, 9, 23, 64, 4096] {
            let zeros = std::vec![0; len];
            assert_eq!(word_of(&zeros), Some(0));
            for at in 0..len {
                let mut data = zeros.clone();
                data[at] = 1;
                // In the only whole word of the data it is part of the pattern.
                let pattern = (8..16).contains(&len) && at < 8 && data[8..] == data[..len - 8];
                assert_eq!(word_of(&data).is_some(), pattern, "{at} of {len}");
            }
        }
    }
}
