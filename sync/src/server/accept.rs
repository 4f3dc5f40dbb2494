//! Lets in who comes by UDP: over QUIC, and WebTransport on top of it.

#![allow(
    clippy::disallowed_methods,
    reason = "who accepts connections reads the clock, so that the lobby needs none"
)]

#[cfg(feature = "webtransport")]
use super::listen::WebTransportEndpoint;
use super::lobby::Lobby;
use super::{Place, Shared, serve};
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

/// Where they come to.
trait Door: Send + Sync + 'static {
    type Attempt: Attempt;
    /// The next one; `None` once it is closed.
    fn next(&self) -> impl Future<Output = Option<Self::Attempt>> + Send;
}

/// Somebody who wants to connect, before the handshake.
trait Attempt: Send + 'static {
    /// Where it says that it comes from.
    fn address(&self) -> SocketAddr;
    /// Whether it has proved that it does.
    fn is_proved(&self) -> bool;
    /// Tells it to go away.
    fn refuse(self);
    /// Asks it to prove its address.
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
        // An error gives the attempt back, which is refused by dropping it.
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
    let greet = |incoming: quinn::Incoming, place, shared: Arc<Shared>| async move {
        let from = Some(incoming.remote_address());
        if let Ok(Ok(connection)) = timeout(HELLO_TIMEOUT, incoming).await {
            let quic = Quic::accepted(connection, &shared.config);
            let arrival =
                Arrival { scheme: Some(Scheme::Quic), address: from, ..Arrival::default() };
            tokio::spawn(serve(quic, shared, place, arrival));
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
    let greet = |incoming: IncomingSession, place, shared: Arc<Shared>| {
        let origins = Arc::clone(&origins);
        async move {
            let from = Some(incoming.remote_address());
            let accepting =
                WebTransport::accepted(incoming, &origins, shared.config.frame_bytes_max);
            if let Ok(Ok(Some((session, request)))) = timeout(HELLO_TIMEOUT, accepting).await {
                let request = if shared.gate.asks() { request } else { HttpRequest::default() };
                let arrival = Arrival {
                    scheme: Some(Scheme::WebTransport),
                    address: from,
                    request,
                    yjs: false,
                };
                tokio::spawn(serve(session, shared, place, arrival));
            }
        }
    };
    accept(endpoint, greet, shared).await;
}

/// Gives those who come a place in the lobby, and begins their handshakes when it is time, until
/// nobody can come any more.
async fn accept<D: Door, F>(
    door: D,
    greet: impl Fn(D::Attempt, Place, Arc<Shared>) -> F,
    shared: Arc<Shared>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut handshakes = JoinSet::new();
    let mut lobby = Lobby::new(shared.config.handshakes_per_second, Instant::now());
    loop {
        let due = lobby.due();
        let attempt = tokio::select! {
            biased;
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                if let Some((attempt, place)) = lobby.leave(Instant::now()) {
                    handshakes.spawn(greet(attempt, place, Arc::clone(&shared)));
                }
                continue;
            }
            attempt = door.next() => attempt,
        };
        while handshakes.try_join_next().is_some() {}
        let Some(attempt) = attempt else { return };
        let from = attempt.address();
        let proved = attempt.is_proved();
        // Under load an address has to prove itself before it costs anything.
        let busy = handshakes.len() + lobby.len() >= INCOMING_MAX / 2 && !proved;
        let place = if busy { None } else { shared.place_from(from, proved) };
        let refused = match place {
            Some(place) => {
                lobby.enter(from.ip(), (attempt, place)).err().map(|(attempt, _)| attempt)
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
