//! The index: objects and their pages, by name, by object, by pool and by age. One shard has its share of the objects, each with all its
//! pages, behind one lock.

use super::MOST_POOLS;
use super::key::{Oid, PoolId};
use super::list::{Links, List, Node};
use super::page::{AGE, Page, Place, SIBLINGS, Version};
use super::slots::{Buckets, Chained, NONE, Slots};
use super::stats::Counts;
use crate::pool::Handle;

/// The list of a pool's objects.
const OBJECTS: usize = 0;

/// One object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    pub(super) oid: Oid,
    pub(super) pool: PoolId,
    hash: u32,
    chain: u32,
    pages: List<SIBLINGS>,
    links: Links,
}

impl Chained for Object {
    fn chain(&self) -> u32 {
        self.chain
    }

    fn set_chain(&mut self, next: u32) {
        self.chain = next;
    }
}

impl Node<OBJECTS> for Object {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// An object's name, hashed. The lower half finds the bucket, the upper one the shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name {
    pub(super) pool: PoolId,
    pub(super) oid: Oid,
    pub(super) hash: u64,
}

/// A share of the store.
#[derive(Debug)]
pub(super) struct Shard {
    objects: Slots<Object>,
    by_name: Buckets,
    pub(super) pages: Slots<Page>,
    by_index: Buckets,
    by_pool: [List<OBJECTS>; MOST_POOLS],
    /// Ephemeral pages, the latest used first.
    pub(super) recent: List<AGE>,
    /// Persistent pages in memory, the latest put or spared first.
    pub(super) warm: List<AGE>,
    pub(super) counts: Counts,
}

/// Objects of at most this many pages and so on have 32 bits of hash: enough, as they only choose a bucket.
fn page_hash(object: u32, index: u32) -> u32 {
    let mixed = (u64::from(object) << 32 | u64::from(index)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as u32
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            objects: Slots::new(),
            by_name: Buckets::new(),
            pages: Slots::new(),
            by_index: Buckets::new(),
            by_pool: [List::EMPTY; MOST_POOLS],
            recent: List::EMPTY,
            warm: List::EMPTY,
            counts: Counts::default(),
        }
    }

    fn object(&self, name: &Name) -> Option<u32> {
        self.by_name.find(&self.objects, name.hash as u32, |object| object.pool == name.pool && object.oid == name.oid)
    }

    /// The page of that name.
    pub(super) fn find(&self, name: &Name, index: u32) -> Option<u32> {
        let object = self.object(name)?;
        self.by_index.find(&self.pages, page_hash(object, index), |page| page.object == object && page.index == index)
    }

    /// Any page of an object.
    pub(super) fn page_of_object(&self, name: &Name) -> Option<u32> {
        self.object(name).map(|object| self.objects.get(object).pages.first)
    }

    /// Any page of a pool.
    pub(super) fn page_of_pool(&self, pool: PoolId) -> Option<u32> {
        let first = self.by_pool[pool.slot()].first;
        (first != NONE).then(|| self.objects.get(first).pages.first)
    }

    /// The object that a page belongs to.
    pub(super) fn owner(&self, page: u32) -> &Object {
        self.objects.get(self.pages.get(page).object)
    }

    /// Adds a page, which is not there. Nothing if there is no memory for it.
    pub(super) fn insert(&mut self, name: &Name, index: u32, place: Place, version: Version) -> Option<u32> {
        let room = self.objects.reserve()
            && self.by_name.reserve(&mut self.objects, |object| object.hash)
            && self.pages.reserve()
            && self.by_index.reserve(&mut self.pages, |page| page_hash(page.object, page.index));
        if !room {
            return None;
        }
        let object = self.object(name).unwrap_or_else(|| self.insert_object(name));
        let id = self.pages.insert(Page::new(object, index, place, version));
        self.by_index.insert(&mut self.pages, page_hash(object, index), id);
        self.objects.get_mut(object).pages.push(self.pages.all_mut(), id);
        self.list(id);
        Some(id)
    }

    fn insert_object(&mut self, name: &Name) -> u32 {
        let hash = name.hash as u32;
        let object = Object { oid: name.oid, pool: name.pool, hash, chain: NONE, pages: List::EMPTY, links: Links::NONE };
        let id = self.objects.insert(object);
        self.by_name.insert(&mut self.objects, hash, id);
        self.by_pool[name.pool.slot()].push(self.objects.all_mut(), id);
        id
    }

    /// Takes a page away, and its object with its last page.
    pub(super) fn remove(&mut self, id: u32) {
        self.unlist(id);
        let Page { object, index, .. } = *self.pages.get(id);
        self.by_index.remove(&mut self.pages, page_hash(object, index), id);
        self.objects.get_mut(object).pages.unlink(self.pages.all_mut(), id);
        self.pages.remove(id);
        let Object { pages, hash, pool, .. } = *self.objects.get(object);
        if pages == List::EMPTY {
            self.by_name.remove(&mut self.objects, hash, object);
            self.by_pool[pool.slot()].unlink(self.objects.all_mut(), object);
            self.objects.remove(object);
        }
    }

    /// New contents for a page.
    pub(super) fn replace(&mut self, id: u32, handle: Handle, version: Version) {
        self.unlist(id);
        self.pages.get_mut(id).replace(handle, version);
        self.list(id);
    }

    fn age_list(&mut self, id: u32) -> &mut List<AGE> {
        if self.owner(id).pool.is_ephemeral() { &mut self.recent } else { &mut self.warm }
    }

    /// Lists a page as the latest, if it can be evicted or written.
    pub(super) fn list(&mut self, id: u32) {
        let ephemeral = self.owner(id).pool.is_ephemeral();
        let page = self.pages.get_mut(id);
        // Same-filled pages take no memory: there is nothing to be gained by writing them.
        let in_memory = matches!(page.place, Place::Memory(handle) if ephemeral || handle.stored_len() > 0);
        if page.listed || !in_memory {
            return;
        }
        page.listed = true;
        let mut list = *self.age_list(id);
        list.push(self.pages.all_mut(), id);
        *self.age_list(id) = list;
    }

    /// Takes a page out of the list of its age.
    pub(super) fn unlist(&mut self, id: u32) {
        if !core::mem::take(&mut self.pages.get_mut(id).listed) {
            return;
        }
        let mut list = *self.age_list(id);
        list.unlink(self.pages.all_mut(), id);
        *self.age_list(id) = list;
    }

    /// Notes that a page was used.
    pub(super) fn touch(&mut self, id: u32) {
        if self.owner(id).pool.is_ephemeral() {
            self.unlist(id);
            self.list(id);
        } else {
            self.pages.get_mut(id).referenced = true;
        }
    }

    /// The page to be written next, which leaves its list: the last that was not used since this came by. Second chance.
    pub(super) fn coldest(&mut self) -> Option<u32> {
        for _ in 0..=self.pages.live() {
            let id = self.warm.last;
            if id == NONE {
                return None;
            }
            self.unlist(id);
            if !core::mem::take(&mut self.pages.get_mut(id).referenced) {
                return Some(id);
            }
            self.list(id);
        }
        None
    }

    /// The ephemeral page that was used least recently.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.recent.last != NONE).then_some(self.recent.last)
    }

    /// Bytes of the index.
    pub(super) fn bytes(&self) -> usize {
        self.objects.bytes() + self.by_name.bytes() + self.pages.bytes() + self.by_index.bytes()
    }

    /// Walks everything: pools to objects to pages, each found by its name, the lists by age, the free places. Calls `each` with every
    /// page and its object.
    pub(super) fn check(&self, mut each: impl FnMut(&Object, &Page) -> Result<(), &'static str>) -> Result<(), &'static str> {
        let (mut objects, mut pages, mut listed) = (0, 0, 0);
        for (slot, list) in self.by_pool.iter().enumerate() {
            let mut inner = Ok(());
            objects += list.check(self.objects.all(), |id| {
                let object = self.objects.get(id);
                let name = Name { pool: object.pool, oid: object.oid, hash: object.hash.into() };
                if object.pool.slot() != slot || self.object(&name) != Some(id) || object.pages == List::EMPTY {
                    return false;
                }
                let of_object = object.pages.check(self.pages.all(), |page_id| {
                    let page = self.pages.get(page_id);
                    listed += usize::from(page.listed);
                    let in_memory = matches!(page.place, Place::Memory(_));
                    inner = core::mem::replace(&mut inner, Ok(())).and_then(|()| each(object, page));
                    page.object == id && self.find(&name, page.index) == Some(page_id) && (in_memory || !page.listed)
                });
                pages += *of_object.as_ref().unwrap_or(&0);
                of_object.is_ok()
            })?;
            inner?;
        }
        let kept = |ephemeral| move |id: u32| self.pages.get(id).listed && self.owner(id).pool.is_ephemeral() == ephemeral;
        let aged = self.recent.check(self.pages.all(), kept(true))? + self.warm.check(self.pages.all(), kept(false))?;
        let free = (self.objects.count_free(), self.pages.count_free());
        let all = (self.objects.all().len() - objects, self.pages.all().len() - pages);
        if (objects, pages) != (self.objects.live(), self.pages.live()) || free != (Some(all.0), Some(all.1)) {
            return Err("objects or pages are neither in use nor free");
        }
        if aged == listed { Ok(()) } else { Err("a page is in the wrong list of ages, or in none") }
    }
}
