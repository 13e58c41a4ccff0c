//! printf
