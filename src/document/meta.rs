//! Information about a change, beside its ops.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

/// Information about a change: its author, a label, the time, and the request that it belongs to.
/// The watchers, the middleware, the undo managers and the history of this store get it. Other
/// replicas get the change without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    author: Option<Arc<str>>,
    label: Option<Arc<str>>,
    correlation: Option<Uuid>,
    time: Option<SystemTime>,
}

impl Meta {
    /// An empty value.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the author of the change.
    #[must_use]
    pub fn with_author(self, author: impl Into<Arc<str>>) -> Self {
        Self { author: Some(author.into()), ..self }
    }

    /// Sets the label of the change, as a user interface shows it beside "Undo".
    #[must_use]
    pub fn with_label(self, label: impl Into<Arc<str>>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// Sets the id of the work that the change belongs to, for example a request that causes
    /// several changes.
    #[must_use]
    pub fn with_correlation(self, id: Uuid) -> Self {
        Self { correlation: Some(id), ..self }
    }

    /// Sets the time of the change.
    #[must_use]
    pub fn with_time(self, time: SystemTime) -> Self {
        Self { time: Some(time), ..self }
    }

    /// The author of the change.
    #[must_use]
    pub fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    /// The label of the change.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The id of the work that the change belongs to.
    #[must_use]
    pub fn correlation(&self) -> Option<Uuid> {
        self.correlation
    }

    /// The time of the change, by the store's clock: see
    /// [`Options::with_clock`](crate::Options::with_clock).
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }
}

/// The clock that gives a store the time of a change.
#[derive(Clone)]
pub(crate) struct Clock(pub(crate) Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Default for Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the caller gives no clock, the store is its driver"
    )]
    fn default() -> Self {
        Self(Arc::new(SystemTime::now))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
