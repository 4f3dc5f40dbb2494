//! A server with two honest peers. A test adds a hostile one, the stranger.
#![allow(dead_code, reason = "every test file uses a part")]

use exostate::{Backend, Counter, State, Store, Text};
use exostate_sync::{
    CloseReason, Config, Connection, Departure, Documents, FrameSink, FrameSource, MemorySink,
    MemorySource, Peer, Role, Server, Transport, memory_connections,
};
use std::time::Duration;
use tokio::sync::broadcast;

use super::{framed, varint};

#[derive(State, Clone, Debug, Default, PartialEq)]
pub(crate) struct Board {
    pub(crate) title: String,
    pub(crate) notes: Text,
    pub(crate) votes: Counter,
}

/// The replica id that the stranger claims.
pub(crate) const STRANGER: u64 = 0x666;

pub(crate) struct Scene<B: Backend> {
    pub(crate) server: Server,
    pub(crate) departures: broadcast::Receiver<Departure>,
    pub(crate) stores: Vec<Store<Board, B>>,
    peers: Vec<Peer>,
    votes: i64,
}

pub(crate) fn test(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(90), body).await.expect("the test hangs")
    });
}

impl<B: Backend> Scene<B> {
    /// Starts the server. `build` adds the transports that it listens on. The honest peers connect
    /// in memory. The server never takes over the document of a peer in a repair.
    pub(crate) async fn new(
        config: Config,
        build: impl FnOnce(exostate_sync::ServerBuilder) -> exostate_sync::ServerBuilder,
    ) -> Self {
        let stores: Vec<_> = (0..3).map(|_| Store::<Board, B>::new()).collect();
        let documents = Documents::new().with("d", &stores[0]).expect("valid");
        let server = build(Server::builder(documents).config(config.clone().never_yields()))
            .bind()
            .await
            .expect("a server");
        let mut scene =
            Self { departures: server.departures(), server, stores, peers: Vec::new(), votes: 0 };
        for store in &scene.stores[1..] {
            scene.peers.push(Peer::over(
                store,
                "d",
                connect(&scene.server).await,
                Role::Initiator,
                config.clone(),
            ));
        }
        scene.edit_and_wait_in_sync().await;
        scene
    }

    /// The server and the honest peers each edit. Waits until every edit has arrived everywhere
    /// unchanged.
    pub(crate) async fn edit_and_wait_in_sync(&mut self) {
        for store in &self.stores {
            self.votes += 1;
            let edit = store.change(|board| {
                board.votes().add(1)?;
                board.notes().push_str(&format!("[{}]", self.votes))
            });
            edit.expect("it can be written");
        }
        while !self.is_equal() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether all honest stores are equal and have all edits that they made.
    fn is_equal(&self) -> bool {
        let first = self.stores[0].view();
        let equal = self
            .stores
            .iter()
            .all(|store| store.view() == first && store.digest() == self.stores[0].digest());
        // When one id was used twice, concurrent text may be interleaved or doubled.
        let letters = |letter| first.notes.to_string().matches(letter).count() as i64;
        equal
            && letters('[') >= self.votes
            && letters(']') >= self.votes
            && first.votes.value() == self.votes
    }

    /// The close reason of the stranger's session.
    pub(crate) async fn departure(&mut self) -> CloseReason {
        loop {
            let departure = self.departures.recv().await.expect("the server is there");
            assert_eq!(departure.document.as_deref(), Some("d"));
            if departure.replica == Some(STRANGER) {
                return departure.reason;
            }
        }
    }

    /// A connection of the stranger. The stranger has sent its hello.
    pub(crate) async fn untrusted(&self) -> (MemorySink, MemorySource) {
        let (mut sink, source) = connect(&self.server).await.split();
        sink.send(hello(B::NAME, 2)).await.expect("the server listens");
        (sink, source)
    }
}

/// A transport to the server that carries one document.
pub(crate) async fn connect(server: &Server) -> exostate_sync::Memory {
    let (here, there) = memory_connections(8);
    server.serve(there);
    here.open().await.expect("open")
}

/// A hello frame with these flags.
pub(crate) fn hello(backend: &str, flags: u8) -> Vec<u8> {
    let string = |text: &str| [varint(text.len() as u64), text.as_bytes().to_vec()].concat();
    let parts = [
        b"exo\0".to_vec(),
        vec![1, 1, flags],
        string(backend),
        string("d"),
        STRANGER.to_le_bytes().to_vec(),
        vec![7; 16],
    ];
    framed(1, &parts.concat())
}

/// Reads until the other end sends a close frame.
pub(crate) async fn until_closed(source: &mut MemorySource) -> Option<Vec<u8>> {
    while let Ok(Some(frame)) = source.recv().await {
        if frame[0] == 9 {
            return Some(frame);
        }
    }
    None
}
