//! Promise: what a peer acknowledges is on its disk, if its document has a keeper.

use exostate::{Automerge, Backend, Document, KeepError, Keeper, Record, State, Store, Yrs};
use exostate_sync::{
    Config, Connection, Documents, Peer, Replica, Role, Server, memory_connections, memory_pair,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
}

/// After this time the disk gives up waiting, so that a test that fails ends.
const WAIT_MAX: Duration = Duration::from_secs(20);

type Call = Box<dyn Fn() -> bool + Send + Sync>;

/// A keeper whose disk writes only when the test says so.
#[derive(Default)]
struct Disk {
    recorded: AtomicU64,
    kept: Mutex<u64>,
    written: Condvar,
    full: AtomicBool,
    waits: AtomicBool,
    gave_up: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

impl Disk {
    fn write(&self) {
        *self.kept.lock().expect("no panic") = self.recorded();
        self.written.notify_all();
        self.calls.lock().expect("no panic").retain(|call| call());
    }
}

impl Keeper for Disk {
    fn reserve(&self) -> Result<(), KeepError> {
        if self.full.load(Ordering::SeqCst) {
            Err(KeepError::new("the disk is full"))
        } else {
            Ok(())
        }
    }

    fn release(&self) {}

    fn record(&self, _: Record<'_>) -> u64 {
        self.recorded.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::SeqCst)
    }

    fn kept(&self) -> u64 {
        *self.kept.lock().expect("no panic")
    }

    fn announces_kept(&self) -> bool {
        self.waits.load(Ordering::SeqCst)
    }

    fn wait(&self, number: u64) {
        let kept = self.kept.lock().expect("no panic");
        let waited = self.written.wait_timeout_while(kept, WAIT_MAX, |kept| *kept < number);
        self.gave_up.fetch_or(waited.expect("no panic").1.timed_out(), Ordering::SeqCst);
    }

    fn on_kept(&self, f: Call) {
        self.calls.lock().expect("no panic").push(f);
    }
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

fn kept_document<B: Backend>(disk: &Arc<Disk>) -> Document<B> {
    let document = Document::new();
    document.keep_with(Arc::clone(disk) as Arc<dyn Keeper>).expect("its first keeper");
    document
}

fn title<B: Backend>(store: &Store<Board, B>, title: &str) {
    store.change(|board| board.title().set(title)).expect("it can be written");
}

/// Long enough for a flush that should not have returned.
const A_WHILE: Duration = Duration::from_millis(200);

async fn flushes_only_after_the_disk(peer: &Peer, disk: &Disk) {
    peer.live().await.expect("in sync");
    timeout(A_WHILE, peer.flush()).await.expect_err("the disk has not written");
    assert!(peer.status().borrow().is_live(), "it is in sync all the same");
    disk.write();
    // Nothing else happens on this connection: the call of the keeper alone wakes it.
    timeout(Duration::from_secs(4), peer.flush()).await.expect("in time").expect("it is written");
}

async fn flush_waits_for_the_disk<B: Backend>() {
    let disk = Arc::new(Disk::default());
    let document = kept_document::<B>(&disk);
    let documents = Documents::new().with("d", &document).expect("valid");
    let server = Server::builder(documents).bind().await.expect("a server");
    let store = Store::<Board, B>::new();
    let peer = async |config: Config| {
        let (here, there) = memory_connections(8);
        server.serve(there);
        let transport = here.open().await.expect("open");
        Peer::over(&store, "d", transport, Role::Initiator, config)
    };
    title(&store, "one");
    let first = peer(Config::default()).await;
    flushes_only_after_the_disk(&first, &disk).await;
    title(&store, "two");
    flushes_only_after_the_disk(&first, &disk).await;

    // Both have the same version, and the disk of the server has not written it.
    title(&store, "three");
    let version = store.version();
    while document.version() != version {
        sleep(Duration::from_millis(5)).await;
    }
    drop(first);
    let second = peer(Config::default()).await;
    flushes_only_after_the_disk(&second, &disk).await;
    // From now on the hello says it.
    peer(Config::default()).await.flush().await.expect("it is written");
}

#[test]
fn flush_waits_for_the_disk_of_the_peer() {
    test(async {
        flush_waits_for_the_disk::<Yrs>().await;
        flush_waits_for_the_disk::<Automerge>().await;
    });
}

/// A disk that does not write for longer than a peer may owe an acknowledgement.
#[test]
fn a_slow_disk_ends_no_connection() {
    test(async {
        let disk = Arc::new(Disk::default());
        let (left, right) = (Store::<Board>::new(), kept_document::<Yrs>(&disk));
        let short = Duration::from_millis(200);
        let config = Config::default().times(short, 3 * short).expect("valid");
        let (here, there) = memory_pair(8);
        let peer = Peer::over(&left, "d", here, Role::Initiator, config.clone());
        let _other = Peer::over(&right, "d", there, Role::Responder, config);
        title(&left, "one");
        timeout(10 * short, peer.flush()).await.expect_err("the disk has not written");
        assert!(peer.status().borrow().is_live());
        disk.write();
        peer.flush().await.expect("it is written");
    });
}

/// An import waits for the disk, on a runtime with a single thread. The thread is not blocked.
#[test]
fn an_import_that_waits_for_the_disk_blocks_no_thread_of_the_runtime() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let disk = Arc::new(Disk::default());
        let (left, right) = (Store::<Board>::new(), kept_document::<Yrs>(&disk));
        let (here, there) = memory_pair(8);
        let peer = Peer::over(&left, "d", here, Role::Initiator, Config::default());
        let _other = Peer::over(&right, "d", there, Role::Responder, Config::default());
        // After many brief steps the next one is expected to be brief.
        for round in 0..100 {
            title(&left, &round.to_string());
            while right.version() != left.version() {
                sleep(Duration::from_millis(1)).await;
            }
            disk.write();
            peer.flush().await.expect("it is written");
        }
        assert!(!Replica::is_busy(&right));
        disk.waits.store(true, Ordering::SeqCst);
        assert!(Replica::is_busy(&right), "steps run where they may block");
        title(&left, "last");
        timeout(A_WHILE, peer.flush()).await.expect_err("the disk has not written");
        assert!(!disk.gave_up.load(Ordering::SeqCst), "the thread of the runtime was blocked");
        disk.write();
        peer.flush().await.expect("it is written");
    });
}

/// The disk of the server has no room. The peer connects again and again, and loses nothing.
#[cfg(feature = "quic")]
#[test]
fn an_update_that_cannot_be_kept_comes_again() {
    use exostate_sync::{Client, CloseReason, Status};
    test(async {
        let disk = Arc::new(Disk::default());
        let document = kept_document::<Yrs>(&disk);
        let documents = Documents::new().with("d", &document).expect("valid");
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(address, documents).await.expect("a server");
        let mut departures = server.departures();
        let store = Store::<Board>::new();
        let ms = Duration::from_millis;
        let config = Config::default().reconnect(ms(10), ms(100)).expect("valid");
        let client = Client::new(config);
        let ticket = server.ticket("d").expect("served");
        let peer = client.connect(&store, ticket).await.expect("connected");
        peer.live().await.expect("in sync");
        disk.full.store(true, Ordering::SeqCst);
        title(&store, "one");
        let mut status = peer.status();
        for _ in 0..3 {
            let departure = departures.recv().await.expect("the server is there");
            assert!(
                matches!(&departure.reason, CloseReason::NotNow(refusal)
                    if refusal.to_string() == "the replica refused: the disk is full"),
                "{departure:?}"
            );
        }
        let offline = |status: &Status| matches!(status, Status::Offline { .. });
        status.wait_for(offline).await.expect("it tries again");
        timeout(A_WHILE, peer.flush()).await.expect_err("there is no room");
        assert_eq!(document.register("title"), None);
        disk.full.store(false, Ordering::SeqCst);
        peer.live().await.expect("in sync");
        assert_eq!(document.register("title"), Some("one".into()));
        flushes_only_after_the_disk(&peer, &disk).await;
    });
}
