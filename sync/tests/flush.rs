//! Promise: `flush` returns `Ok` only if the peer has all local changes, and no listener of the
//! peer failed at one of them.

use exostate::{Automerge, Backend, State, Store};
use exostate_sync::{Config, LiveError, Peer, Role, Status, memory_pair};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
}

fn connect<B: Backend>(left: &Store<Board, B>, right: &Store<Board, B>) -> (Peer, Peer) {
    let (here, there) = memory_pair(8);
    let config = Config::default();
    (
        Peer::over(left, "board", here, Role::Initiator, config.clone()),
        Peer::over(right, "board", there, Role::Responder, config),
    )
}

fn title<B: Backend>(store: &Store<Board, B>, title: &str) {
    store.change(|board| board.title().set(title)).expect("it can be written");
}

fn test(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(async { timeout(Duration::from_secs(60), body).await.expect("the test hangs") });
}

async fn flush_with_panicking_listener<B: Backend>(
    listen: impl Fn(&Store<Board, B>, Arc<AtomicBool>),
) {
    let left = Store::<Board, B>::new();
    let right = Store::<Board, B>::new();
    let fails = Arc::new(AtomicBool::new(true));
    listen(&right, Arc::clone(&fails));
    let (peer, other) = connect(&left, &right);
    peer.live().await.expect("in sync");
    title(&left, "one");
    assert_eq!(peer.flush().await, Err(LiveError::PeerFailed));
    // The peer has the update in memory. Only its listener failed.
    assert_eq!(right.view().title, "one");
    fails.store(false, Ordering::Relaxed);
    title(&left, "two");
    peer.flush().await.expect("told once, and now nobody failed");
    peer.live().await.expect("the conversation goes on");
    assert_eq!(right.view().title, "two");
    title(&right, "three");
    other.flush().await.expect("the other way nobody listens");
    assert_eq!(left.view().title, "three");
}

#[test]
fn flush_fails_if_a_listener_of_the_peer_panics() {
    fn listens<B: Backend>(store: &Store<Board, B>, fails: Arc<AtomicBool>) {
        store.on_update(move |_| assert!(!fails.load(Ordering::Relaxed), "a test")).forever();
    }
    fn watches<B: Backend>(store: &Store<Board, B>, fails: Arc<AtomicBool>) {
        store
            .watch(Board::path().title(), move |_| {
                assert!(!fails.load(Ordering::Relaxed), "a test")
            })
            .forever();
    }
    test(async {
        flush_with_panicking_listener::<exostate::Yrs>(listens).await;
        flush_with_panicking_listener::<exostate::Yrs>(watches).await;
        flush_with_panicking_listener::<Automerge>(listens).await;
    });
}

#[test]
fn flush_reports_a_failure_before_the_call() {
    test(async {
        let left = Store::<Board>::new();
        let right = Store::<Board>::new();
        right.on_update(|_| panic!("a test")).forever();
        let (peer, _other) = connect(&left, &right);
        peer.live().await.expect("in sync");
        title(&left, "one");
        while right.view().title.is_empty() || *peer.status().borrow() != Status::Live {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(peer.flush().await, Err(LiveError::PeerFailed));
        assert_eq!(peer.flush().await, Ok(()));
    });
}

/// A middleware layer that refuses imports. No part of a refused import is applied.
struct Fails(Arc<AtomicBool>);

impl exostate::middleware::Middleware<Board> for Fails {
    fn import(
        &self,
        _import: &exostate::middleware::Import,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        assert!(!self.0.load(Ordering::Relaxed), "a test");
        Ok(())
    }
}

#[test]
fn flush_fails_if_the_peer_refuses_the_update() {
    test(async {
        let left = Store::<Board>::new();
        let right = Store::<Board>::new();
        let fails = Arc::new(AtomicBool::new(false));
        right.add_middleware(Fails(Arc::clone(&fails)));
        let (peer, _other) = connect(&left, &right);
        peer.live().await.expect("in sync");
        fails.store(true, Ordering::Relaxed);
        title(&left, "one");
        let flushed = peer.flush().await;
        assert!(matches!(flushed, Err(LiveError::Closed(_))), "{flushed:?}");
        assert_eq!(right.view().title, "");
    });
}

/// A peer that may only read gets an error from `flush`, whichever side made the document
/// read-only. Changes of the other side still arrive.
#[test]
fn flush_fails_on_a_read_only_connection() {
    async fn run<B: Backend>(ours: Config, theirs: Config) {
        let left = Store::<Board, B>::new();
        let right = Store::<Board, B>::new();
        let (here, there) = memory_pair(8);
        let peer = Peer::over(&left, "board", here, Role::Initiator, ours);
        let other = Peer::over(&right, "board", there, Role::Responder, theirs);
        peer.live().await.expect("in sync");
        title(&left, "mine");
        assert_eq!(peer.flush().await, Err(LiveError::ReadOnly));
        right.change(|board| board.title().set("theirs")).expect("it can be written");
        other.flush().await.expect("the other way all is taken");
        assert_eq!(right.view().title, "theirs");
    }
    test(async {
        run::<exostate::Yrs>(Config::default(), Config::default().read_only()).await;
        run::<Automerge>(Config::default(), Config::default().read_only()).await;
        run::<exostate::Yrs>(Config::default().only_reads(), Config::default()).await;
    });
}
