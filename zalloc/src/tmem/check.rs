//! Walks of everything.

use super::Tmem;
use super::backing::File;
use super::page::{Place, State};
use kmem_base::source::PageSource;

impl<S: PageSource> Tmem<S> {
    /// Walks every structure: each page is found by its name, is in the lists that it should be in, and is held by the pool or the file;
    /// and these hold nothing else. Wants a store that no other thread is changing.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        let (mut held, mut stored, mut units) = (0, 0, 1);
        for part in &self.parts {
            part.0.lock().check(|object, page| {
                if page.state != State::Idle {
                    return Err("somebody is at a page");
                }
                match page.place {
                    Place::Memory(handle) => {
                        held += 1;
                        stored += handle.stored_len();
                        if !page.listed && (handle.stored_len() > 0 || object.pool.is_ephemeral()) {
                            return Err("a page in memory is in no list of ages");
                        }
                    }
                    Place::File { meta, .. } if !object.pool.is_ephemeral() => units += File::units(meta),
                    Place::File { .. } => return Err("an ephemeral page is in the file"),
                }
                if self.pools.is_alive(object.pool) { Ok(()) } else { Err("a page of a pool that is gone") }
            })?;
        }
        let pool = self.pool.stats();
        if (pool.held, pool.stored_bytes) != (held, stored) {
            return Err("the pool holds more or less than the index");
        }
        if self.file.as_ref().is_some_and(|file| file.units_used() != units) {
            return Err("the file holds more or less than the index");
        }
        self.pool.check()
    }
}
