//! How the typed view follows its document.

use std::sync::Arc;
use std::time::Instant;

use super::notify::{self, Notice};
use super::{Shared, read_view, read_whole};
use crate::document::backend::Backend;
use crate::document::commit::{Commit, Touch};
use crate::document::doc::ApplyError;
use crate::document::named::TypeMismatch;
use crate::document::projection::{Content, Outcome, Projection, Shown};
use crate::document::replica::{Replica, Trust};
use crate::document::source::Touching;
use crate::state::{Refresh, State};

impl<S: State, B: Backend> Projection<B> for Shared<S, B> {
    fn timer(&self) -> Option<Instant> {
        self.layers.timer()
    }

    fn allow(&self, updates: usize, bytes: usize, trust: Trust) -> Result<(), ApplyError> {
        self.layers.import(updates, bytes, trust)
    }

    fn done(&self, begun: Option<Instant>, outcome: &Outcome<'_>) {
        self.layers.done(begun, outcome);
    }

    fn is_watched(&self) -> bool {
        self.subscribers.lock().is_watched()
    }

    fn undoes(&self) -> bool {
        !self.logs.is_empty()
    }

    fn note_type(&self, replica: &Replica<B>) {
        let mismatch = TypeMismatch::between(replica.type_names(), self.type_name());
        if self.mismatch.load().as_deref() == mismatch.as_ref() {
            return;
        }
        if let Some(mismatch) = &mismatch {
            super::warning::log(&mismatch.clone().into());
        }
        self.mismatch.store(mismatch.map(Arc::new));
    }

    fn type_mismatch(&self) -> Option<TypeMismatch> {
        self.mismatch.load().as_deref().cloned()
    }

    fn prepare(&self, replica: &Replica<B>, content: Content<'_>, touch: &Touch) {
        let lock = self.typed.lock();
        match content {
            Content::Touched(touched) | Content::Replaced(touched) => {
                self.note_others(replica, touched);
            }
            Content::Unknown => self.note_unknown(replica, &lock.borrow()),
            Content::Registers(_) => {}
        }
        let mut typed = lock.borrow_mut();
        let (view, violations) = match content {
            Content::Registers(entries) => read_view(replica, entries, self.ty()),
            Content::Touched(touched) if !replica.mostly(touched) => {
                let mut view = S::clone(&typed.view);
                let source = Touching { document: replica, touched };
                let mut refresh = Refresh::new(&source, &mut typed.violations, self.ty());
                touch.differing.iter().for_each(|path| refresh.touch(&mut view, path));
                typed.next = Some(view);
                return;
            }
            Content::Touched(_) | Content::Replaced(_) | Content::Unknown => {
                read_whole(replica, self.ty())
            }
        };
        typed.violations = violations;
        typed.next = Some(view);
    }

    fn show(&self, commit: &Arc<Commit>) -> Shown {
        let lock = self.typed.lock();
        let mut typed = lock.borrow_mut();
        typed.recent.add(&commit.touch.written);
        // If no content differs, the old view stays, so that nothing has to compare the views.
        let new = match typed.next.take().filter(|_| !commit.touch.differing.is_empty()) {
            Some(next) => Arc::new(next),
            None => Arc::clone(&typed.view),
        };
        let old = std::mem::replace(&mut typed.view, Arc::clone(&new));
        let violations = typed.violations.clone();
        let shown = std::mem::replace(&mut typed.shown_violations, violations.clone());
        drop(typed);
        let commit = Arc::clone(commit);
        let notice = Notice { number: 0, old, new, violations: [shown, violations], commit };
        notify::show(&self.subscribers, &self.view, notice)
    }
}
