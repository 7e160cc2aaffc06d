//! How far a curve is from a straight line through the origin.

/// A line through the origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) slope: f64,
    /// Share of the variance that the line explains.
    pub(super) r2: f64,
}

impl Fit {
    /// With the mean of the points' slopes, so that short runs count as much as long ones. `None` without two points.
    pub(super) fn of(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 2 {
            return None;
        }
        let slope = points.iter().map(|(x, y)| y / x).sum::<f64>() / points.len() as f64;
        let mean = points.iter().map(|(_, y)| y).sum::<f64>() / points.len() as f64;
        let squares = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(|point| of(point).powi(2)).sum::<f64>();
        let r2 = 1.0 - squares(&|(x, y)| y - slope * x) / squares(&|(_, y)| y - mean);
        Some(Self { slope, r2 })
    }

    /// Relative deviation of a point from the line.
    pub(super) fn deviation(self, (x, y): (f64, f64)) -> f64 {
        y / (self.slope * x) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_found() {
        let fit = Fit::of(&[(1.0, 2.0), (2.0, 4.0), (32.0, 64.0)]).unwrap();
        assert_eq!(fit, Fit { slope: 2.0, r2: 1.0 });
        assert_eq!(fit.deviation((4.0, 8.8)), 8.8 / 8.0 - 1.0);
        assert_eq!(Fit::of(&[(1.0, 2.0)]), None);
    }

    #[test]
    fn a_bent_line_is_told_from_a_straight_one() {
        let bent: Vec<_> = [1.0, 2.0, 4.0, 8.0_f64].map(|x| (x, x * x)).into();
        let fit = Fit::of(&bent).unwrap();
        assert!(fit.r2 < 0.9 && fit.deviation(bent[3]) > 0.5, "{fit:?}");
    }
}
