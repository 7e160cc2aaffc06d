//! slabinfo, tuning by its lines, and counters.

mod common;

use common::{Heap, configurations};
use kmem_base::slabinfo::{HEADER, Row};
use kmem_slab::{Flags, Front, Spec, TuneError, TuneLineError};

#[test]
fn the_table_is_the_kernels_and_is_read_back() {
    for (name, settings) in configurations() {
        let heap = Heap::new(&settings);
        let cache = heap.slab.create(&Spec::new("dentry", 192, 8)).unwrap();
        let held = heap.alloc_many(cache, 1000);
        let mut text = String::new();
        heap.slab.write_slabinfo(&mut text).unwrap();
        assert!(text.starts_with(HEADER) && text.starts_with("slabinfo - version: 2.1\n# name "));
        let rows: Vec<_> = text.lines().filter_map(Row::parse).collect();
        assert_eq!(rows.len(), text.lines().count() - 2);
        let row = rows.iter().find(|row| row.name == "dentry").unwrap();
        assert_eq!(*row, heap.slab.row(cache));
        assert_eq!(row.active_objs, 1000, "{name}");
        assert!(row.num_objs >= 1000 && row.num_objs == row.num_slabs * row.objperslab && row.objsize >= 192);
        heap.free_all(cache, held);
        assert_eq!(heap.slab.row(cache).active_objs, 0);
    }
}

#[test]
fn a_line_tunes_a_cache_while_it_is_used() {
    for front in [Front::Arrays, Front::Magazines] {
        let heap = Heap::with_front(false);
        let cache = heap.slab.create(&Spec::new("inode", 600, 8).behind(front)).unwrap();
        let held = heap.alloc_many(cache, 500);
        heap.slab.tune_line("inode 20 10 4\n").unwrap();
        let row = heap.slab.row(cache);
        let batch = if front == Front::Arrays { 10 } else { 20 };
        assert_eq!((row.limit, row.batchcount, row.sharedfactor), (20, batch, 4));
        assert_eq!(row.active_objs, 500);
        heap.free_all(cache, held);
        let info = heap.slab.cache_info(cache);
        assert!(info.queued <= 2 * 20 * heap.slab.percpu().cpus() as usize && info.shared <= 4 * 20, "{info:?}");
        heap.slab.check().unwrap();
        heap.destroy(cache).unwrap();
    }
}

#[test]
fn bad_lines_change_nothing() {
    let heap = Heap::with_front(false);
    let (cache, checked) = (heap.slab.create(&Spec::new("plain", 64, 8)).unwrap(), heap.cache(64, Flags::CHECKS));
    let before = heap.slab.row(cache);
    let refused = |line| heap.slab.tune_line(line).unwrap_err();
    assert_eq!(refused("plain 1 2"), TuneLineError::Syntax);
    assert_eq!(refused("nobody 120 60 8"), TuneLineError::Unknown);
    for line in
        ["plain 0 1 8", "plain 10 0 8", "plain 10 11 8", "plain 9000 10 0", "plain 120 60 1000", "plain 4000000000 1 4000000000"]
    {
        assert_eq!(refused(line), TuneLineError::Refused(TuneError::Value), "{line}");
    }
    assert_eq!(refused(&format!("{} 10 5 1", checked.name())), TuneLineError::Refused(TuneError::Checked));
    assert_eq!(heap.slab.row(cache), before);
}

#[test]
fn queues_have_slabs_sizes() {
    let heap = Heap::with_front(false);
    let limits: Vec<_> = [8, 256, 257, 1024, 1032, 4096, 4104, 131_072, 131_080, 262_144]
        .map(|size| {
            let row = heap.slab.row(heap.cache(size, Flags::NONE));
            (row.limit, row.batchcount, row.sharedfactor)
        })
        .into();
    let shared = if heap.slab.percpu().cpus() > 1 { 8 } else { 0 };
    let small = |limit, batch| (limit, batch, shared);
    let expected = [
        small(120, 60),
        small(120, 60),
        small(54, 27),
        small(54, 27),
        small(24, 12),
        small(24, 12),
        (8, 4, 0),
        (8, 4, 0),
        (1, 1, 0),
        (1, 1, 0),
    ];
    assert_eq!(limits, expected);
}
