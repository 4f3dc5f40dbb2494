//! Keeps replicas of a document in sync with each other, over any connection that carries frames.
//!
//! A [`Session`] is the conversation of two replicas about one document. It does no IO: frames and
//! time go in, frames and time-outs come out. So tests and simulations control every byte. [`Peer`]
//! and [`Server`] drive sessions over a [`Transport`]: QUIC, WebSocket, WebTransport, or channels
//! in memory. A session keeps in sync every type that implements [`Replica`].
//!
//! ```no_run
//! # #[cfg(feature = "quic")]
//! # async fn example<S: exostate::State>(
//! #     store: exostate::Store<S>,
//! #     other: exostate::Store<S>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use exostate_sync::{Documents, Peer, Server};
//!
//! // One process serves a store …
//! let documents = Documents::new().with("roadmap", &store)?;
//! let server = Server::bind("127.0.0.1:0".parse()?, documents).await?;
//! let ticket = server.ticket("roadmap")?;
//! println!("share {ticket}"); // exo://127.0.0.1:4433/roadmap#5f3c…
//!
//! // … another one joins it.
//! let peer = Peer::connect(&other, ticket).await?;
//! peer.live().await?;
//! # Ok(()) }
//! ```
//!
//! An edit never waits for a connection. If a connection is too slow, its queue of updates is
//! dropped, and the updates that the peer lacks are computed again from the two versions.

// A build without some of the transports leaves parts of the shared transport code unused. A build
// with all of them checks every item.
#![cfg_attr(
    not(all(feature = "quic", feature = "websocket")),
    allow(dead_code, unused_imports, unused_variables)
)]

mod access;
mod body;
#[cfg(feature = "tls")]
mod client;
mod config;
mod document;
mod driver;
mod frame;
#[cfg(feature = "tls")]
mod keep;
mod limits;
mod outbox;
mod peer;
mod presence;
mod recent;
mod replica;
mod server;
mod session;
mod steps;
mod ticket;
mod transport;
#[cfg(feature = "websocket")]
mod yjs;

pub use access::{AccessRequest, Denial, DenialKind, Rights};
pub use config::{Config, ConfigError};
pub use frame::FrameError;
pub use peer::{LiveError, Peer, Status};
pub use presence::{
    Participant, Participants, Presence, PresenceChange, PresenceError, PresenceWatch, Room,
};
pub use replica::{
    IntoReplica, Origin, Refusal, Repair, Replica, UpdateListener, UpdateSubscription,
};
pub use server::{Departure, DocumentError, Documents, Server, ServerBuilder, ServerError};
pub use session::{CloseCode, CloseReason, ConnectFailure, Event, Role, Session};
pub use ticket::{Fingerprint, Scheme, Ticket, TicketError};
pub use transport::datagrams::{DatagramSender, Datagrams};
pub use transport::memory::{
    Memory, MemoryConnection, MemorySink, MemorySource, memory_connections, memory_pair,
};
pub use transport::{Connection, FrameSink, FrameSource, Transport, TransportError};

#[cfg(feature = "tls")]
pub use client::{Client, ConnectError};
#[cfg(feature = "tls")]
pub use transport::identity::{Identity, IdentityError};
