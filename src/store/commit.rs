//! How a change comes about: staged, checked, written into the document, shown.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::layers::Report;
use super::notify::Notice;
use super::undo::{Entry, Log};
use super::warning::name_for;
use super::{Core, Meta, Store, Writer, in_key_order};
use crate::document::backend::Backend;
use crate::state::{ChangeError, Stage, Staged, State, Violations};

/// What layers are told of a change whose closure panicked.
#[derive(Debug, thiserror::Error)]
#[error("the change's closure panicked")]
struct Panicked;

/// A staged change that is in the document, and not shown yet.
pub(super) struct Written<S> {
    pub(super) view: S,
    pub(super) violations: Violations,
    pub(super) touched: Arc<[Arc<str>]>,
    pub(super) updates: Vec<Arc<[u8]>>,
    /// What it did, for those who undo.
    pub(super) entry: Option<Entry>,
    pub(super) logs: Vec<Arc<Mutex<Log>>>,
}

impl<S: State, B: Backend> Core<S, B> {
    /// A stage on what is shown.
    pub(super) fn stage(&self) -> Stage<'_, S> {
        Stage::new(
            &self.replica,
            S::clone(&self.view),
            self.violations.clone(),
            self.replica.id(),
            &self.next_element,
        )
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Runs a closure on a stage, once `check` has nothing against it, and commits what it staged.
    pub(super) fn stage<R>(
        &self,
        mut report: Report,
        check: impl FnOnce(&Core<S, B>) -> Result<(), ChangeError>,
        edit: impl FnOnce(&Stage<'_, S>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let span =
            tracing::trace_span!(target: "exostate", "change", origin = ?report.origin).entered();
        let timer = self.shared.layers.timer();
        let guard = self.shared.core.lock();
        self.enter(&guard, &mut report)?;
        let checked = check(&guard.borrow());
        let result = catch_unwind(AssertUnwindSafe(|| {
            checked?;
            let (result, staged) = self.prepare(&guard, &mut report, edit)?;
            if let Some(staged) = staged {
                let mut core = guard.borrow_mut();
                let mut written = self.write(&mut core, staged, false, &mut report)?;
                self.note_written(&mut core, &mut written, &report);
                self.show_written(&mut core, written, &report);
            }
            Ok(result)
        }));
        drop(guard);
        drop(span);
        self.end(timer, &report, error_of(&result));
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Takes note that the writer's place is held. It may be by a change of the same thread.
    pub(super) fn enter(
        &self,
        guard: &Writer<'_, S, B>,
        report: &mut Report,
    ) -> Result<(), ChangeError> {
        report.now = self.time_in_turn(guard).ok_or(ChangeError::Nested)?;
        if report.dated {
            let time = report.now.unwrap_or_else(|| self.now());
            let meta = report.meta.take().map(Arc::unwrap_or_clone).unwrap_or_default();
            report.meta =
                Some(Arc::new(if meta.time().is_none() { meta.with_time(time) } else { meta }));
        }
        let mut core = guard.try_borrow_mut().map_err(|_| ChangeError::Nested)?;
        core.now = report.now;
        report.shown = self.show(&mut core);
        Ok(())
    }

    /// Stages a change and asks all who may refuse it. `None`: there is nothing to do.
    pub(super) fn prepare<R>(
        &self,
        guard: &Writer<'_, S, B>,
        report: &mut Report,
        edit: impl FnOnce(&Stage<'_, S>) -> Result<R, ChangeError>,
    ) -> Result<(R, Option<Staged<S>>), ChangeError> {
        let core = guard.borrow();
        let stage = core.stage();
        let result = edit(&stage)?;
        Ok((result, self.judge(&core, stage, report)?))
    }

    /// Asks all who may refuse what was staged. `None`: there is nothing to do.
    pub(super) fn judge(
        &self,
        core: &Core<S, B>,
        stage: Stage<'_, S>,
        report: &mut Report,
    ) -> Result<Option<Staged<S>>, ChangeError> {
        let staged = stage.finish();
        if let Some(label) = report.way_back.as_ref().and_then(|log| log.lock().staged_label()) {
            report.meta = Some(Arc::new(Meta::new().with_label(label)));
        }
        if let Some(error) = staged.failed {
            return Err(error);
        }
        if staged.ops.is_empty() {
            return Ok(None);
        }
        report.size = staged.ops.len();
        if let Some((path, reason)) = staged.ops.too_large(self.shared.options.limits()) {
            // What cannot be written never can be: it must not keep what was done before it from
            // being undone.
            report.way_back.iter().for_each(|log| log.lock().give_up());
            return Err(ChangeError::Invalid { path, reason });
        }
        self.shared.layers.change(&core.view, &staged, report)?;
        Ok(Some(staged))
    }

    /// Writes a staged change into the document. What it did is noted where somebody undoes, or
    /// where it is `wanted`. Whether it succeeds or not, those who watch may have to be told
    /// then.
    pub(super) fn write(
        &self,
        core: &mut Core<S, B>,
        staged: Staged<S>,
        wanted: bool,
        report: &mut Report,
    ) -> Result<Written<S>, ChangeError> {
        report.shown = true;
        let logs = self.shared.logs.all();
        if logs.is_empty() {
            core.tracks.get_mut().clear();
        }
        let entry = (wanted || !logs.is_empty()).then(|| {
            let mut tracks = core.tracks.borrow_mut();
            tracks.prune(&logs);
            let revived =
                report.way_back.as_ref().map(|log| log.lock().take_revived()).unwrap_or_default();
            Entry::of(&staged, &core.replica, &mut tracks, revived)
        });
        let updates = match core.replica.commit_named(
            &staged.ops,
            name_for(core),
            staged.texts,
            staged.lists,
        ) {
            Ok(updates) => updates,
            Err(error) => {
                if self.take_differs(core) {
                    self.show_all(core, Vec::new());
                }
                return Err(error.into());
            }
        };
        let mut touched: Vec<Arc<str>> =
            staged.ops.registers.into_keys().map(|key| key.0).collect();
        touched.extend(staged.ops.sequences.iter().map(|op| op.target().0.clone()));
        in_key_order(&mut touched);
        report.touched = Arc::from(touched);
        let touched = Arc::clone(&report.touched);
        Ok(Written {
            view: staged.view,
            violations: staged.violations,
            touched,
            updates,
            entry,
            logs,
        })
    }

    /// Notes what was written: for those who undo, and in the histories.
    pub(super) fn note_written(
        &self,
        core: &mut Core<S, B>,
        written: &mut Written<S>,
        report: &Report,
    ) {
        if let Some(entry) = written.entry.take() {
            self.record(&written.logs, entry, report);
        }
        self.note(core, &written.touched, &written.updates, report.origin, report.meta.as_ref());
    }

    /// Shows what was written and noted. What nobody hears of comes back, as of [`Store::publish`].
    pub(super) fn show_written(
        &self,
        core: &mut Core<S, B>,
        written: Written<S>,
        report: &Report,
    ) -> Option<Notice<S>> {
        core.violations = written.violations;
        self.swap(
            core,
            written.view,
            written.touched,
            written.updates,
            report.origin,
            report.meta.clone(),
        )
    }

    /// Afterwards, outside every lock: tells the layers and those who watch.
    pub(super) fn end(
        &self,
        timer: Option<Instant>,
        report: &Report,
        error: Option<&(dyn Error + 'static)>,
    ) {
        self.shared.layers.done(timer, report, error);
        if report.shown {
            self.shared.bus.deliver();
        }
    }
}

/// What a change failed with, as layers are told it.
pub(super) fn error_of<R>(
    result: &std::thread::Result<Result<R, ChangeError>>,
) -> Option<&(dyn Error + 'static)> {
    match result {
        Ok(result) => result.as_ref().err().map(|error| error as _),
        Err(_) => Some(&Panicked as _),
    }
}
