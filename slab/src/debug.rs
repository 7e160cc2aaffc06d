//! Caches that check every operation: red zones, poison, and who used an object last. Theory 7.
//!
//! ```text
//! | red zone, `red` bytes | object, and padding to a word | red zone, a word | last user, a word |
//! ```
//!
//! Such a cache has no arrays: each operation is seen, under the lock of the slab's node.

use crate::cache::{Flags, RawCache};
use crate::geometry::{Geometry, WORD};
use crate::grow::Leaving;
use crate::slab::Slab;
use crate::slabref::SlabRef;
use crate::stats::count;
use core::panic::Location;
use core::ptr::null_mut;
use kmem_base::fault::{Fault, die, die_after};
use kmem_base::sync::Ordering;

/// What red zones hold while their object is free, and while it is in use: SLAB's.
const RED_INACTIVE: u64 = 0x09F9_1102_9D74_E35B;
const RED_ACTIVE: u64 = 0xD841_56C5_6356_88C0;
/// What fills an object that was allocated and not yet written, ...
const POISON_INUSE: u8 = 0x5A;
/// ... that is free, ...
const POISON_FREE: u8 = 0x6B;
/// ... and its last byte.
const POISON_END: u8 = 0xA5;

type User = &'static Location<'static>;

/// What [`Slab::verify`] has found.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// What happened to the object.
    pub fault: Fault,
    /// Address of the object.
    pub object: usize,
    /// Who used it last, if the cache remembers.
    pub last: Option<User>,
}

impl core::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {:#x}", self.fault.message(), self.object)?;
        self.last.map_or(Ok(()), |last| write!(f, ", last used at {}:{}", last.file(), last.line()))
    }
}

impl core::error::Error for Damage {}

/// An object of a checked cache, with what is around it.
#[derive(Clone, Copy)]
struct Guarded<'a> {
    cache: &'a RawCache,
    geometry: &'a Geometry,
    object: *mut u8,
}

impl Guarded<'_> {
    fn has(&self, flag: Flags) -> bool {
        self.geometry.debug.has(flag)
    }

    /// True if free objects are filled: constructed ones keep their state, and type-safe ones may still be read.
    fn poisons(&self) -> bool {
        self.has(Flags::POISON) && !self.cache.is_constructed() && !self.cache.flags.has(Flags::TYPESAFE)
    }

    fn len(&self) -> usize {
        self.geometry.object as usize
    }

    /// Bytes from the object to the red zone's word behind it.
    fn rounded(&self) -> usize {
        self.len().max(1).next_multiple_of(WORD)
    }

    /// Calls `each` with every byte of the red zone before the object (`false`) and behind it (`true`), and what it should hold.
    fn each_red(&self, word: u64, mut each: impl FnMut(*mut u8, u8, bool) -> bool) -> bool {
        let (red, bytes) = (self.geometry.red as usize, word.to_le_bytes());
        let before = self.object.wrapping_sub(red);
        (0..red).all(|at| each(before.wrapping_add(at), bytes[at % WORD], false))
            && (self.len()..self.rounded() + WORD).all(|at| each(self.object.wrapping_add(at), bytes[at % WORD], true))
    }

    fn set_red(&self, word: u64) {
        if self.has(Flags::RED_ZONE) {
            // SAFETY: theory 7: the geometry has room for both zones, and they are the cache's.
            self.each_red(word, |at, byte, _| unsafe {
                at.write(byte);
                true
            });
        }
    }

    /// What is wrong with the red zones, which should hold `word`.
    fn red_fault(&self, word: u64) -> Option<Fault> {
        let mut fault = None;
        if self.has(Flags::RED_ZONE) {
            self.each_red(word, |at, byte, behind| {
                // SAFETY: as in `set_red`.
                if unsafe { at.read_volatile() } == byte {
                    return true;
                }
                fault = Some(if behind { Fault::Overrun } else { Fault::Underrun });
                false
            });
        }
        fault
    }

    fn fill(&self, byte: u8) {
        if self.poisons() {
            // SAFETY: the object is `len` bytes, and free.
            unsafe { self.object.write_bytes(byte, self.len()) };
            if byte == POISON_FREE && self.len() > 0 {
                // SAFETY: as above.
                unsafe { self.object.add(self.len() - 1).write(POISON_END) };
            }
        }
    }

    fn poison_fault(&self) -> Option<Fault> {
        let last = self.len().checked_sub(1).filter(|_| self.poisons())?;
        // SAFETY: as in `fill`.
        let intact = |at: usize, byte: u8| unsafe { self.object.add(at).read_volatile() } == byte;
        let intact = (0..last).all(|at| intact(at, POISON_FREE)) && intact(last, POISON_END);
        (!intact).then_some(Fault::UsedAfterFree)
    }

    /// What is wrong with the object if it is free.
    fn free_fault(&self) -> Option<Fault> {
        self.poison_fault().or_else(|| self.red_fault(RED_INACTIVE))
    }

    fn note(&self) -> Option<*mut Option<User>> {
        let red = if self.has(Flags::RED_ZONE) { WORD } else { 0 };
        self.has(Flags::STORE_USER).then(|| self.object.wrapping_add(self.rounded() + red).cast())
    }

    fn set_user(&self, user: Option<User>) {
        if let Some(note) = self.note() {
            // SAFETY: theory 7: the geometry has room for the note, which is aligned to a word as the object is.
            unsafe { note.write(user) };
        }
    }

    fn user(&self) -> Option<User> {
        // SAFETY: as in `set_user`; a note is written before its object is handed out for the first time.
        self.note().and_then(|note| unsafe { note.read() })
    }

    fn free(&self, user: Option<User>) {
        self.set_red(RED_INACTIVE);
        self.fill(POISON_FREE);
        self.set_user(user);
    }

    fn die(&self, fault: Fault) -> ! {
        match self.user() {
            Some(last) => die_after(fault, self.object.addr(), self.cache.name(), last),
            None => die(fault, self.object.addr(), self.cache.name()),
        }
    }
}

impl Slab {
    /// Prepares an object of a new slab.
    pub(crate) fn begin_checked(&self, cache: &RawCache, geometry: &Geometry, object: *mut u8) {
        Guarded { cache, geometry, object }.free(None);
    }

    /// Allocates an object of a checked cache. Faults if it was written to while it was free.
    #[cold]
    pub(crate) fn alloc_checked(&self, cache: &RawCache, user: User) -> *mut u8 {
        let (here, mut out) = (self.place(), [null_mut()]);
        self.tick();
        self.wake(cache);
        if self.grab(cache, here, &mut out) == 0 {
            count(&cache.nodes[here.node].counters.failed);
            return null_mut();
        }
        self.hand_out(cache, out[0], user);
        out[0]
    }

    /// Makes `object`, which was just taken from its slab, one in use. Faults if it was written to while it was free. Does nothing if the
    /// cache is not checked, which cannot change while an object is out.
    pub(crate) fn hand_out(&self, cache: &RawCache, object: *mut u8, user: User) {
        let guarded = Guarded { cache, geometry: cache.geometry(), object };
        if let Some(fault) = guarded.free_fault() {
            guarded.die(fault);
        }
        guarded.fill(POISON_INUSE);
        guarded.set_red(RED_ACTIVE);
        guarded.set_user(Some(user));
    }

    /// Frees an object of a checked cache. Faults if it is free, is none, or something was written around it.
    #[cold]
    pub(crate) fn free_checked(&self, cache: &RawCache, object: *mut u8, user: User) {
        let mut leaving = Leaving::new(self, cache);
        self.wake(cache);
        self.return_checked(cache, object, user, Some(&mut leaving));
        leaving.destroy();
    }

    /// The same. A slab that is too many goes to `leaving`, if there is such.
    pub(crate) fn return_checked(&self, cache: &RawCache, object: *mut u8, user: User, leaving: Option<&mut Leaving<'_>>) {
        let page = self.slab_of(cache, object);
        let mut lists = cache.nodes[page.home.load(Ordering::Relaxed) as usize].lock();
        let geometry = cache.geometry();
        // SAFETY: a slab of this cache, whose node is locked.
        let slab = unsafe { SlabRef::new(page, geometry) };
        let Some(index) = slab.index_of(object.addr()) else { die(Fault::Misaligned, object.addr(), cache.name()) };
        let guarded = Guarded { cache, geometry, object };
        if slab.is_free(index) {
            guarded.die(Fault::DoubleFree);
        }
        if let Some(fault) = guarded.red_fault(RED_ACTIVE) {
            guarded.die(fault);
        }
        guarded.free(Some(user));
        slab.put(index);
        lists.returned(&slab, 1);
        let limit = lists.free_limit;
        if let Some(leaving) = leaving {
            leaving.take(&mut lists, limit, usize::MAX);
        }
    }

    /// Looks at every object of a checked cache, in use or free. Returns how many there are. Exact when nobody allocates meanwhile: an object on
    /// its way out may look damaged.
    ///
    /// # Errors
    /// The first that was written around, or written to while it was free.
    #[doc(alias = "validate_slab_cache")]
    pub fn verify(&self, cache: &RawCache) -> Result<usize, Damage> {
        let mut objects = 0;
        for node in cache.nodes {
            let lists = node.lock();
            let geometry = cache.geometry();
            for page in lists.pages() {
                // SAFETY: a listed page starts a slab of this cache, and its node is locked.
                let slab = unsafe { SlabRef::new(page, geometry) };
                let free = slab.free_objects();
                objects += geometry.objects as usize;
                (0..geometry.objects).try_for_each(|index| {
                    let guarded = Guarded { cache, geometry, object: slab.object(index) };
                    let fault = if free.has(index) { guarded.free_fault() } else { guarded.red_fault(RED_ACTIVE) };
                    fault.map_or(Ok(()), |fault| Err(Damage { fault, object: guarded.object.addr(), last: guarded.user() }))
                })?;
            }
        }
        Ok(objects)
    }

    /// Who used the object of a checked cache last, if the cache remembers.
    pub(crate) fn last_user(&self, cache: &RawCache, object: *mut u8) -> Option<User> {
        Guarded { cache, geometry: cache.geometry(), object }.user()
    }
}
