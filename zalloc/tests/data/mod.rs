//! Data for tests, the same in every run.

#![allow(dead_code, unreachable_pub)]

/// A stream of numbers.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

/// Bytes that no codec makes fewer.
pub fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let (words, rest) = out.as_chunks_mut();
    words.iter_mut().for_each(|word| *word = rng.next().to_le_bytes());
    if !rest.is_empty() {
        let last = rng.next().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
    out
}

/// Words of a small language.
pub fn text(rng: &mut Rng, len: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "page ",
        "object ",
        "of ",
        "the ",
        "slab ",
        "a ",
        "pool ",
        "and ",
        "compressed ",
        "handle ",
        "is ",
        "in ",
        "moves ",
        "span ",
        "free, ",
        "not. ",
    ];
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        out.extend_from_slice(WORDS[rng.below(16)].as_bytes());
        if rng.below(4) == 0 {
            out.extend_from_slice(&(rng.next() as u16).to_string().into_bytes());
        }
    }
    out.truncate(len);
    out
}

/// Any mixture of both and of runs.
pub fn mixed(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        let piece = 1 + rng.below(600);
        match rng.below(3) {
            0 => out.extend(noise(rng, piece)),
            1 => out.extend(text(rng, piece)),
            _ => out.extend(std::iter::repeat_n(rng.next() as u8, piece)),
        }
    }
    out.truncate(len);
    out
}
