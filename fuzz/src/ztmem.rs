//! `ztmem`: operations on a keyed store of compressed pages, beside a map of what it must say. The first byte says how much memory it has,
//! and how large its backing file is; each eight bytes behind it are an operation.

#[path = "../../zalloc/tests/data/model.rs"]
mod model;

use model::{Disk, Model, decode};
use std::sync::Arc;

/// Carries out what `data` says.
pub fn run(data: &[u8]) {
    let Some((first, operations)) = data.split_first() else { return };
    let limit = match first & 3 {
        0 => usize::MAX,
        small => usize::from(small) * (96 << 10),
    };
    let file = [0, 16 << 10, 128 << 10, 4 << 20][usize::from(first >> 2 & 3)];
    let store = model::store(limit, (file > 0).then(|| (Disk::default(), file)));
    let mut model = Model::new(Arc::new(store), 0);
    let trace = std::env::var_os("KMEM_TEST_TRACE").is_some();
    for word in operations.as_chunks::<8>().0 {
        let operation = decode(u64::from_le_bytes(*word));
        if trace {
            println!("{operation:?}");
        }
        model.apply(operation);
    }
    model.compare_all();
    model.store.check().expect("the invariants");
}
