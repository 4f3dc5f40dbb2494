//! How much memory is live, as the allocator counts it.
//!
//! The system's allocator does the work; the wrapper adds relaxed bookkeeping to every call, for
//! every system alike. Counting is exact where the resident size of the process would show
//! fragments and caches too.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are allocated and not yet freed.
fn live_bytes() -> i128 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as i128 - stats.bytes_deallocated as i128
}

/// Runs `make`, and says by how many MB (10⁶ bytes) the live memory has grown while what it made is
/// still held.
pub fn megabytes_kept<T>(make: impl FnOnce() -> T) -> (T, f64) {
    let before = live_bytes();
    let made = make();
    let grown = live_bytes() - before;
    (made, grown as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::megabytes_kept;

    #[test]
    fn what_is_kept_counts_and_what_is_dropped_does_not() {
        let (kept, megabytes) = megabytes_kept(|| {
            drop(vec![1_u8; 8_000_000]);
            vec![1_u8; 4_000_000]
        });
        assert_eq!(kept.len(), 4_000_000);
        assert!((3.5..5.0).contains(&megabytes), "{megabytes} MB");
    }
}
