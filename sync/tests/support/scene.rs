//! A server with two honest peers, and a place for one who is not.
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

/// Whom the hostile end says to be.
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
    /// Of `build`, what it listens on; the honest ones come by memory. The server gives way to
    /// nobody.
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
        scene.go_on().await;
        scene
    }

    /// The honest ones edit, and all of it arrives at all of them, as they edited it.
    pub(crate) async fn go_on(&mut self) {
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

    /// Whether all honest ones show the same, and all that they ever wrote is there.
    fn is_equal(&self) -> bool {
        let first = self.stores[0].view();
        let equal = self
            .stores
            .iter()
            .all(|store| store.view() == first && store.digest() == self.stores[0].digest());
        // Letters that were written under one id at once may stand between each other, or twice.
        let letters = |letter| first.notes.to_string().matches(letter).count() as i64;
        equal
            && letters('[') >= self.votes
            && letters(']') >= self.votes
            && first.votes.value() == self.votes
    }

    /// Why the stranger left.
    pub(crate) async fn departure(&mut self) -> CloseReason {
        loop {
            let departure = self.departures.recv().await.expect("the server is there");
            assert_eq!(departure.document.as_deref(), Some("d"));
            if departure.replica == Some(STRANGER) {
                return departure.reason;
            }
        }
    }

    /// A stranger who has said hello, with a version of its own.
    pub(crate) async fn stranger(&self) -> (MemorySink, MemorySource) {
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

/// With these flags.
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

/// Reads until the other end says why it closes.
pub(crate) async fn until_closed(source: &mut MemorySource) -> Option<Vec<u8>> {
    while let Ok(Some(frame)) = source.recv().await {
        if frame[0] == 9 {
            return Some(frame);
        }
    }
    None
}
