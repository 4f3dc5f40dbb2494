//! One change across several stores: in all of them, or in none.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::commit::{Written, error_of};
use super::layers::Report;
use super::undo::staged_way_back;
use super::{Core, Origin, Store, Writer};
use crate::document::backend::Backend;
use crate::state::{ChangeError, Edit, Staged, State};

impl<S: State, B: Backend> Store<S, B> {
    /// Changes this store and another one, of whatever type and backend: both, or neither. Each gets a change of its own, and its watchers are
    /// told once both are there. Peers get them one by one, as each document travels by itself.
    ///
    /// Use this rather than a change within a change: two threads that change two stores within each other in opposite order wait
    /// for each other for ever; this takes both in an order of its own.
    ///
    /// ```
    /// use exostate::{Map, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct List { items: Map<String, bool> }
    ///
    /// let (today, later) = (Store::<List>::new(), Store::<List>::new());
    /// today.change(|list| list.items().insert("tidy up", false))?;
    /// today.change_with(&later, |today, later| {
    ///     today.items().remove("tidy up")?;
    ///     later.items().insert("tidy up", false)
    /// })?;
    /// assert!(today.view().items.is_empty() && later.view().items.len() == 1);
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::change`], for either; [`ChangeError::Nested`] also where both are the same store. Nothing has happened in either.
    pub fn change_with<T: State, C: Backend, R>(
        &self,
        other: &Store<T, C>,
        edit: impl FnOnce(S::Node<Edit<'_>>, T::Node<Edit<'_>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let (ours, theirs) = (self.address(), other.address());
        if ours == theirs {
            return Err(ChangeError::Nested);
        }
        let span = tracing::trace_span!(target: "exostate", "change of two stores").entered();
        let (mut report, mut other_report) = (Report::new(Origin::Local, None), Report::new(Origin::Local, None));
        let (timer, other_timer) = (self.begin(&mut report), other.begin(&mut other_report));
        let (guard, other_guard) = if ours < theirs {
            let guard = self.shared.core.lock();
            (guard, other.shared.core.lock())
        } else {
            let other_guard = other.shared.core.lock();
            (self.shared.core.lock(), other_guard)
        };
        self.enter(&guard, &mut report)?;
        // What this may have shown of the first is told with the next thing that is done there.
        other.enter(&other_guard, &mut other_report)?;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let ((result, second), first) = self.prepare(&guard, &mut report, |stage| {
                other.prepare(&other_guard, &mut other_report, |other_stage| edit(stage.root(), other_stage.root()))
            })?;
            let written = self.write_if(&guard, first, &mut report)?;
            match other.write_if(&other_guard, second, &mut other_report) {
                Ok(other_written) => {
                    self.show_if(&guard, written, &report);
                    other.show_if(&other_guard, other_written, &other_report);
                    Ok(result)
                }
                Err(error) => {
                    self.take_back(&mut guard.borrow_mut(), written, &report);
                    Err(error)
                }
            }
        }));
        drop((guard, other_guard));
        drop(span);
        // A callback that panics keeps nothing from the other store.
        let told = catch_unwind(AssertUnwindSafe(|| self.end(timer, &report, error_of(&result))));
        other.end(other_timer, &other_report, error_of(&result));
        told.unwrap_or_else(|panic| resume_unwind(panic));
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Where the store is: what makes it another one, and the order in which several are taken.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    fn write_if(
        &self,
        guard: &Writer<'_, S, B>,
        staged: Option<Staged<S>>,
        report: &mut Report,
    ) -> Result<Option<Written<S>>, ChangeError> {
        staged.map(|staged| self.write(&mut guard.borrow_mut(), staged, true, report)).transpose()
    }

    fn show_if(&self, guard: &Writer<'_, S, B>, written: Option<Written<S>>, report: &Report) {
        if let Some(written) = written {
            self.show_written(&mut guard.borrow_mut(), written, report);
        }
    }

    /// Takes back what was written, as the other store's document failed. Nobody has seen it, but it has been in the document: peers get
    /// it together with the way back.
    fn take_back(&self, core: &mut Core<S, B>, written: Option<Written<S>>, report: &Report) {
        let Some(mut written) = written else { return };
        let entry = written.entry.take().unwrap_or_default();
        let staged = staged_way_back(&entry, &written, core);
        let view = staged.view.clone();
        match core.replica.commit(&staged.ops, staged.texts, staged.lists) {
            Ok(mut updates) => {
                written.updates.append(&mut updates);
                self.publish(core, view, written.touched, written.updates, report.origin, report.meta.clone());
            }
            // Two documents failed at once: what is there is shown.
            Err(_) => {
                // Those who keep a history have to know where what is there is not what its updates give.
                let _ = self.take_differs(core);
                self.show_all(core, written.updates);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Automerge, Map, Text, Yrs};

    /// The document of the second store fails: what is in the first one already is taken back, and nobody has seen it.
    fn run<B: Backend>() {
        let store = Store::<Map<u8, Text>, B>::new();
        store.change(|texts| texts.insert(1, Text::from("one"))).expect("it can be written");
        let (view, digest, told) = (store.view(), store.digest(), std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)));
        let updates = std::sync::Arc::clone(&told);
        let _listen = store.on_update(move |_| _ = updates.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let mut report = Report::new(Origin::Local, None);
        let guard = store.shared.core.lock();
        let ((), staged) = store
            .prepare(&guard, &mut report, |stage| {
                let texts = stage.root();
                texts.get(1_u8).push_str(" more")?;
                texts.insert(2, Text::from("two"))
            })
            .expect("it can be staged");
        let written = store.write_if(&guard, staged, &mut report).expect("it can be written");
        store.take_back(&mut guard.borrow_mut(), written, &report);
        drop(guard);
        store.end(None, &report, None);
        assert_eq!((store.view(), store.digest(), store.reread()), (view.clone(), digest, Map::clone(&view)));
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 2, "peers need both");
        let other = Store::<Map<u8, Text>, B>::new();
        other.merge(&store).expect("it merges");
        assert_eq!(other.view(), view);
    }

    #[test]
    fn what_was_written_is_taken_back() {
        run::<Yrs>();
        run::<Automerge>();
    }
}
