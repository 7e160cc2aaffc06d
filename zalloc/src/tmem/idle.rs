//! Compressing idle pages again (theory 5.6).

use super::Tmem;
use super::page::{Page, Place, State};
use super::shard::Shard;
use crate::pool::{Handle, Recompress, Recompressed};
use kmem_base::source::PageSource;

/// Pages of a shard looked at under one lock.
const BATCH: usize = 16;

/// A page, as it was.
#[derive(Clone, Copy)]
struct Idle {
    id: u32,
    page: Page,
    handle: Handle,
}

impl<S: PageSource> Tmem<S> {
    /// Compresses again the coldest pages of each shard: looks at `most` of each list. Nothing becomes larger.
    pub fn recompress(&self, most: usize, wish: Recompress) -> Recompressed {
        let mut done = Recompressed::default();
        for part in &self.parts {
            let ends = {
                let shard = part.0.lock();
                [shard.recent.last, shard.warm.last]
            };
            for last in ends {
                let (mut at, mut left) = (last, most);
                while left > 0 {
                    let mut batch = [None; BATCH];
                    let count = part.0.lock().gather(&mut at, &mut batch[..left.min(BATCH)], wish);
                    left = left.saturating_sub(count.max(1));
                    done.seen += count;
                    for idle in batch.into_iter().flatten() {
                        self.recompress_page(part, idle, wish, &mut done);
                    }
                    if count == 0 {
                        break;
                    }
                }
            }
        }
        done
    }

    fn recompress_page(&self, part: &super::Part, idle: Idle, wish: Recompress, done: &mut Recompressed) {
        let Ok(Some(new)) = self.pool.recompress_one(idle.handle, wish) else { return };
        let is_new = new.word() != idle.handle.word();
        let mut shard = part.0.lock();
        let page = shard.pages.get_mut(idle.id);
        // The same copy, in the same place: then the place in the vector is the page's still.
        let same = (page.version, page.place, page.state) == (idle.page.version, idle.page.place, State::Idle);
        if same {
            page.place = Place::Memory(new);
        }
        drop(shard);
        if is_new {
            self.discard(if same { idle.handle } else { new });
        }
        if is_new && same {
            done.smaller += 1;
            done.bytes_before += idle.handle.stored_len();
            done.bytes_after += new.stored_len();
        }
    }
}

impl Shard {
    /// Fills `batch` with pages from `at` on towards the younger ones, those that are worth it, and says how many were looked at.
    fn gather(&self, at: &mut u32, batch: &mut [Option<Idle>], wish: Recompress) -> usize {
        let mut count = 0;
        for place in batch {
            // What was freed since is in no list, and ends the walk.
            let Some(page) = self.pages.all().get(*at as usize).filter(|page| page.listed) else { break };
            count += 1;
            if let Place::Memory(handle) = page.place
                && page.state == State::Idle
                && handle.stored_len() > wish.above
                && handle.meta().tried() < wish.level
            {
                *place = Some(Idle { id: *at, page: *page, handle });
            }
            *at = page.younger();
        }
        count
    }
}
