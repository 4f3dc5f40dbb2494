//! The middleware of a store.

use std::error::Error;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::undo::Log;
use super::{ApplyError, Meta, Origin, Store};
use crate::document::backend::Backend;
use crate::document::replica::Trust;
use crate::middleware::{Done, Import, Middleware, Proposal};
use crate::state::{ChangeError, Staged, State};

/// The layers, in the order in which they were added.
pub(super) struct Layers<S>(ArcSwap<Vec<Arc<dyn Middleware<S>>>>);

impl<S> Default for Layers<S> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

/// What is known of a change or an import while it is under way.
pub(super) struct Report {
    pub(super) origin: Origin,
    pub(super) meta: Option<Arc<Meta>>,
    pub(super) size: usize,
    /// The paths that were touched.
    pub(super) touched: Arc<[Arc<str>]>,
    /// Those who watch may have to be told.
    pub(super) shown: bool,
    /// When its turn began, where that matters to those who undo.
    pub(super) now: Option<SystemTime>,
    /// Whether its meta is to say when its turn began, unless it says a time.
    pub(super) dated: bool,
    /// Whose undo or redo it is.
    pub(super) way_back: Option<Arc<Mutex<Log>>>,
}

impl Report {
    pub(super) fn new(origin: Origin, meta: Option<Meta>) -> Self {
        let touched = Arc::default();
        Self {
            origin,
            meta: meta.map(Arc::new),
            size: 0,
            touched,
            shown: false,
            now: None,
            dated: false,
            way_back: None,
        }
    }
}

impl<S: State> Layers<S> {
    /// When something begins, if anybody wants to know.
    #[expect(
        clippy::disallowed_methods,
        reason = "what takes how long is for those who measure, and changes nothing"
    )]
    pub(super) fn timer(&self) -> Option<Instant> {
        (!self.0.load().is_empty()).then(Instant::now)
    }

    /// Asks all about a change; they may say more about it.
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

    /// Asks all about an import.
    pub(super) fn import(
        &self,
        updates: &[impl AsRef<[u8]>],
        trust: Trust,
    ) -> Result<(), ApplyError> {
        let layers = self.0.load_full();
        if layers.is_empty() {
            return Ok(());
        }
        let bytes = updates.iter().map(|update| update.as_ref().len()).sum();
        let import = Import { updates: updates.len(), bytes, trusted: trust == Trust::Trusted };
        layers
            .iter()
            .try_for_each(|layer| layer.import(&import))
            .map_err(|error| ApplyError::Denied(error.to_string()))
    }

    /// Tells all what came of it.
    pub(super) fn done(
        &self,
        begun: Option<Instant>,
        report: &Report,
        error: Option<&(dyn Error + 'static)>,
    ) {
        let Some(begun) = begun else { return };
        let origin = report.origin;
        let meta = report.meta.as_deref();
        let size = report.size;
        let took = begun.elapsed();
        // What failed has touched nothing, however far it came.
        let touched = if error.is_none() { &*report.touched } else { &[] };
        self.0
            .load_full()
            .iter()
            .for_each(|layer| layer.done(&Done { origin, meta, size, touched, error, took }));
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Adds a layer around changes and imports, behind those that are there: see [`Middleware`]. It
    /// stays as long as the store.
    pub fn add_middleware(&self, layer: impl Middleware<S>) {
        let layer: Arc<dyn Middleware<S>> = Arc::new(layer);
        self.shared.layers.0.rcu(|layers| {
            let mut layers = Vec::clone(layers);
            layers.push(Arc::clone(&layer));
            layers
        });
    }
}
