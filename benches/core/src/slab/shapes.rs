//! How objects lie in slabs, by size: arithmetic, nothing is measured.

use kmem_slab::Flags;
use kmem_slab::geometry::{Geometry, Placement, Wish};

use super::markdown::{section, table};
use super::verdict;
use crate::stats;

/// Sizes that are shown.
const SHOWN: [usize; 16] = [8, 16, 24, 32, 64, 96, 128, 192, 256, 512, 768, 1024, 1536, 2048, 3072, 4096];
/// Shares of a slab that may be wasted at worst and on average.
const WORST: f64 = 0.125;
const MEAN: f64 = 0.04;

/// Bytes of a cache line, for the colours.
pub(super) const LINE: usize = 64;

/// The geometry of plain objects, or of those that keep a constructed state.
pub(super) fn geometry(object: usize, constructed: bool) -> Option<Geometry> {
    Geometry::new(&Wish { object, align: 8, flags: Flags::NONE, constructed, line: LINE })
}

pub(super) fn report() -> String {
    let head = ["bytes", "KiB per slab", "objects", "freelist", "metadata B/object", "left over", "colours"];
    let rows: Vec<_> = SHOWN.iter().filter_map(|size| Some(shape(*size, &geometry(*size, false)?))).collect();
    let about = "Objects without constructor. `left over`: share of the slab that neither objects nor the freelist take: what colours are \
                 made of, and wasted but for that.";
    let shapes = section("Shapes", about, &head, &rows);
    let head = ["sizes 8, 16 ... 4096", "worst waste", "at", "mean waste", "metadata B/object", "targets 12.5 % and 4 %"];
    let rows = [("plain", false), ("constructed", true)].map(|(name, constructed)| waste(name, constructed));
    format!("{shapes}\n{}", table(&head, &rows))
}

fn shape(size: usize, geometry: &Geometry) -> Vec<String> {
    let list = match geometry.placement {
        Placement::Object => "in an object",
        Placement::OffSlab => "off slab",
        Placement::OnSlab => "on slab",
    };
    vec![
        size.to_string(),
        (geometry.bytes() >> 10).to_string(),
        geometry.objects.to_string(),
        list.to_owned(),
        geometry.metadata_per_object().to_string(),
        percent(left_over(geometry)),
        // One colour is none.
        if geometry.colours > 1 { geometry.colours.to_string() } else { "off".to_owned() },
    ]
}

fn waste(name: &str, constructed: bool) -> Vec<String> {
    let all: Vec<_> = (8..=4096).step_by(8).filter_map(|size| Some((size, geometry(size, constructed)?))).collect();
    let shares: Vec<_> = all.iter().map(|(_, geometry)| left_over(geometry)).collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let worst = all.iter().max_by(|a, b| left_over(&a.1).total_cmp(&left_over(&b.1)));
    let (at, worst) = worst.map_or((0, 0.0), |(size, geometry)| (*size, left_over(geometry)));
    let metadata: Vec<_> = all.iter().map(|(_, geometry)| f64::from(geometry.metadata_per_object())).collect();
    let (low, high) = metadata.iter().fold((f64::MAX, 0.0_f64), |(low, high), bytes| (low.min(*bytes), high.max(*bytes)));
    vec![
        name.to_owned(),
        percent(worst),
        at.to_string(),
        percent(mean),
        format!("{low} to {high}, median {}", stats::median(&metadata).unwrap_or(0.0)),
        verdict(worst <= WORST && mean <= MEAN),
    ]
}

fn left_over(geometry: &Geometry) -> f64 {
    f64::from(geometry.left_over) / geometry.bytes() as f64
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_line() {
        let text = report();
        assert!(SHOWN.iter().all(|size| text.contains(&format!("| {size:<5} |"))), "{text}");
        assert!(text.contains("in an object") && text.contains("on slab") && text.contains(" off |"), "{text}");
    }

    #[test]
    fn what_is_left_over_is_a_share_of_the_slab() {
        let geometry = geometry(1000, false).unwrap();
        let used = geometry.objects as usize * geometry.size as usize;
        assert_eq!(geometry.placement, Placement::Object);
        assert!((left_over(&geometry) - (geometry.bytes() - used) as f64 / geometry.bytes() as f64).abs() < 1e-12);
    }
}
