//! Asks the embedder's hook what a peer may do. The question is dropped when the conversation is.

use crate::access::{AccessRequest, Denial, Rights};
use crate::limits::ACCESS_TIMEOUT;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

type Answer = Pin<Box<dyn Future<Output = Result<Rights, Denial>> + Send>>;

/// Access to the server: a hook decides, or without a hook every peer has access.
#[derive(Clone, Default)]
pub(super) struct AccessHook(Option<Arc<dyn Fn(AccessRequest) -> Answer + Send + Sync>>);

impl fmt::Debug for AccessHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "AccessHook(hook)" } else { "AccessHook(open)" })
    }
}

impl AccessHook {
    pub(super) fn new<F>(authorize: impl Fn(AccessRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Rights, Denial>> + Send + 'static,
    {
        Self(Some(Arc::new(move |request| Box::pin(authorize(request)))))
    }

    /// Whether there is a hook.
    pub(super) fn asks(&self) -> bool {
        self.0.is_some()
    }

    /// What the peer may do. Dropping this future also drops the hook's future.
    pub(super) async fn ask(&self, request: AccessRequest) -> Result<Rights, Denial> {
        self.ask_within(ACCESS_TIMEOUT, request).await
    }

    async fn ask_within(
        &self,
        patience: Duration,
        request: AccessRequest,
    ) -> Result<Rights, Denial> {
        let Some(hook) = self.0.clone() else { return Ok(Rights::ReadWrite) };
        // The hook runs in its own task, so that a panic in it becomes a denial.
        let mut asking = JoinSet::new();
        asking.spawn(async move { hook(request).await });
        match timeout(patience, asking.join_next()).await {
            Ok(Some(Ok(answer))) => answer,
            Ok(Some(Err(_)) | None) => {
                Err(Denial::unavailable("the server failed to decide who may have this document"))
            }
            Err(_) => Err(Denial::unavailable(
                "the server takes too long to decide who may have this document",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::DenialKind;

    #[tokio::test]
    async fn a_hook_that_panics_or_hangs_denies_access() {
        let request = || AccessRequest::new("page", None, &Arc::default());
        assert_eq!(AccessHook::default().ask(request()).await, Ok(Rights::ReadWrite));
        let answers = AccessHook::new(|_| async { Ok(Rights::ReadOnly) });
        assert_eq!(answers.ask(request()).await, Ok(Rights::ReadOnly));
        let panics = AccessHook::new(|_| async { panic!("a test") });
        let panics_at_once = AccessHook::new(|request| {
            assert!(request.document().is_empty(), "a test");
            async { Ok(Rights::ReadWrite) }
        });
        let hangs = AccessHook::new(|_| std::future::pending());
        for hook in [panics, panics_at_once, hangs] {
            let asked = hook.ask_within(Duration::from_millis(100), request()).await;
            assert_eq!(asked.map_err(|denial| denial.kind()), Err(DenialKind::Unavailable));
        }
    }
}
