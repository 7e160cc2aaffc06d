//! The contestants of this build: kmem, the C library and the peers, each as its authors deliver and document it.

#[cfg(any(feature = "mimalloc", feature = "jemalloc", feature = "snmalloc", feature = "rpmalloc", feature = "tcmalloc"))]
use kmem_bench_core::Contestant;
use kmem_bench_core::{GLIBC, KMEM, KMEM_LOCKED, KMEM_MAGAZINES, KMEM_MARKED, KMEM_SLAB, KMEM_SLOB, Program};

/// What takes part. Further back ends of kmem get their lines here.
pub(crate) static PROGRAM: Program = Program {
    contestants: &[
        KMEM,
        KMEM_LOCKED,
        KMEM_SLAB,
        KMEM_MAGAZINES,
        KMEM_SLOB,
        KMEM_MARKED,
        GLIBC,
        #[cfg(feature = "mimalloc")]
        Contestant {
            name: if cfg!(feature = "mimalloc2") { "mimalloc2" } else { "mimalloc" },
            allocator: c"mimalloc",
            version: versions::mimalloc,
            ..GLIBC
        },
        #[cfg(feature = "mimalloc")]
        Contestant {
            name: if cfg!(feature = "mimalloc2") { "mimalloc2-nothp" } else { "mimalloc-nothp" },
            allocator: c"mimalloc",
            env: &[("MIMALLOC_ALLOW_THP", "0")],
            version: versions::mimalloc,
            ..GLIBC
        },
        #[cfg(feature = "jemalloc")]
        Contestant { name: "jemalloc", allocator: c"jemalloc", version: versions::jemalloc, ..GLIBC },
        #[cfg(feature = "snmalloc")]
        Contestant { name: "snmalloc", allocator: c"snmalloc", version: versions::snmalloc, ..GLIBC },
        #[cfg(feature = "rpmalloc")]
        Contestant { name: "rpmalloc", allocator: c"rpmalloc", version: versions::rpmalloc, ..GLIBC },
        #[cfg(feature = "tcmalloc")]
        Contestant {
            name: "tcmalloc",
            allocator: c"tcmalloc",
            // Its per-CPU mode registers rseq itself, which glibc must therefore leave alone.
            env: &[("GLIBC_TUNABLES", "glibc.pthread.rseq=0"), ("TCMALLOC_DISABLE_MADV_HUGEPAGE", "0")],
            version: versions::tcmalloc,
            ..GLIBC
        },
    ],
    // tcmalloc starts itself in every process that contains it; this keeps that start from taking whole huge pages.
    common: if cfg!(feature = "tcmalloc") { &[("TCMALLOC_DISABLE_MADV_HUGEPAGE", "1")] } else { &[] },
};

/// Versions, as far as they are known.
mod versions {
    #[cfg(feature = "mimalloc")]
    pub(super) fn mimalloc() -> String {
        // Major, two digits of minor, two digits of patch.
        let n = mimalloc::MiMalloc.version();
        format!("{}.{}.{} (crate {})", n / 10_000, n / 100 % 100, n % 100, env!("KMEM_BENCH_MIMALLOC"))
    }

    #[cfg(feature = "jemalloc")]
    pub(super) fn jemalloc() -> String {
        of_crate(env!("KMEM_BENCH_JEMALLOC"))
    }

    #[cfg(feature = "snmalloc")]
    pub(super) fn snmalloc() -> String {
        let asserts = if cfg!(snmalloc_asserts) { " WITH ITS ASSERTIONS: build with CXXFLAGS=-DNDEBUG" } else { "" };
        of_crate(env!("KMEM_BENCH_SNMALLOC")) + asserts
    }

    #[cfg(feature = "rpmalloc")]
    pub(super) fn rpmalloc() -> String {
        of_crate(env!("KMEM_BENCH_RPMALLOC"))
    }

    #[cfg(feature = "tcmalloc")]
    pub(super) fn tcmalloc() -> String {
        of_crate(env!("KMEM_BENCH_TCMALLOC"))
    }

    /// Behind a plus stands what the C library itself calls the version.
    #[cfg(any(feature = "jemalloc", feature = "snmalloc", feature = "rpmalloc", feature = "tcmalloc"))]
    fn of_crate(version: &str) -> String {
        version.split_once('+').map_or_else(
            || format!("(crate {version})"),
            |(own, library)| format!("{} (crate {own})", library.split('-').next().unwrap_or(library)),
        )
    }
}
