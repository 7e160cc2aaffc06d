//! Models (theory 3.5).
