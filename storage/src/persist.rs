//! What a store or document of a storage can do beyond others: flush, status.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use exostate::{Backend, Document, Keeper, State, Store};

use crate::adapter::Torn;
use crate::attachments;
use crate::document::{KeptDocument, Wait};
use crate::error::FlushError;
use crate::keeper::DocumentKeeper;
use crate::shared::Shared;
use crate::status::{Status, StatusWatch};

/// The storage's side of a store or a document that [`Storage::open`](crate::Storage::open) gave.
///
/// ```
/// use exostate::State;
/// use exostate_storage::{Persist, Storage};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Board { title: String }
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = Storage::in_memory();
/// let store = storage.open::<Board>("roadmap")?;
/// let _watch = store.on_storage_status(|status| println!("{status}"));
/// store.change(|board| board.title().set("Roadmap"))?;
/// store.flush().await?;
/// assert!(store.storage_status().is_some_and(|status| status.is_kept()));
/// # Ok(()) }
/// ```
pub trait Persist {
    #[doc(hidden)]
    fn keeper_of(&self) -> Option<Arc<dyn Keeper>>;

    /// Waits until everything that was committed before this call is on disk: changes and imports,
    /// and the undo stacks and histories that the storage keeps (large ones are written less often,
    /// see [`KeptUndo`](crate::KeptUndo)). The work begins with this call, and not with the first
    /// poll.
    ///
    /// While the disk fails and the queue is full, undo stacks and histories are not recorded; they
    /// follow with a later flush or in time.
    ///
    /// The future gives an error as soon as a try to write fails. What is not on disk stays queued
    /// and is tried again; another flush waits for it.
    fn flush(&self) -> Flush {
        Flush::of(self.keeper_of().as_ref())
    }

    /// As [`Persist::flush`], and blocks this thread.
    ///
    /// # Errors
    /// A try to write failed, or the document is not kept.
    fn flush_blocking(&self) -> Result<(), FlushError> {
        Flush::of(self.keeper_of().as_ref()).wait()
    }

    /// How well the document is kept. `None` if it is not one of a storage.
    fn storage_status(&self) -> Option<Status> {
        with(self.keeper_of().as_ref(), |keeper| keeper.kept.status())
    }

    /// Calls `f` whenever the kind of the status changes, until the watch is dropped. `f` is called
    /// on a thread of the storage, or on one that closes the storage, and must return at once.
    /// `None` if the document is not one of a storage.
    fn on_storage_status(
        &self,
        f: impl Fn(&Status) + Send + Sync + 'static,
    ) -> Option<StatusWatch> {
        with(self.keeper_of().as_ref(), |keeper| StatusWatch::new(&keeper.kept, Arc::new(f)))
    }

    /// The end of the log that was cut off when the document was opened, because a crash had
    /// interrupted the writing of it.
    fn torn_tail(&self) -> Option<Torn> {
        with(self.keeper_of().as_ref(), |keeper| keeper.kept.torn.get().cloned()).flatten()
    }
}

impl<S: State, B: Backend> Persist for Store<S, B> {
    fn keeper_of(&self) -> Option<Arc<dyn Keeper>> {
        self.document().keeper()
    }
}

impl<B: Backend> Persist for Document<B> {
    fn keeper_of(&self) -> Option<Arc<dyn Keeper>> {
        self.keeper()
    }
}

/// Works with the keeper, if it is one of a storage.
pub(crate) fn with<R>(
    keeper: Option<&Arc<dyn Keeper>>,
    work: impl FnOnce(&DocumentKeeper) -> R,
) -> Option<R> {
    let keeper: &dyn Any = &**keeper?;
    keeper.downcast_ref::<DocumentKeeper>().map(work)
}

/// A flush: a future, or a wait that blocks.
#[must_use = "a future does nothing unless it is awaited"]
#[derive(Debug)]
pub struct Flush {
    waits: Result<Vec<Target>, FlushError>,
}

/// A record that is to be on disk.
#[derive(Debug)]
struct Target {
    kept: Arc<KeptDocument>,
    number: u64,
    failures: u64,
}

impl Target {
    /// Begins the wait for everything that is recorded of a document.
    fn of(shared: &Shared, kept: &Arc<KeptDocument>) -> Self {
        attachments::save_changed(shared, kept, attachments::Why::Flush);
        Self { kept: Arc::clone(kept), number: kept.recorded(), failures: kept.failures() }
    }

    fn result(&self, wait: Wait) -> Option<Result<(), FlushError>> {
        let document = self.kept.name.to_string();
        match wait {
            Wait::Kept => Some(Ok(())),
            Wait::Failed(error) => Some(Err(FlushError::Failing { document, error })),
            Wait::ReadOnly(reason) => {
                Some(Err(FlushError::ReadOnly { document, reason: reason.to_string() }))
            }
            Wait::InMemory => Some(Err(FlushError::InMemory { document })),
            Wait::Closed => Some(Err(FlushError::Closed { document })),
            Wait::Longer => None,
        }
    }
}

impl Flush {
    fn of(keeper: Option<&Arc<dyn Keeper>>) -> Self {
        let begun = with(keeper, |keeper| Self::of_one(&keeper.storage.shared, &keeper.kept));
        begun.unwrap_or(Self { waits: Err(FlushError::NotKept) })
    }

    pub(crate) fn of_one(shared: &Shared, kept: &Arc<KeptDocument>) -> Self {
        let target = Target::of(shared, kept);
        shared.queue.hurry();
        Self { waits: Ok(vec![target]) }
    }

    pub(crate) fn of_all(shared: &Shared) -> Self {
        let waits = shared.known().iter().map(|kept| Target::of(shared, kept)).collect();
        shared.queue.hurry();
        Self { waits: Ok(waits) }
    }

    /// Blocks until everything is on disk.
    pub(crate) fn wait(self) -> Result<(), FlushError> {
        for target in self.waits? {
            let wait = target.kept.wait(target.number, target.failures);
            target.result(wait).unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}

impl Future for Flush {
    type Output = Result<(), FlushError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waits = match &mut self.waits {
            Ok(waits) => waits,
            Err(error) => return Poll::Ready(Err(error.clone())),
        };
        while let Some(target) = waits.last() {
            let wait = target.kept.poll(target.number, target.failures, context.waker());
            match target.result(wait) {
                None => return Poll::Pending,
                Some(Ok(())) => drop(waits.pop()),
                Some(error) => return Poll::Ready(error),
            }
        }
        Poll::Ready(Ok(()))
    }
}
