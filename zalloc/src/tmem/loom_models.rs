//! Models of the store.
