//! Handles that are nobody's, and requests that make no sense: errors, each the right one.

use kmem_zalloc::{AllocError, Budget, Handle, HandleError, Zspool};

#[test]
fn objects_have_1_to_4096_bytes() {
    let pool = Zspool::new();
    assert_eq!(pool.alloc(0), Err(AllocError::Size));
    assert_eq!(pool.alloc(4097), Err(AllocError::Size));
    assert_eq!(pool.insert(&[]), Err(AllocError::Size));
    assert_eq!(pool.insert(&[0; 4097]), Err(AllocError::Size));
    for size in 1..=4096 {
        let handle = pool.alloc(size).unwrap();
        assert_eq!((pool.size(handle), pool.read(handle).unwrap().len()), (Ok(size), size));
    }
    pool.check().unwrap();
}

#[test]
fn a_write_stays_within_its_object() {
    let pool = Zspool::new();
    let handles: Vec<_> = (0..100).map(|at| pool.insert(&[at; 33]).unwrap()).collect();
    assert_eq!(pool.write(handles[50], &[255; 34]), Err(HandleError::TooLong));
    assert_eq!(pool.write(handles[50], &[]), Ok(()));
    assert_eq!(pool.write(handles[50], &[200; 33]), Ok(()));
    for (at, handle) in handles.iter().enumerate() {
        let byte = if at == 50 { 200 } else { at as u8 };
        assert_eq!(&*pool.read(*handle).unwrap(), &[byte; 33]);
    }
}

#[test]
fn a_freed_handle_is_stale_for_ever() {
    let pool = Zspool::builder().shards(1).build();
    let mut old = Vec::new();
    for at in 0..1000_u32 {
        let handle = pool.insert(&at.to_le_bytes()).unwrap();
        pool.free(handle).unwrap();
        old.push(handle);
    }
    let live = pool.insert(b"live").unwrap();
    for handle in old {
        assert_ne!(handle, live);
        assert_eq!(pool.read(handle).err(), Some(HandleError::Stale));
        assert_eq!(pool.free(handle), Err(HandleError::Stale));
        assert_eq!(pool.write(handle, b"x"), Err(HandleError::Stale));
        assert_eq!(pool.size(handle), Err(HandleError::Stale));
    }
    assert_eq!(&*pool.read(live).unwrap(), b"live");
}

#[test]
fn a_slot_that_has_had_all_its_lives_is_retired() {
    let pool = Zspool::builder().shards(1).build();
    let first = pool.insert(b"first").unwrap();
    let mut last = first;
    // One slot is used again and again, then the next.
    let lives = 8191;
    for _ in 0..3 * lives {
        pool.free(last).unwrap();
        last = pool.alloc(5).unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.retired, stats.objects), (3, 1));
    pool.check().unwrap();
    let bits = first.to_bits();
    // Every generation that the first slot has had, and the one it has not.
    for generation in 0..=lives {
        let handle = Handle::from_bits(bits & !0x1FFF | generation).unwrap();
        assert_eq!(pool.read(handle).err(), Some(HandleError::Stale), "{generation}");
    }
    assert_eq!(pool.free(last), Ok(()));
}

#[test]
fn another_pools_handle_is_refused() {
    let (pool, other) = (Zspool::new(), Zspool::new());
    let mine: Vec<_> = (0..100).map(|at| pool.insert(&[at; 10]).unwrap()).collect();
    let others: Vec<_> = (0..100).map(|at| other.insert(&[at; 10]).unwrap()).collect();
    for handle in others {
        assert_eq!(pool.read(handle).err(), Some(HandleError::Stale));
        assert_eq!(pool.write(handle, &[1]), Err(HandleError::Stale));
        assert_eq!(pool.free(handle), Err(HandleError::Stale));
    }
    drop(other);
    let third = Zspool::new();
    assert!(mine.iter().all(|handle| third.read(*handle).is_err()));
    assert!(mine.iter().all(|handle| pool.read(*handle).is_ok()));
}

#[test]
fn made_up_handles_are_refused() {
    let pool = Zspool::new();
    let real = pool.insert(b"real").unwrap();
    assert_eq!(Handle::from_bits(0), None);
    assert_eq!(Handle::from_bits(real.to_bits()), Some(real));
    // One bit wrong, two bits wrong, and everything wrong.
    for first in 0..64 {
        for second in 0..64 {
            let bits = real.to_bits() ^ (1 << first) ^ if first == second { 0 } else { 1 << second };
            let handle = Handle::from_bits(bits).unwrap();
            assert_eq!(pool.read(handle).err(), Some(HandleError::Stale), "{bits:#x}");
            assert_eq!(pool.free(handle), Err(HandleError::Stale));
        }
    }
    for bits in [1, u64::MAX, u64::MAX >> 1, 0x1FFF, !0x1FFF] {
        assert_eq!(pool.read(Handle::from_bits(bits).unwrap()).err(), Some(HandleError::Stale));
    }
    assert!(Zspool::new().read(real).is_err(), "a pool that has no memory yet");
    pool.check().unwrap();
}

#[test]
fn an_object_being_read_is_not_written_moved_or_reused() {
    let pool = Zspool::builder().shards(1).build();
    let handles: Vec<_> = (0..1000_u32).map(|at| pool.insert(&[at as u8; 3000]).unwrap()).collect();
    let guards: Vec<_> = handles.iter().step_by(10).map(|handle| pool.read(*handle).unwrap()).collect();
    let places: Vec<_> = guards.iter().map(|guard| guard.as_ptr()).collect();
    assert_eq!(pool.write(handles[0], &[1]), Err(HandleError::Pinned));
    for handle in &handles {
        pool.free(*handle).unwrap();
    }
    assert_eq!(pool.write(handles[0], &[1]), Err(HandleError::Stale));
    let done = pool.compact(Budget::UNLIMITED);
    assert!(done.done && done.moved == 0, "the dying stay: {done:?}");
    assert!(pool.trim() == 0 || pool.stats().resident > 0);
    pool.check().unwrap();
    assert_eq!(pool.stats().objects, guards.len());
    for _ in 0..1000 {
        pool.insert(&[0xEE; 3000]).unwrap();
    }
    for (at, guard) in guards.iter().enumerate() {
        assert_eq!(guard.as_ptr(), places[at]);
        assert!(guard.iter().all(|byte| *byte == (at * 10) as u8));
    }
    drop(guards);
    pool.check().unwrap();
    assert_eq!(pool.stats().objects, 1000);
}

#[test]
fn pinned_objects_stay_and_the_others_move() {
    let pool = Zspool::builder().shards(1).build();
    let handles: Vec<_> = (0..4000_u32).map(|at| pool.insert(&at.to_le_bytes().repeat(400)).unwrap()).collect();
    let kept: Vec<_> = (0..4000).step_by(3).collect();
    (0..4000).filter(|at| at % 3 != 0).for_each(|at| pool.free(handles[at]).unwrap());
    let guards: Vec<_> = kept.iter().step_by(7).map(|at| pool.read(handles[*at]).unwrap()).collect();
    let places: Vec<_> = guards.iter().map(|guard| guard.as_ptr()).collect();
    let done = pool.compact(Budget::UNLIMITED);
    assert!(done.moved > 0 && done.pinned > 0 && done.released > 0, "{done:?}");
    pool.check().unwrap();
    assert!(guards.iter().zip(places).all(|(guard, place)| guard.as_ptr() == place));
    drop(guards);
    pool.compact(Budget::UNLIMITED);
    pool.check().unwrap();
    assert_eq!(pool.compactable_bytes(), 0);
    for at in kept {
        assert_eq!(&*pool.read(handles[at]).unwrap(), &(at as u32).to_le_bytes().repeat(400)[..]);
    }
}

#[test]
fn an_object_has_at_most_126_guards() {
    let pool = Zspool::new();
    let handle = pool.insert(b"popular").unwrap();
    let mut guards: Vec<_> = (0..126).map(|_| pool.read(handle).unwrap()).collect();
    assert_eq!(pool.read(handle).err(), Some(HandleError::Pinned));
    guards.pop();
    assert_eq!(&*pool.read(handle).unwrap(), b"popular");
    pool.free(handle).unwrap();
    assert_eq!(pool.read(handle).err(), Some(HandleError::Stale));
    drop(guards);
    pool.check().unwrap();
    assert_eq!(pool.stats().objects, 0);
}
