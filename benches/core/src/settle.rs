//! What a process keeps: memory some time after the work, in a process that goes on lightly.

use std::thread;
use std::time::{Duration, Instant};

use crate::rss;

/// Pause between two signs of life.
const PAUSE: Duration = Duration::from_millis(5);

/// What is resident after [`settle`].
pub(crate) fn settled_rss(time: Duration, live_on: impl FnMut()) -> u64 {
    settle(time, live_on);
    rss::resident()
}

/// Calls `live_on` every few milliseconds for `time`. Allocators that give memory back by and by do so in the course of other calls, or in
/// threads of their own: both get their chance here.
pub(crate) fn settle(time: Duration, mut live_on: impl FnMut()) {
    let start = Instant::now();
    while start.elapsed() < time {
        live_on();
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_goes_on_until_the_end() {
        let (start, mut signs) = (Instant::now(), 0);
        assert!(settled_rss(Duration::from_millis(20), || signs += 1) > 0);
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert!(signs > 0);
    }
}
