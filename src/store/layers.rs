//! The middleware layers of a store.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::middleware::{Done, Import, Middleware, Proposal};
use super::{ApplyError, Meta, Origin, Store};
use crate::document::backend::Backend;
use crate::document::doc::MiddlewareError;
use crate::document::projection::Outcome;
use crate::document::replica::Trust;
use crate::state::{ChangeError, Staged, State};

/// The layers, in the order in which they were added.
pub(super) struct Layers<S>(ArcSwap<Vec<Arc<dyn Middleware<S>>>>);

impl<S> Default for Layers<S> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

/// What is known of a change or an import while it runs.
pub(super) struct Report {
    pub(super) origin: Origin,
    pub(super) meta: Option<Arc<Meta>>,
    pub(super) size: usize,
    /// The paths that were touched.
    pub(super) touched: Arc<[Arc<str>]>,
    /// Whether watchers may have to be told.
    pub(super) shown: bool,
    /// Whether the meta gets the time at which the turn began, unless the meta has a time already.
    pub(super) dated: bool,
}

impl Report {
    pub(super) fn new(origin: Origin, meta: Option<Meta>) -> Self {
        let touched = Arc::default();
        Self { origin, meta: meta.map(Arc::new), size: 0, touched, shown: false, dated: false }
    }
}

impl<S: State> Layers<S> {
    /// The time at which a change or an import begins, if there is a layer.
    #[expect(
        clippy::disallowed_methods,
        reason = "the duration is only reported to middleware, and changes nothing"
    )]
    pub(super) fn timer(&self) -> Option<Instant> {
        (!self.0.load().is_empty()).then(Instant::now)
    }

    /// Asks all layers about a change. A layer may replace the meta.
    pub(super) fn change(
        &self,
        old: &S,
        staged: &Staged<S>,
        report: &mut Report,
    ) -> Result<(), ChangeError> {
        let layers = self.0.load_full();
        if layers.is_empty() {
            return Ok(());
        }
        let meta = report.meta.as_deref().cloned().unwrap_or_default();
        let mut proposal =
            Proposal { old, new: &staged.view, ops: &staged.ops, origin: report.origin, meta };
        let result = layers.iter().try_for_each(|layer| layer.change(&mut proposal));
        report.meta = (report.meta.is_some() || proposal.meta != Meta::default())
            .then(|| Arc::new(proposal.meta));
        result
    }

    /// Asks all layers about an import.
    pub(super) fn import(
        &self,
        updates: usize,
        bytes: usize,
        trust: Trust,
    ) -> Result<(), ApplyError> {
        let layers = self.0.load_full();
        if layers.is_empty() {
            return Ok(());
        }
        let import = Import { updates, bytes, trusted: trust == Trust::Trusted };
        layers
            .iter()
            .try_for_each(|layer| layer.import(&import))
            .map_err(|error| ApplyError::Denied(MiddlewareError::new(error)))
    }

    /// Tells all layers the outcome of a change or an import.
    pub(super) fn done(&self, begun: Option<Instant>, outcome: &Outcome<'_>) {
        let Some(begun) = begun else { return };
        let Outcome { origin, meta, size, touched, error } = *outcome;
        let took = begun.elapsed();
        // A change or import that failed has touched nothing, however far it came.
        let touched = if error.is_none() { touched } else { &[] };
        let done = Done { origin, meta, size, touched, error, took };
        self.0.load_full().iter().for_each(|layer| layer.done(&done));
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Adds a layer around changes and imports, after the layers that the store has already: see
    /// [`Middleware`]. The layer stays as long as the store.
    pub fn add_middleware(&self, layer: impl Middleware<S>) {
        let layer: Arc<dyn Middleware<S>> = Arc::new(layer);
        self.shared.layers.0.rcu(|layers| {
            let mut layers = Vec::clone(layers);
            layers.push(Arc::clone(&layer));
            layers
        });
    }
}
