//! The cost of a network: two or more stores on loopback in one process. A bare QUIC stream with
//! the same bytes is measured too.

pub mod catch_up;
pub mod connections;
pub mod latency;
pub mod presence;
mod quinn;
pub mod throughput;
mod y_websocket;

use anyhow::Result;
use exostate::{State, Store};
use exostate_sync::{
    Config, Connection, Documents, Peer, Role, Scheme, Server, memory_connections,
};
use tokio::runtime::Runtime;

/// The document of these scenarios.
#[derive(State, Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The number of the edit.
    pub number: i64,
    /// Records for catching up.
    pub cards: exostate::Map<String, Card>,
}

/// A record of four fields, as in the board.
#[derive(State, Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// Its key.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Whether it is done.
    pub done: bool,
    /// Its points.
    pub points: i64,
}

/// How two stores are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Channels in memory.
    Memory,
    /// QUIC.
    Quic,
    /// WebSocket.
    WebSocket,
}

impl Wire {
    /// All transports.
    pub const ALL: [Self; 3] = [Self::Quic, Self::WebSocket, Self::Memory];

    /// The system's name in the report.
    pub fn system(self) -> &'static str {
        match self {
            Self::Memory => "exostate-memory",
            Self::Quic => "exostate-quic",
            Self::WebSocket => "exostate-websocket",
        }
    }
}

/// A runtime with as many threads as the machine has cores.
pub fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// A server of these documents, on loopback.
pub async fn serve(wire: Wire, documents: Documents) -> Result<Server> {
    let addr = "127.0.0.1:0".parse()?;
    let builder = Server::builder(documents);
    let builder = match wire {
        Wire::Memory => builder,
        Wire::Quic => builder.quic(addr),
        Wire::WebSocket => builder.websocket(addr),
    };
    Ok(builder.bind().await?)
}

/// A store's peer that joins a document of the server.
pub async fn join(
    wire: Wire,
    server: &Server,
    store: &Store<Page>,
    document: &str,
) -> Result<Peer> {
    Ok(match wire {
        Wire::Memory => {
            let (here, there) = memory_connections(64);
            server.serve(there);
            Peer::over(store, document, here.open().await?, Role::Initiator, Config::default())
        }
        Wire::Quic => Peer::connect(store, server.ticket_over(Scheme::Quic, document)?).await?,
        Wire::WebSocket => {
            Peer::connect(store, server.ticket_over(Scheme::WebSocket, document)?).await?
        }
    })
}
