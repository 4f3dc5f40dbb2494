//! What is said about a change, beside what it does.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

/// What is said about a change: who made it, why, when, and what it belongs to. It goes to
/// watchers, middleware, undo and history of this store; others get the change without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    author: Option<Arc<str>>,
    label: Option<Arc<str>>,
    correlation: Option<Uuid>,
    time: Option<SystemTime>,
}

impl Meta {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who made it.
    #[must_use]
    pub fn with_author(self, author: impl Into<Arc<str>>) -> Self {
        Self { author: Some(author.into()), ..self }
    }

    /// What it is, as one would show it beside "Undo".
    #[must_use]
    pub fn with_label(self, label: impl Into<Arc<str>>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// What it belongs to: a request, say, that causes several changes.
    #[must_use]
    pub fn with_correlation(self, id: Uuid) -> Self {
        Self { correlation: Some(id), ..self }
    }

    /// When it was made.
    #[must_use]
    pub fn with_time(self, time: SystemTime) -> Self {
        Self { time: Some(time), ..self }
    }

    /// Who made it.
    #[must_use]
    pub fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    /// What it is.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// What it belongs to.
    #[must_use]
    pub fn correlation(&self) -> Option<Uuid> {
        self.correlation
    }

    /// When it was made, by the store's clock: see
    /// [`Options::with_clock`](crate::Options::with_clock).
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }
}

/// Where a store gets the time of a change from.
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
