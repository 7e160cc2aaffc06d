//! Pages and buffers, compressed (theory 4).
//!
//! ```
//! use kmem_zalloc::pool::{Pool, Settings};
//!
//! let pool = Pool::new(Settings::pages())?;
//! let page: Vec<u8> = b"a page of the same words, ".iter().copied().cycle().take(4096).collect();
//! let handle = pool.store(&page)?;
//! assert!(handle.stored_len() < 200);
//!
//! let mut again = [0; 4096];
//! pool.load(handle, &mut again)?;
//! assert_eq!(again, *page);
//! pool.remove(handle)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod areas;
mod chain;
mod counters;
mod error;
mod filled;
mod handle;
mod limit;
mod recompress;
mod settings;

pub(crate) use areas::{Area, HEADROOM, Parts};
pub use counters::PoolStats;
pub use error::{CreateError, LoadError, StoreError};
pub use filled::word_of as same_filled;
pub use handle::Handle;
pub(crate) use handle::Meta;
pub use recompress::{Recompress, Recompressed};
pub use settings::{Incompressible, LONGEST, MOST_CODECS, SHORTEST_PAGE, Settings, Shape};

use crate::spool::{AllocError, HandleError, Zspool};
use areas::Areas;
use counters::{Count, Counters};
use handle::Form;
use kmem_base::source::{OsSource, PageSource};
use kmem_base::sync::relax;
use limit::Limit;

/// A compressed pool. All methods may be called by many threads at once, and none holds a lock while it compresses.
///
/// What was not removed goes with the pool.
#[derive(Debug)]
pub struct Pool<S: PageSource = OsSource> {
    settings: Settings,
    areas: Areas,
    counters: Counters,
    limit: Limit,
    /// Behind `areas`, which are mapped from its source.
    spool: Zspool<S>,
}

/// Data on its way into the pool: compressed, if that is worth it, and not stored yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed<'a> {
    bytes: &'a [u8],
    meta: Meta,
}

impl Pool {
    /// A pool of the system's memory.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn new(settings: Settings) -> Result<Self, CreateError> {
        Self::with_source(settings, OsSource)
    }
}

impl<S: PageSource> Pool<S> {
    /// A pool of memory from `source`.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn with_source(settings: Settings, source: S) -> Result<Self, CreateError> {
        settings.verify()?;
        let spool = Zspool::builder().source(source).limit(settings.limit).build();
        let workers = if settings.workers == 0 { 2 * cpus() } else { settings.workers };
        let longest = settings.shape.longest();
        let areas = Areas::new(spool.source(), settings.codecs, longest, workers).ok_or(CreateError::Memory)?;
        Ok(Self { settings, areas, counters: Counters::new(), limit: Limit::new(), spool })
    }

    /// How it was made.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The objects behind it: to be compacted and looked at, not to be freed.
    #[must_use]
    pub fn spool(&self) -> &Zspool<S> {
        &self.spool
    }

    /// Stores a copy of `data`, compressed. Same-filled data takes no memory at all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn store(&self, data: &[u8]) -> Result<Handle, StoreError> {
        if let Some(handle) = self.store_filled(data)? {
            return Ok(handle);
        }
        self.admit()?;
        let mut area = self.areas.claim(data.len());
        let packed = self.pack(&mut area, data)?;
        self.place(&packed).inspect_err(|_| self.counters.add(Count::Full, 1))
    }

    /// The handle of same-filled data; nothing if the data is not.
    pub(crate) fn store_filled(&self, data: &[u8]) -> Result<Option<Handle>, StoreError> {
        if !self.settings.shape.takes(data.len()) {
            return Err(StoreError::Length);
        }
        let Some(word) = filled::word_of(data) else { return Ok(None) };
        let meta = Meta::new(data.len(), 0, 0);
        self.count(meta, Counters::add);
        Ok(Some(Handle::new(word, meta)))
    }

    /// Refuses if the limit was reached and too much is in use still.
    fn admit(&self) -> Result<(), StoreError> {
        if self.limit.admits(&self.settings, &self.spool) {
            return Ok(());
        }
        self.counters.add(Count::Full, 1);
        Err(StoreError::Limit)
    }

    /// An area to work on `len` bytes in.
    pub(crate) fn claim(&self, len: usize) -> Area<'_> {
        self.areas.claim(len)
    }

    /// Compresses `data`, or decides that it is stored as it is, or not at all.
    pub(crate) fn pack<'a>(&self, area: &'a mut Area<'_>, data: &'a [u8]) -> Result<Packed<'a>, StoreError> {
        let Parts { packed, mut codecs, .. } = area.parts();
        let len = data.len();
        let worthwhile = self.share(len, self.settings.worthwhile);
        // A codec that fails has not made it smaller.
        let written = codecs.compress(0, data, packed).filter(|written| *written <= worthwhile && *written < len && *written > 0);
        let stored = match (written, self.settings.incompressible) {
            (Some(written), _) => written,
            (None, Incompressible::KeepRaw) => len,
            (None, Incompressible::Reject) => {
                self.counters.add(Count::Incompressible, 1);
                return Err(StoreError::Incompressible);
            }
        };
        if stored > self.share(len, self.settings.mean) && !self.mean_has_room() {
            self.counters.add(Count::Mean, 1);
            return Err(StoreError::Mean);
        }
        let bytes = if stored == len { data } else { &packed[..stored] };
        Ok(Packed { bytes, meta: Meta::new(len, stored, 0) })
    }

    fn share(&self, len: usize, thousandths: u16) -> usize {
        len * usize::from(thousandths) / 1000
    }

    /// True if what is held takes less than the mean allows. Same-filled data says nothing about it.
    fn mean_has_room(&self) -> bool {
        let [held, filled, stored] = [Count::Held, Count::Filled, Count::Stored].map(|count| self.counters.sum(count));
        // The longest stands for the length of each: exact for pages.
        let allowed = held.saturating_sub(filled) as u128 * u128::from(self.settings.mean) * self.settings.shape.longest() as u128;
        stored as u128 * 1000 <= allowed
    }

    /// Stores what was packed.
    pub(crate) fn place(&self, packed: &Packed<'_>) -> Result<Handle, StoreError> {
        let word = chain::insert(&self.spool, packed.bytes).map_err(|error| match error {
            AllocError::Limit => {
                self.limit.reached();
                StoreError::Limit
            }
            AllocError::Memory | AllocError::Size => StoreError::Memory,
        })?;
        self.count(packed.meta, Counters::add);
        if packed.meta.form() == Form::Raw {
            self.counters.add(Count::RawEver, 1);
        }
        self.limit.look(&self.spool);
        Ok(Handle::new(word, packed.meta))
    }

    /// Counts data that comes, or goes.
    fn count(&self, meta: Meta, by: impl Fn(&Counters, Count, usize)) {
        by(&self.counters, Count::Held, 1);
        by(&self.counters, Count::Original, meta.len());
        match meta.form() {
            Form::Filled => by(&self.counters, Count::Filled, 1),
            Form::Raw => {
                by(&self.counters, Count::Raw, 1);
                by(&self.counters, Count::Stored, meta.stored());
            }
            Form::Packed => by(&self.counters, Count::Stored, meta.stored()),
        }
    }

    /// Writes the stored data to the beginning of `to` and returns its length.
    ///
    /// # Errors
    /// [`LoadError`]; what `to` holds then is not said.
    pub fn load(&self, handle: Handle, to: &mut [u8]) -> Result<usize, LoadError> {
        let meta = handle.meta();
        let to = self.target(meta, to)?;
        match meta.form() {
            Form::Filled => filled::fill(to, handle.word()),
            Form::Raw => chain::read(&self.spool, handle.word(), to)?,
            Form::Packed => {
                let mut area = self.areas.claim(meta.len());
                let Parts { packed, mut codecs, .. } = area.parts();
                // An object of its own is read where it lies.
                let unpacked = if chain::is_single(meta.stored()) {
                    let object = chain::pin(&self.spool, handle.word(), meta.stored())?;
                    codecs.decompress(meta.level(), &object, to)
                } else {
                    let gathered = &mut packed[..meta.stored()];
                    chain::read(&self.spool, handle.word(), gathered)?;
                    codecs.decompress(meta.level(), gathered, to)
                };
                whole(unpacked, to.len())?;
            }
        }
        Ok(to.len())
    }

    /// The bytes to be written to.
    fn target<'a>(&self, meta: Meta, to: &'a mut [u8]) -> Result<&'a mut [u8], LoadError> {
        if !self.settings.shape.takes(meta.len()) {
            return Err(LoadError::Stale);
        }
        to.get_mut(..meta.len()).ok_or(LoadError::Short)
    }

    /// Copies what is stored, as it is stored, to the beginning of `to`.
    pub(crate) fn read_stored(&self, handle: Handle, to: &mut [u8]) -> Result<usize, LoadError> {
        let stored = handle.meta().stored();
        let to = to.get_mut(..stored).ok_or(LoadError::Short)?;
        chain::read(&self.spool, handle.word(), to)?;
        Ok(stored)
    }

    /// Makes data again of what [`Self::read_stored`] has copied, in whatever way it came here.
    pub(crate) fn unpack(
        &self,
        meta: Meta,
        stored: &[u8],
        codecs: &mut areas::Codecs<'_>,
        to: &mut [u8],
    ) -> Result<usize, LoadError> {
        let to = self.target(meta, to)?;
        match meta.form() {
            Form::Filled => return Err(LoadError::Corrupt),
            Form::Raw if stored.len() == to.len() => to.copy_from_slice(stored),
            Form::Raw => return Err(LoadError::Corrupt),
            Form::Packed => whole(codecs.decompress(meta.level(), stored, to), to.len())?,
        }
        Ok(to.len())
    }

    /// Removes what was stored. (What a handle says of lengths is counted: made up, it can make the statistics wrong.)
    ///
    /// # Errors
    /// [`LoadError::Stale`].
    pub fn remove(&self, handle: Handle) -> Result<(), LoadError> {
        if !self.settings.shape.takes(handle.len()) {
            return Err(LoadError::Stale);
        }
        if handle.meta().form() != Form::Filled {
            chain::free(&self.spool, handle.word(), handle.meta().stored())?;
        }
        self.count(handle.meta(), Counters::sub);
        Ok(())
    }

    /// What it holds, and has refused.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let sum = |count| self.counters.sum(count);
        PoolStats {
            held: sum(Count::Held),
            original_bytes: sum(Count::Original),
            stored_bytes: sum(Count::Stored),
            used_bytes: self.limit.used(&self.spool),
            limit_bytes: self.settings.limit,
            used_bytes_most: self.limit.most(),
            filled: sum(Count::Filled),
            raw: sum(Count::Raw),
            raw_ever: sum(Count::RawEver),
            refused_incompressible: sum(Count::Incompressible),
            refused_full: sum(Count::Full),
            refused_mean: sum(Count::Mean),
            recompressed_bytes: sum(Count::Recompressed),
            work_bytes: self.areas.bytes(),
        }
    }

    /// Walks every structure. Wants a pool that no other thread is changing.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        let stats = self.stats();
        if stats.filled + stats.raw > stats.held || stats.stored_bytes > stats.original_bytes {
            return Err("the counters contradict each other");
        }
        self.spool.check().map_err(|broken| broken.what)
    }
}

/// What was decompressed has to be all of it.
fn whole(written: Option<usize>, len: usize) -> Result<(), LoadError> {
    if written == Some(len) { Ok(()) } else { Err(LoadError::Corrupt) }
}

/// Reads an object however many others read it at the moment.
fn patiently<T>(mut read: impl FnMut() -> Result<T, HandleError>) -> Result<T, LoadError> {
    let mut round = 0;
    loop {
        match read() {
            Err(HandleError::Pinned) => relax(&mut round),
            result => return result.map_err(|_| LoadError::Stale),
        }
    }
}

impl<S: PageSource> Drop for Pool<S> {
    fn drop(&mut self) {
        // SAFETY: once, with the source of `new`, which `spool` still has.
        unsafe { self.areas.end(self.spool.source()) };
    }
}

/// CPUs of the machine.
pub(crate) fn cpus() -> usize {
    // SAFETY: takes a number.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1).max(1)
}
