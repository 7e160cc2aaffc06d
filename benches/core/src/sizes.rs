//! Block sizes as programs have them: many small ones, few large ones that hold most of the bytes.

use crate::rng::Rng;

/// `count` sizes from `min` to `max`, drawn before the clock starts. The chance that a size exceeds `s` falls with
/// `s` to the power of `-slope`.
pub(crate) fn power_law(rng: &mut Rng, (min, max): (usize, usize), slope: f64, count: usize) -> Vec<u32> {
    let (head, tail) = ((min as f64).powf(-slope), (max as f64).powf(-slope));
    let size = |_| {
        let chance = (rng.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let size = (head - chance * (head - tail)).powf(-1.0 / slope);
        (size as usize).clamp(min, max) as u32
    };
    (0..count).map(size).collect()
}

/// `count` sizes from `min` to `max`, all alike.
pub(crate) fn uniform(rng: &mut Rng, (min, max): (usize, usize), count: usize) -> Vec<u32> {
    (0..count).map(|_| rng.between(min, max) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_has_many_small_and_few_large() {
        let sizes = power_law(&mut Rng::new(3), (16, 65_535), 0.8, 100_000);
        assert!(sizes.iter().all(|size| (16..=65_535).contains(size)));
        let above = |bound| sizes.iter().filter(|&&size| size > bound).count();
        // 1024 is 64 times the smallest: 64 to the power of -0.8 is 3.6 %.
        assert!((3_000..4_200).contains(&above(1_024)), "{}", above(1_024));
        assert!(above(32_000) > 0);
    }

    #[test]
    fn uniform_sizes_reach_both_ends() {
        let sizes = uniform(&mut Rng::new(3), (8, 100), 10_000);
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&8), Some(&100)));
    }
}
