//! A layer that logs.

use super::{Done, Middleware};
use crate::state::State;
use crate::store::Origin;

/// Paths of one change that are logged.
const PATHS_MAX: usize = 8;

/// Logs changes and imports with [`tracing`]: what was done at level `DEBUG`, with the first eight
/// of the paths that it touched, what was refused or failed at `WARN`, under the target `exostate`.
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
                tracing::warn!(target: "exostate", origin = ?done.origin, label, size, ?took, error, "{what} refused")
            }
            None => {
                let paths = done.touched.get(..PATHS_MAX).unwrap_or(done.touched);
                tracing::debug!(target: "exostate", origin = ?done.origin, label, size, touched = done.touched.len(), ?paths, ?took, "{what}");
            }
        }
    }
}
