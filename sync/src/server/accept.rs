//! Accepts connections over UDP: QUIC, and WebTransport on top of it.

#![allow(
    clippy::disallowed_methods,
    reason = "the code that accepts connections reads the clock, so that the queue needs none"
)]

use super::handshake_queue::HandshakeQueue;
#[cfg(feature = "webtransport")]
use super::listen::WebTransportEndpoint;
use super::{Permit, Shared, serve};
use crate::access::Arrival;
#[cfg(feature = "webtransport")]
use crate::access::HttpRequest;
use crate::limits::{HELLO_TIMEOUT, INCOMING_MAX};
use crate::ticket::Scheme;
use crate::transport::quic::Quic;
#[cfg(feature = "webtransport")]
use crate::transport::{origins::Origins, webtransport::WebTransport};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
#[cfg(feature = "webtransport")]
use wtransport::endpoint::IncomingSession;

/// An endpoint that receives connection attempts.
trait Door: Send + Sync + 'static {
    type Attempt: Attempt;
    /// The next attempt; `None` once the endpoint is closed.
    fn next(&self) -> impl Future<Output = Option<Self::Attempt>> + Send;
}

/// A connection attempt, before the handshake.
trait Attempt: Send + 'static {
    /// The source address of the attempt's packets.
    fn address(&self) -> SocketAddr;
    /// Whether the client has proved that it has this address.
    fn is_proved(&self) -> bool;
    /// Refuses the attempt.
    fn refuse(self);
    /// Asks the client to prove its address.
    fn retry(self);
}

impl Door for quinn::Endpoint {
    type Attempt = quinn::Incoming;

    async fn next(&self) -> Option<quinn::Incoming> {
        self.accept().await
    }
}

impl Attempt for quinn::Incoming {
    fn address(&self) -> SocketAddr {
        self.remote_address()
    }

    fn is_proved(&self) -> bool {
        self.remote_address_validated()
    }

    fn refuse(self) {
        self.refuse();
    }

    fn retry(self) {
        // On an error the attempt comes back. Dropping it refuses it.
        drop(self.retry());
    }
}

#[cfg(feature = "webtransport")]
impl Door for WebTransportEndpoint {
    type Attempt = IncomingSession;

    async fn next(&self) -> Option<IncomingSession> {
        Some(self.accept().await)
    }
}

#[cfg(feature = "webtransport")]
impl Attempt for IncomingSession {
    fn address(&self) -> SocketAddr {
        self.remote_address()
    }

    fn is_proved(&self) -> bool {
        self.remote_address_validated()
    }

    fn refuse(self) {
        self.refuse();
    }

    fn retry(self) {
        self.retry();
    }
}

pub(super) async fn quic(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    let greet = |incoming: quinn::Incoming, permit, shared: Arc<Shared>| async move {
        let from = Some(incoming.remote_address());
        if let Ok(Ok(connection)) = timeout(HELLO_TIMEOUT, incoming).await {
            let quic = Quic::accepted(connection, &shared.config);
            let arrival =
                Arrival { scheme: Some(Scheme::Quic), address: from, ..Arrival::default() };
            tokio::spawn(serve(quic, shared, permit, arrival));
        }
    };
    accept(endpoint, greet, shared).await;
}

#[cfg(feature = "webtransport")]
pub(super) async fn webtransport(
    endpoint: WebTransportEndpoint,
    origins: Arc<Origins>,
    shared: Arc<Shared>,
) {
    let greet = |incoming: IncomingSession, permit, shared: Arc<Shared>| {
        let origins = Arc::clone(&origins);
        async move {
            let from = Some(incoming.remote_address());
            let accepting =
                WebTransport::accepted(incoming, &origins, shared.config.frame_bytes_max);
            if let Ok(Ok(Some((session, request)))) = timeout(HELLO_TIMEOUT, accepting).await {
                let request =
                    if shared.access_hook.asks() { request } else { HttpRequest::default() };
                let arrival = Arrival {
                    scheme: Some(Scheme::WebTransport),
                    address: from,
                    request,
                    yjs: false,
                };
                tokio::spawn(serve(session, shared, permit, arrival));
            }
        }
    };
    accept(endpoint, greet, shared).await;
}

/// Puts each attempt into the queue, and begins its handshake when it is due. Returns when
/// the endpoint is closed.
async fn accept<D: Door, F>(
    door: D,
    greet: impl Fn(D::Attempt, Permit, Arc<Shared>) -> F,
    shared: Arc<Shared>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut handshakes = JoinSet::new();
    let mut queue = HandshakeQueue::new(shared.config.handshakes_per_second, Instant::now());
    loop {
        let due = queue.due();
        let attempt = tokio::select! {
            biased;
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                if let Some((attempt, permit)) = queue.leave(Instant::now()) {
                    handshakes.spawn(greet(attempt, permit, Arc::clone(&shared)));
                }
                continue;
            }
            attempt = door.next() => attempt,
        };
        while handshakes.try_join_next().is_some() {}
        let Some(attempt) = attempt else { return };
        let from = attempt.address();
        let proved = attempt.is_proved();
        // Under load a client has to prove its address before the attempt costs anything.
        let busy = handshakes.len() + queue.len() >= INCOMING_MAX / 2 && !proved;
        let permit = if busy { None } else { shared.permit_from(from, proved) };
        let refused = match permit {
            Some(permit) => {
                queue.add(from.ip(), (attempt, permit)).err().map(|(attempt, _)| attempt)
            }
            None => Some(attempt),
        };
        match refused {
            Some(attempt) if proved => attempt.refuse(),
            Some(attempt) => attempt.retry(),
            None => {}
        }
    }
}
