//! Which CPU a thread runs on.

/// Keeps this thread on the CPU number `index` of those that the process may use; on the last one if there are fewer.
pub(crate) fn stay_on(index: usize) {
    let allowed = allowed();
    let Some(cpu) = allowed.get(index).or(allowed.last()) else { return };
    // SAFETY: a CPU set is a plain C structure, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number came out of a set of the same size.
    unsafe { libc::CPU_SET(*cpu, &mut set) };
    // SAFETY: `set` is valid for its size. If it is refused, the thread runs where it likes.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
}

fn allowed() -> Vec<usize> {
    // SAFETY: as above.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for its size. A refusal leaves it empty.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    // SAFETY: the number is below the set's size.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_one_cpu() {
        std::thread::spawn(|| {
            let first = allowed()[0];
            stay_on(0);
            assert_eq!(allowed(), [first]);
            stay_on(7);
            assert_eq!(allowed(), [first]);
        })
        .join()
        .unwrap();
    }
}
