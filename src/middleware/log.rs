//! A middleware that logs.

use super::{Done, Middleware};
use crate::state::State;
use crate::store::Origin;

/// The maximal number of paths that are logged per change.
const PATHS_MAX: usize = 8;

/// Logs changes and imports with [`tracing`], under the target `exostate`. A change or import that
/// was made is logged at level `DEBUG`, with the first eight of its touched paths. A change or
/// import that was refused or failed is logged at `WARN`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl<S: State> Middleware<S> for Log {
    fn done(&self, done: &Done<'_>) {
        let size = done.size;
        let took = done.took;
        let label = done.meta.and_then(|meta| meta.label());
        let what = if done.origin == Origin::Remote { "import" } else { "change" };
        match done.error {
            Some(error) => {
                tracing::warn!(
                    target: "exostate",
                    origin = ?done.origin,
                    label,
                    size,
                    ?took,
                    error,
                    "{what} refused"
                )
            }
            None => {
                let paths = done.touched.get(..PATHS_MAX).unwrap_or(done.touched);
                tracing::debug!(
                    target: "exostate",
                    origin = ?done.origin,
                    label,
                    size,
                    touched = done.touched.len(),
                    ?paths,
                    ?took,
                    "{what}"
                );
            }
        }
    }
}
