//! How a pool is made.

use super::config::MAX_SHARDS;
use super::zspool::Zspool;
use kmem_base::source::{OsSource, PageSource};
use kmem_base::topology::possible_cpus;

/// Settings of a [`Zspool`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Builder<S: PageSource = OsSource> {
    source: S,
    limit: usize,
    shards: Option<usize>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { source: OsSource, limit: usize::MAX, shards: None }
    }
}

impl<S: PageSource> Builder<S> {
    /// Most bytes of memory behind spans, free ones included. Metadata is not counted; compaction may exceed it by a span.
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// Most shards, 1 to 64 (theory 3.8). As many as CPUs unless said.
    pub fn shards(self, shards: usize) -> Self {
        Self { shards: Some(shards), ..self }
    }

    /// Memory from another source.
    pub fn source<T: PageSource>(self, source: T) -> Builder<T> {
        Builder { source, limit: self.limit, shards: self.shards }
    }

    /// The pool. Takes no memory yet.
    pub fn build(self) -> Zspool<S> {
        let shards = self.shards.unwrap_or_else(|| (possible_cpus() as usize).min(MAX_SHARDS));
        Zspool::with(self.source, shards, self.limit)
    }
}
