//! What a page source promises beyond what the page supply asks of it.

use kmem_base::source::{Call, FaultySource, OsSource, PageSource, Plan, Range};
use std::ptr::NonNull;
use std::slice;

const PAGES: usize = 64;
const PAGE: usize = 4096;

/// Mapped pages, each byte 0xAA.
fn filled() -> NonNull<u8> {
    let at = OsSource.map(PAGES * PAGE, PAGE).expect("memory");
    // SAFETY: mapped just now.
    unsafe { at.write_bytes(0xAA, PAGES * PAGE) };
    at
}

/// Every third page.
fn ranges(at: NonNull<u8>) -> Vec<Range> {
    // SAFETY: within the mapping.
    (0..PAGES).step_by(3).map(|page| Range { at: unsafe { at.add(page * PAGE) }, len: PAGE }).collect()
}

/// Which pages are zero; each must be wholly so or not at all.
fn zeroed(at: NonNull<u8>) -> Vec<usize> {
    // SAFETY: mapped, and written.
    let bytes = unsafe { slice::from_raw_parts(at.as_ptr(), PAGES * PAGE) };
    let is_zero = |page: &usize| {
        let page = &bytes[page * PAGE..][..PAGE];
        assert!(page.iter().all(|byte| *byte == page[0]));
        page[0] == 0
    };
    (0..PAGES).filter(is_zero).collect()
}

#[test]
fn scattered_pages_go_back_together_and_no_others() {
    let at = filled();
    // SAFETY: the contents are nobody's.
    assert!(unsafe { OsSource.purge_all(&ranges(at)) });
    assert_eq!(zeroed(at), (0..PAGES).step_by(3).collect::<Vec<_>>());
    // SAFETY: whole, and dead.
    unsafe { OsSource.unmap(at, PAGES * PAGE) };
}

#[test]
fn one_refusal_is_told_and_keeps_no_other_range_from_going_back() {
    let at = filled();
    let source = FaultySource::new();
    source.plan(Plan::Nth(2));
    // SAFETY: the contents are nobody's.
    assert!(!unsafe { PageSource::purge_all(&&source, &ranges(at)) });
    let expected: Vec<_> = (0..PAGES).step_by(3).filter(|page| *page != 6).collect();
    assert_eq!(zeroed(at), expected);
    source.plan(Plan::Kind(Call::Purge));
    // SAFETY: as above.
    assert!(!unsafe { source.purge_all(&ranges(at)) });
    // SAFETY: whole, and dead.
    unsafe { OsSource.unmap(at, PAGES * PAGE) };
}
