//! Codecs without their types, so that a pool may have several.

use super::Codec;
use core::alloc::Layout;
use core::fmt::Debug;
use core::ptr::NonNull;

/// Any [`Codec`]: what a pool's list of codecs consists of. Implemented for codecs, and for nothing else.
pub trait AnyCodec: Level {}

impl<C: Codec> AnyCodec for C {}

/// A codec whose working memory is bytes that somebody else keeps.
///
/// # Safety
/// The implementation uses the working memory as its methods say, and returns no more than `to.len()` from either.
pub unsafe trait Level: Debug + Sync + 'static {
    fn name(&self) -> &'static str;

    fn bound(&self, len: usize) -> usize;

    /// Size and alignment of the working memory.
    fn layout(&self) -> Layout;

    /// Makes working memory of `at`. False if that failed: then nothing was made.
    ///
    /// # Safety
    /// `at` is the caller's, writable, and of that layout.
    unsafe fn begin(&self, at: NonNull<u8>, longest: usize) -> bool;

    /// Ends it.
    ///
    /// # Safety
    /// Begun, and used by nobody any more.
    unsafe fn end(&self, at: NonNull<u8>);

    /// See [`Codec::compress`].
    ///
    /// # Safety
    /// Begun, and used by nobody else during the call.
    unsafe fn compress(&self, at: NonNull<u8>, from: &[u8], to: &mut [u8]) -> Option<usize>;

    /// See [`Codec::decompress`].
    ///
    /// # Safety
    /// Begun, and used by nobody else during the call.
    unsafe fn decompress(&self, at: NonNull<u8>, from: &[u8], to: &mut [u8]) -> Option<usize>;
}

// SAFETY: `at` holds a `C::Work` from `begin` to `end`; lengths are checked here, whatever the codec says.
unsafe impl<C: Codec> Level for C {
    fn name(&self) -> &'static str {
        Codec::name(self)
    }

    fn bound(&self, len: usize) -> usize {
        Codec::bound(self, len)
    }

    fn layout(&self) -> Layout {
        Layout::new::<C::Work>()
    }

    unsafe fn begin(&self, at: NonNull<u8>, longest: usize) -> bool {
        let Some(work) = self.work(longest) else { return false };
        // SAFETY: writable and of the type's layout, by the caller's promise.
        unsafe { at.cast::<C::Work>().write(work) };
        true
    }

    unsafe fn end(&self, at: NonNull<u8>) {
        // SAFETY: written by `begin`, and nobody's any more.
        unsafe { at.cast::<C::Work>().drop_in_place() };
    }

    unsafe fn compress(&self, at: NonNull<u8>, from: &[u8], to: &mut [u8]) -> Option<usize> {
        let room = to.len();
        // SAFETY: written by `begin`, and the caller's alone.
        Codec::compress(self, unsafe { at.cast::<C::Work>().as_mut() }, from, to).filter(|len| *len <= room)
    }

    unsafe fn decompress(&self, at: NonNull<u8>, from: &[u8], to: &mut [u8]) -> Option<usize> {
        let room = to.len();
        // SAFETY: written by `begin`, and the caller's alone.
        Codec::decompress(self, unsafe { at.cast::<C::Work>().as_mut() }, from, to).filter(|len| *len <= room)
    }
}
