//! A middleware that counts and measures.

use super::{Done, Middleware};
use crate::state::State;
use crate::store::Origin;

/// Counts and measures with the [`metrics`](::metrics) facade, by `origin` (`local`, `remote`,
/// `undo`, …): the counters `exostate_done_total` and `exostate_refused_total`, the histograms
/// `exostate_size` (ops of a change, updates of an import) and `exostate_seconds`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metrics;

impl<S: State> Middleware<S> for Metrics {
    fn done(&self, done: &Done<'_>) {
        let origin = name(done.origin);
        let counted =
            if done.error.is_some() { "exostate_refused_total" } else { "exostate_done_total" };
        ::metrics::counter!(counted, "origin" => origin).increment(1);
        ::metrics::histogram!("exostate_size", "origin" => origin)
            .record(f64::from(u32::try_from(done.size).unwrap_or(u32::MAX)));
        ::metrics::histogram!("exostate_seconds", "origin" => origin)
            .record(done.took.as_secs_f64());
    }
}

fn name(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Remote => "remote",
        Origin::Undo => "undo",
        Origin::Redo => "redo",
        Origin::Repair => "repair",
    }
}
