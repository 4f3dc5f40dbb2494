//! The amount of live memory, as the allocator counts it.
//!
//! The system's allocator does the work. The wrapper adds relaxed counters to every call, for every
//! system alike. The count is exact; the resident size of the process would include fragmentation
//! and caches too.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are allocated and not yet freed.
fn live_bytes() -> i128 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as i128 - stats.bytes_deallocated as i128
}

/// Runs `make`. Returns its result, and by how many MB (10⁶ bytes) the live memory has grown while
/// the result is held.
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
    fn kept_allocations_count_and_dropped_ones_do_not() {
        let (kept, megabytes) = megabytes_kept(|| {
            drop(vec![1_u8; 8_000_000]);
            vec![1_u8; 4_000_000]
        });
        assert_eq!(kept.len(), 4_000_000);
        assert!((3.5..5.0).contains(&megabytes), "{megabytes} MB");
    }
}
