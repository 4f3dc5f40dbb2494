//! How a change is made: it is staged, checked, written into the document, and shown.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::layers::Report;
use super::undo::{Entry, Log, Recording};
use super::warning::name_for;
use super::{Meta, Store, StoreMut, StoreRef};
use crate::document::backend::Backend;
use crate::document::commit::{Commit, Touch, in_key_order};
use crate::document::doc::Turn;
use crate::document::ops::Touched;
use crate::document::projection::{Content, Outcome};
use crate::state::{ChangeError, Stage, Staged, State, Violations};

/// The error that middleware gets if the closure of a change panicked.
#[derive(Debug, thiserror::Error)]
#[error("the change's closure panicked")]
struct Panicked;

/// A change that is in the document but that no view shows yet.
pub(super) struct WrittenChange<S> {
    pub(super) view: S,
    pub(super) violations: Violations,
    pub(super) commit: Commit,
    /// The undo entry of the change, if an undo manager needs it.
    pub(super) entry: Option<Entry>,
    logs: Vec<Arc<Mutex<Log>>>,
    /// The registers and sequences that the change touched, if other stores on the same document
    /// have to follow.
    pub(super) touched: Option<Touched>,
}

impl<'a, S: State, B: Backend> StoreRef<'a, S, B> {
    /// A stage that starts from the view that is shown.
    pub(super) fn stage(&self) -> Stage<'a, S> {
        let view = S::clone(&self.typed.view);
        let violations = self.typed.violations.clone();
        Stage::new(self.replica, view, violations, self.replica.id(), self.next_element, self.ty)
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Runs `edit` on a stage if `check` returns no error, and commits the staged ops.
    pub(super) fn stage<R>(
        &self,
        report: Report,
        check: impl FnOnce(&StoreRef<'_, S, B>) -> Result<(), ChangeError>,
        edit: impl FnOnce(&Stage<'_, S>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.stage_as(report, &Recording::Change, check, edit)
    }

    /// As `stage`; `recording` says how undo managers record the change.
    pub(super) fn stage_as<R>(
        &self,
        mut report: Report,
        recording: &Recording,
        check: impl FnOnce(&StoreRef<'_, S, B>) -> Result<(), ChangeError>,
        edit: impl FnOnce(&Stage<'_, S>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let span =
            tracing::trace_span!(target: "exostate", "change", origin = ?report.origin).entered();
        let timer = self.shared.layers.timer();
        let turn = Turn::begin(self.shared.document.inner()).ok_or(ChangeError::Nested)?;
        self.begin_change(&turn, &mut report)?;
        let checked = self.with_ref(&turn, |core| check(&core));
        let result = catch_unwind(AssertUnwindSafe(|| {
            checked?;
            let (result, staged) = self.prepare(&turn, &mut report, recording, edit)?;
            if let Some(staged) = staged {
                let mut written = self.write(&turn, staged, recording, &mut report)?;
                self.record(&turn, &mut written, recording);
                self.show(&turn, written);
            }
            Ok(result)
        }));
        drop(turn);
        drop(span);
        self.end(timer, &report, error_of(&result));
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Begins a change within its turn: sets the time of the meta if the report asks for it, shows
    /// the parts that were imported, and takes a fresh replica id if that is needed.
    pub(super) fn begin_change(
        &self,
        turn: &Turn<'_, B>,
        report: &mut Report,
    ) -> Result<(), ChangeError> {
        if report.dated {
            let time = turn.time.unwrap_or_else(|| self.now());
            let meta = report.meta.take().map(Arc::unwrap_or_clone).unwrap_or_default();
            let meta = if meta.time().is_none() { meta.with_time(time) } else { meta };
            report.meta = Some(Arc::new(meta));
        }
        let mut replica = turn.replica_mut().ok_or(ChangeError::Nested)?;
        report.shown = turn.begin_edit(&mut replica);
        Ok(())
    }

    /// Calls `look` with the document and the store's data, to read them.
    pub(super) fn with_ref<R>(
        &self,
        turn: &Turn<'_, B>,
        look: impl FnOnce(StoreRef<'_, S, B>) -> R,
    ) -> R {
        let replica = turn.replica();
        let lock = self.shared.typed.lock();
        let typed = lock.borrow();
        let next_element = &turn.document.next_element;
        let ty = self.shared.ty();
        look(StoreRef { replica: &replica, typed: &typed, next_element, ty })
    }

    /// Calls `work` with the document and the store's data, to change them. Nothing else may borrow
    /// them meanwhile.
    pub(super) fn with_mut<R>(
        &self,
        turn: &Turn<'_, B>,
        work: impl FnOnce(&mut StoreMut<'_, S, B>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let mut replica = turn.replica_mut().ok_or(ChangeError::Nested)?;
        let lock = self.shared.typed.lock();
        let mut typed = lock.borrow_mut();
        work(&mut StoreMut { replica: &mut replica, typed: &mut typed })
    }

    /// Stages a change, checks it against the limits, and asks the middleware. `None` if the change
    /// has no ops.
    fn prepare<R>(
        &self,
        turn: &Turn<'_, B>,
        report: &mut Report,
        recording: &Recording,
        edit: impl FnOnce(&Stage<'_, S>) -> Result<R, ChangeError>,
    ) -> Result<(R, Option<Staged<S>>), ChangeError> {
        self.with_ref(turn, |core| {
            let stage = core.stage();
            let result = edit(&stage)?;
            Ok((result, self.check_staged(&core.view, stage, report, recording)?))
        })
    }

    /// Checks a staged change against the limits, and asks the middleware. `None` if the change has
    /// no ops.
    pub(super) fn check_staged(
        &self,
        view: &S,
        stage: Stage<'_, S>,
        report: &mut Report,
        recording: &Recording,
    ) -> Result<Option<Staged<S>>, ChangeError> {
        let staged = stage.finish();
        if let Some(label) = recording.label() {
            report.meta = Some(Arc::new(Meta::new().with_label(label)));
        }
        if let Some(error) = staged.failed {
            return Err(error);
        }
        if staged.ops.is_empty() {
            return Ok(None);
        }
        report.size = staged.ops.len();
        let limits = self.shared.document.inner().options.limits();
        if let Some((path, reason)) = staged.ops.too_large(limits) {
            // An undo that is too large can never be written. The undo manager gives it up, so that
            // earlier changes can still be undone.
            recording.forget_group();
            return Err(ChangeError::Invalid { path, reason });
        }
        self.shared.layers.change(view, &staged, report)?;
        Ok(Some(staged))
    }

    /// Writes a staged change into the document. Sets `report.shown` also if it fails: watchers may
    /// have to be told in both cases.
    pub(super) fn write(
        &self,
        turn: &Turn<'_, B>,
        staged: Staged<S>,
        recording: &Recording,
        report: &mut Report,
    ) -> Result<WrittenChange<S>, ChangeError> {
        turn.reserve()?;
        report.shown = true;
        let logs = self.shared.logs.all();
        let touched = (turn.count_followers() > 1).then(|| staged.ops.touched());
        let Staged { ops, texts, lists, view, violations, .. } = staged;
        let mut writes_name = false;
        let written = self.with_mut(turn, |core| {
            if logs.is_empty() {
                core.tracks.get_mut().clear();
            }
            let entry = (recording.is_always_wanted() || !logs.is_empty()).then(|| {
                let mut tracks = core.typed.tracks.borrow_mut();
                tracks.prune(&logs);
                let revived = recording.take_revived();
                Entry::of(&ops, (&texts, &lists), core.replica, &mut tracks, revived)
            });
            let name = name_for(&*self.shared, core.replica);
            writes_name = name.is_some();
            Ok((core.replica.commit_named(&ops, name, texts, lists), entry))
        })?;
        let (updates, entry) = match written {
            (Ok(updates), entry) => (updates, entry),
            (Err(error), _) => {
                let mut replica = turn.replica_mut().ok_or(ChangeError::Nested)?;
                if turn.take_differs(&mut replica) {
                    turn.show_rebuilt(&mut replica, Vec::new());
                }
                return Err(error.into());
            }
        };
        if writes_name {
            turn.note_type(&turn.replica());
        }
        let mut paths: Vec<Arc<str>> = ops.registers.into_keys().map(|key| key.0).collect();
        paths.extend(ops.sequences.iter().map(|op| Arc::clone(op.target().0)));
        in_key_order(&mut paths);
        report.touched = Arc::from(paths);
        let commit = Commit {
            touch: Touch::of_all(Arc::clone(&report.touched)),
            updates,
            origin: report.origin,
            meta: report.meta.clone(),
            time: turn.time,
        };
        Ok(WrittenChange { view, violations, commit, entry, logs, touched })
    }

    /// Lets the undo managers and all recorders of the document record a written change. Then
    /// prepares the views of the other stores on the document.
    pub(super) fn record(
        &self,
        turn: &Turn<'_, B>,
        written: &mut WrittenChange<S>,
        recording: &Recording,
    ) {
        if let Some(entry) = written.entry.take() {
            recording.record(&written.logs, entry, &written.commit);
        }
        if let Some(mut replica) = turn.replica_mut() {
            turn.record(&mut replica, &written.commit);
        }
        if let Some(touched) = written.touched.take() {
            self.prepare_others(turn, Content::Touched(&touched), &written.commit.touch);
        }
    }

    /// Prepares the new views of the other stores on the document.
    pub(super) fn prepare_others(&self, turn: &Turn<'_, B>, content: Content<'_>, touch: &Touch) {
        let own = Arc::as_ptr(&self.shared).addr();
        let replica = turn.replica();
        turn.each(|one| {
            if Arc::as_ptr(one).addr() != own {
                one.prepare(&replica, content, touch);
            }
        });
    }

    /// Shows the view of a change that is written and recorded. O(1) for each store on the
    /// document.
    pub(super) fn show(&self, turn: &Turn<'_, B>, written: WrittenChange<S>) {
        let WrittenChange { view, violations, commit, .. } = written;
        {
            let lock = self.shared.typed.lock();
            let mut typed = lock.borrow_mut();
            typed.violations = violations;
            typed.next = Some(view);
        }
        turn.show(Arc::new(commit));
    }

    /// Called after the turn, outside every lock: tells the middleware the outcome, then tells the
    /// watchers.
    pub(super) fn end(
        &self,
        timer: Option<Instant>,
        report: &Report,
        error: Option<&(dyn Error + 'static)>,
    ) {
        let outcome = Outcome {
            origin: report.origin,
            meta: report.meta.as_deref(),
            size: report.size,
            touched: &report.touched,
            error,
        };
        self.shared.layers.done(timer, &outcome);
        if report.shown {
            self.shared.document.inner().delivery.deliver();
        }
    }
}

/// The error of a change, as the middleware gets it.
pub(super) fn error_of<R>(
    result: &std::thread::Result<Result<R, ChangeError>>,
) -> Option<&(dyn Error + 'static)> {
    match result {
        Ok(result) => result.as_ref().err().map(|error| error as _),
        Err(_) => Some(&Panicked as _),
    }
}
