//! The table that `/proc/slabinfo` has, in version 2.1's columns: written, read back, and the line that tunes a cache.

use core::fmt;

/// First two lines of the table.
pub const HEADER: &str = "slabinfo - version: 2.1\n\
    # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
    : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n";

/// One cache's line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Row<'a> {
    /// Name of the cache.
    pub name: &'a str,
    /// Objects in use.
    pub active_objs: usize,
    /// Objects that its slabs have room for.
    pub num_objs: usize,
    /// Bytes from one object to the next.
    pub objsize: usize,
    /// Objects of a slab.
    pub objperslab: usize,
    /// Pages of a slab.
    pub pagesperslab: usize,
    /// Objects in a CPU's queue, at most.
    pub limit: usize,
    /// Objects moved to and from it at once.
    pub batchcount: usize,
    /// Batches that are shared behind the queues.
    pub sharedfactor: usize,
    /// Slabs with objects in use, or in queues.
    pub active_slabs: usize,
    /// Slabs.
    pub num_slabs: usize,
    /// Objects shared behind the queues.
    pub sharedavail: usize,
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<17} {:>6} {:>6} {:>6}", self.name, self.active_objs, self.num_objs, self.objsize)?;
        write!(f, " {:>4} {:>4} : tunables", self.objperslab, self.pagesperslab)?;
        write!(f, " {:>4} {:>4} {:>4} : slabdata", self.limit, self.batchcount, self.sharedfactor)?;
        write!(f, " {:>6} {:>6} {:>6}", self.active_slabs, self.num_slabs, self.sharedavail)
    }
}

impl<'a> Row<'a> {
    /// Reads a line of the table, the kernel's own included: what follows these columns is ignored. `None` for headings and other texts.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.split(" : ");
        let (objects, tunables, slabs) = (parts.next()?, parts.next()?, parts.next()?);
        let (name, objects) = objects.trim_start().split_once(char::is_whitespace)?;
        if name.starts_with('#') {
            return None;
        }
        let [active_objs, num_objs, objsize, objperslab, pagesperslab] = numbers(objects)?;
        let [limit, batchcount, sharedfactor] = numbers(tunables.trim_start().strip_prefix("tunables ")?)?;
        let [active_slabs, num_slabs, sharedavail] = numbers(slabs.trim_start().strip_prefix("slabdata ")?)?;
        Some(Self {
            name,
            active_objs,
            num_objs,
            objsize,
            objperslab,
            pagesperslab,
            limit,
            batchcount,
            sharedfactor,
            active_slabs,
            num_slabs,
            sharedavail,
        })
    }
}

/// What a program writes to `/proc/slabinfo`: `name limit batchcount sharedfactor`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning<'a> {
    /// Name of the cache.
    pub name: &'a str,
    /// Objects in a CPU's queue, at most.
    pub limit: u32,
    /// Objects moved to and from it at once.
    pub batchcount: u32,
    /// Batches that are shared behind the queues.
    pub sharedfactor: u32,
}

impl<'a> Tuning<'a> {
    /// Reads such a line. `None` if it is anything else.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = line.trim().split_once(char::is_whitespace)?;
        let [limit, batchcount, sharedfactor] = numbers(rest)?;
        let small = |number: usize| u32::try_from(number).ok();
        Some(Self { name, limit: small(limit)?, batchcount: small(batchcount)?, sharedfactor: small(sharedfactor)? })
    }
}

/// Exactly `N` numbers.
fn numbers<const N: usize>(text: &str) -> Option<[usize; N]> {
    let (mut out, mut words) = ([0; N], text.split_whitespace());
    for number in &mut out {
        *number = words.next()?.parse().ok()?;
    }
    words.next().is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    const KERNEL: &str = "dentry            123456 123480    192   21    1 : tunables  120   60    8 : slabdata   5880   5880      12 \
        : globalstat 1 2 3 : cpustat 4 5";

    #[test]
    fn the_kernels_lines_are_read() {
        let row = Row::parse(KERNEL).unwrap();
        assert_eq!((row.name, row.active_objs, row.num_objs, row.objsize), ("dentry", 123_456, 123_480, 192));
        assert_eq!((row.objperslab, row.pagesperslab, row.limit, row.batchcount, row.sharedfactor), (21, 1, 120, 60, 8));
        assert_eq!((row.active_slabs, row.num_slabs, row.sharedavail), (5880, 5880, 12));
    }

    #[test]
    fn what_is_written_is_read_back_and_looks_as_in_the_kernel() {
        let row = Row::parse(KERNEL).unwrap();
        let text = row.to_string();
        assert!(KERNEL.replace("      12 :", "     12 :").starts_with(&text), "{text}");
        assert_eq!(Row::parse(&text), Some(row));
    }

    #[test]
    fn headings_and_nonsense_are_refused() {
        assert!(HEADER.lines().all(|line| Row::parse(line).is_none()));
        for text in [
            "",
            "x",
            "x 1 2 3",
            "x 1 2 3 4 5 : tunables 1 2 : slabdata 1 2 3",
            "x 1 2 3 4 5 : tunables 1 2 3 : slabdata 1 2 -3",
            "x 1 2 3 4 5 : tunables1 2 3 : slabdata 1 2 3",
        ] {
            assert_eq!(Row::parse(text), None, "{text}");
        }
        assert_eq!(
            Tuning::parse("dentry 120 60 8\n"),
            Some(Tuning { name: "dentry", limit: 120, batchcount: 60, sharedfactor: 8 })
        );
        for text in ["", "dentry", "dentry 1 2", "dentry 1 2 3 4", "dentry a b c", "dentry 1 2 99999999999"] {
            assert_eq!(Tuning::parse(text), None, "{text}");
        }
    }
}
