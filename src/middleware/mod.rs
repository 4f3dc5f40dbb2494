//! Middleware: the trait, and the layers that ship with the engine.

mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod path_rules;
mod throttle;

pub use log::Log;
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub use path_rules::PathRules;
pub use throttle::Throttle;

pub use crate::store::middleware::{Done, Import, Middleware, Proposal};
