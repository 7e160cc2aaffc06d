//! Lists of pages, against a vector.

#![cfg(not(loom))]

use kmem_base::pages::{Kind, Page, PageList};
use kmem_testkit::SplitMix64;

#[test]
fn a_list_agrees_with_a_vector() {
    let pages: Vec<&'static Page> = (0..40).map(|_| &*Box::leak(Box::new(Page::new()))).collect();
    let (mut list, mut plain, mut random) = (PageList::new(), Vec::<&Page>::new(), SplitMix64::new(1));
    for _ in 0..3000 {
        let page = pages[random.below(pages.len())];
        // SAFETY: a page is pushed only if it is on no list, removed and asked about only if it is on this one.
        unsafe {
            match plain.iter().position(|other| std::ptr::eq(*other, page)) {
                Some(at) => {
                    let after = plain.get(at + 1).map(|page| std::ptr::from_ref(*page));
                    assert_eq!(list.after(page).map(std::ptr::from_ref), after);
                    list.remove(page);
                    plain.remove(at);
                }
                None => {
                    list.push(page);
                    plain.insert(0, page);
                }
            }
        }
        assert!(list.check());
        assert_eq!((list.len() as usize, list.is_empty()), (plain.len(), plain.is_empty()));
        assert!(list.pages().map(std::ptr::from_ref).eq(plain.iter().map(|page| std::ptr::from_ref(*page))));
        assert_eq!(list.first().map(std::ptr::from_ref), plain.first().map(|page| std::ptr::from_ref(*page)));
    }
}

#[test]
fn a_descriptor_says_what_it_was_told() {
    let page = Page::new();
    assert_eq!((page.kind(), page.span(), page.address(), page.owner()), (Kind::Free, 0, 0, std::ptr::null_mut()));
    for (span, kind) in [Kind::Slab, Kind::Tail, Kind::Large, Kind::Meta, Kind::Free].into_iter().enumerate() {
        let address = (span + 3) << 40;
        page.begin(kind, address, span as u32);
        page.set_owner(std::ptr::without_provenance_mut(address + 8));
        assert_eq!((page.kind(), page.span(), page.address()), (kind, span as u32, address));
        assert_eq!(page.owner().addr(), address + 8);
    }
}
