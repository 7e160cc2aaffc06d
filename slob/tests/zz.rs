use kmem_base::source::OsSource;
use kmem_slob::*;
use std::alloc::Layout;
fn grow<B: Book>() {
    let mut heap = Slob::<OsSource, Unchecked, B>::over(&OsSource);
    let layout = Layout::from_size_align(1000, 8).unwrap();
    for n in 0..200_000 {
        assert!(!heap.alloc(layout).is_null(), "{n} {:?}", heap.stats());
    }
}
#[test]
fn lists() {
    grow::<Lists>()
}
#[test]
fn marks() {
    grow::<Marks>()
}
