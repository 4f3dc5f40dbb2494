//! A middleware that limits the rate.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Import, Middleware, Proposal};
use crate::state::{ChangeError, State};

/// Refuses local changes, or imports, that come faster than a rate (generic cell rate algorithm,
/// ITU-T I.371): a burst at once, and on average one in each `step`.
///
/// ```
/// use std::time::Duration;
/// use exostate::middleware::Throttle;
/// use exostate::{State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Page { number: i64 }
///
/// let store = Store::<Page>::new();
/// store.add_middleware(Throttle::changes(2, Duration::from_secs(3_600)));
/// let made = (1..=5).filter(|number| store.change(|page| page.number().set(*number)).is_ok());
/// assert_eq!(made.count(), 2);
/// ```
#[derive(Clone)]
pub struct Throttle {
    burst: u32,
    step: Duration,
    of: Of,
    /// The time at which a full burst is available again.
    settled_at: Arc<Mutex<Option<Instant>>>,
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Changes,
    Imports,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle")
            .field("burst", &self.burst)
            .field("step", &self.step)
            .field("of", &self.of)
            .finish_non_exhaustive()
    }
}

impl Throttle {
    /// Limits changes, undo and redo: `burst` of them at once, and then one in each `step`.
    #[must_use]
    pub fn changes(burst: u32, step: Duration) -> Self {
        Self::new(burst, step, Of::Changes)
    }

    /// Limits imports; one import may bring several updates. The sender of a refused import must
    /// retry: a session of `exostate-sync` ends, and its peer connects again.
    #[must_use]
    pub fn imports(burst: u32, step: Duration) -> Self {
        Self::new(burst, step, Of::Imports)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "where the caller gives no clock, this is its driver"
    )]
    fn new(burst: u32, step: Duration, of: Of) -> Self {
        Self { burst, step, of, settled_at: Arc::default(), now: Arc::new(Instant::now) }
    }

    /// Uses another clock, for tests.
    #[must_use]
    pub fn with_clock(self, now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), ..self }
    }

    fn pass(&self) -> Result<(), String> {
        let now = (self.now)();
        let mut settled_at = self.settled_at.lock();
        let next = settled_at.map_or(now, |at| at.max(now)).checked_add(self.step);
        match next.filter(|next| next.duration_since(now) <= self.step.saturating_mul(self.burst)) {
            Some(next) => *settled_at = Some(next),
            None => {
                return Err(format!(
                    "more than {} at once, and one in {:?}",
                    self.burst, self.step
                ));
            }
        }
        Ok(())
    }
}

impl<S: State> Middleware<S> for Throttle {
    fn change(&self, _change: &mut Proposal<'_, S>) -> Result<(), ChangeError> {
        if self.of == Of::Changes { self.pass().map_err(ChangeError::refuse) } else { Ok(()) }
    }

    fn import(&self, _import: &Import) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.of == Of::Imports { self.pass().map_err(Into::into) } else { Ok(()) }
    }
}
