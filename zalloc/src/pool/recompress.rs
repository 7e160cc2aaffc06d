//! Compressing again what was stored, with a stronger codec (theory 4.7).

use super::counters::Count;
use super::handle::Form;
use super::{Handle, LoadError, Meta, Packed, Parts, Pool, StoreError, whole};
use kmem_base::source::PageSource;

/// What is worth compressing again. The caller says which data is idle: it knows what it uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recompress {
    /// The last codec to try, in the pool's list; those between the data's own and this one are tried in turn.
    pub level: usize,
    /// Only what is stored in more bytes than this.
    pub above: usize,
    /// Least gain in bytes. Objects come in steps of 16: a smaller gain gains nothing.
    pub gain: usize,
}

/// What a pass has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recompressed {
    /// Looked at.
    pub seen: usize,
    /// Made smaller.
    pub smaller: usize,
    /// Stored bytes of those before.
    pub bytes_before: usize,
    /// And after.
    pub bytes_after: usize,
}

impl Recompress {
    /// With all codecs up to `level`, whatever is stored.
    #[must_use]
    pub const fn up_to(level: usize) -> Self {
        Self { level, above: 0, gain: 16 }
    }
}

impl<S: PageSource> Pool<S> {
    /// Compresses again what `handles` name, and puts the new handles in their place. Nothing ever becomes larger: what a stronger
    /// codec does not make smaller stays as it is, and is not tried again. Stale handles are left alone.
    ///
    /// Ends early when the pool's limit or memory is reached.
    pub fn recompress<'a>(&self, handles: impl IntoIterator<Item = &'a mut Handle>, wish: Recompress) -> Recompressed {
        let mut done = Recompressed::default();
        for handle in handles {
            done.seen += 1;
            match self.recompress_one(*handle, wish) {
                Ok(Some(new)) if new.word() == handle.word() => *handle = new,
                Ok(Some(new)) => {
                    done.smaller += 1;
                    done.bytes_before += handle.stored_len();
                    done.bytes_after += new.stored_len();
                    // Stale only if the user has removed it in the meantime, from under the handle that is borrowed here.
                    let _ = self.remove(*handle);
                    *handle = new;
                }
                Ok(None) | Err(Failed::Load) => {}
                Err(Failed::Store) => break,
            }
        }
        done
    }

    /// A handle to take the place of `handle`: of a new, smaller copy, or of the same object, if only a note was added; nothing if there
    /// is nothing to do.
    pub(crate) fn recompress_one(&self, handle: Handle, wish: Recompress) -> Result<Option<Handle>, Failed> {
        let meta = handle.meta();
        let last = wish.level.min(self.settings.codecs.len() - 1);
        if meta.form() == Form::Filled || meta.stored() <= wish.above || meta.tried() >= last {
            return Ok(None);
        }
        let mut area = self.claim(meta.len());
        let Parts { packed, plain, mut codecs } = area.parts();
        let stored = self.read_stored(handle, packed).map_err(|_| Failed::Load)?;
        let plain = self.target(meta, plain)?;
        match meta.form() {
            Form::Raw => plain.copy_from_slice(&packed[..stored]),
            _ => whole(codecs.decompress(meta.level(), &packed[..stored], plain), meta.len()).map_err(|_| Failed::Load)?,
        }
        let goal = stored.saturating_sub(wish.gain.max(1));
        for level in meta.tried() + 1..=last {
            let written = codecs.compress(level, plain, packed).filter(|written| (1..=goal).contains(written));
            if let Some(written) = written {
                let smaller = Packed { bytes: &packed[..written], meta: Meta::new(meta.len(), written, level) };
                let new = self.place(&smaller).map_err(|_: StoreError| Failed::Store)?;
                self.counters.add(Count::Recompressed, stored - written);
                return Ok(Some(new));
            }
        }
        Ok(Some(Handle::new(handle.word(), meta.tried_up_to(last))))
    }
}

/// Why nothing was compressed again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failed {
    /// The old data could not be read.
    Load,
    /// The new could not be stored.
    Store,
}

impl From<LoadError> for Failed {
    fn from(_: LoadError) -> Self {
        Self::Load
    }
}
