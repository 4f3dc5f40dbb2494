//! Two stores stay in sync over memory and over QUIC, on both backends.

use std::time::Duration;

use exostate::{Automerge, Backend, Counter, Document, MovableList, State, Store, Text, Yrs};
use exostate_sync::{Config, Peer, Role, memory_pair};
#[cfg(feature = "quic")]
use exostate_sync::{Documents, Server};

#[derive(State, Clone, Debug, PartialEq)]
struct Board {
    title: String,
    notes: Text,
    cards: MovableList<String>,
    votes: Counter,
}

/// Ends a test that hangs. It measures nothing.
const HANG: Duration = Duration::from_secs(60);

fn edit<B: Backend>(store: &Store<Board, B>, who: &str, rounds: usize) {
    for round in 0..rounds {
        store
            .change(|board| {
                board.title().set(format!("{who} {round}"))?;
                board.notes().push_str(&format!("{who}{round} "))?;
                board.votes().add(1)?;
                board.cards().insert(0, format!("{who} {round}")).map(drop)
            })
            .expect("it can be written");
    }
}

async fn in_sync<B: Backend>(here: &Store<Board, B>, there: &Store<Board, B>) {
    let waiting = async {
        while here.version() != there.version() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, waiting).await.expect("the replicas did not come to be in sync");
    assert_eq!(here.view(), there.view());
    assert_eq!(here.digest(), there.digest());
}

async fn over_memory<B: Backend>() {
    let here = Store::<Board, B>::new();
    let there = Store::<Board, B>::new();
    edit(&here, "here", 5);
    edit(&there, "there", 5);
    let (left, right) = memory_pair(8);
    let peer = Peer::over(&here, "board", left, Role::Initiator, Config::default());
    let _other = Peer::over(&there, "board", right, Role::Responder, Config::default());
    peer.live().await.expect("live");
    edit(&here, "here again", 5);
    edit(&there, "there again", 5);
    in_sync(&here, &there).await;
    assert_eq!((here.view().votes.value(), here.view().cards.len()), (20, 20));
}

#[cfg(feature = "quic")]
async fn over_quic<B: Backend>() {
    let here = Store::<Board, B>::new();
    let there = Store::<Board, B>::new();
    let documents = Documents::new().with("board", &here).expect("a name");
    let server = Server::bind("127.0.0.1:0".parse().expect("an address"), documents)
        .await
        .expect("a server");
    let ticket = server.ticket("board").expect("a ticket");
    for round in 0..3 {
        edit(&here, "before", 3);
        let peer = Peer::connect(&there, ticket.clone()).await.expect("connected");
        peer.live().await.expect("live");
        edit(&here, "during", 3);
        edit(&there, "during", 3);
        if round < 2 {
            // The connection ends abruptly. An update on its way may be lost, and arrives over the
            // next connection.
            drop(peer);
            edit(&there, "after", 3);
        } else {
            in_sync(&here, &there).await;
            peer.disconnect().await;
        }
    }
    assert_eq!(
        (here.view().votes.value(), here.view().cards.len()),
        (33, 33),
        "nothing is lost or doubled"
    );
    server.shutdown().await;
}

/// A document that is too large for one update from a peer, first on the connecting side and then
/// on the other one.
async fn large_over_memory<B: Backend>() {
    let fill = |store: &Store<Board, B>| {
        let line = "x".repeat(1_000);
        for _ in 0..3 {
            let done = store.change(|board| {
                (0..2_000).try_for_each(|_| board.cards().push(line.clone()).map(drop))
            });
            done.expect("it can be written");
        }
    };
    let here = Store::<Board, B>::new();
    let there = Store::<Board, B>::new();
    fill(&here);
    fill(&there);
    assert!(here.save().len().min(there.save().len()) > 4 << 20 || B::NAME == "automerge");
    let (left, right) = memory_pair(8);
    let peer = Peer::over(&here, "board", left, Role::Initiator, Config::default());
    let _other = Peer::over(&there, "board", right, Role::Responder, Config::default());
    tokio::time::timeout(HANG, peer.live()).await.expect("in time").expect("live");
    in_sync(&here, &there).await;
    assert_eq!(here.view().cards.len(), 12_000);
}

/// A document without a Rust type syncs with two stores and is edited by path.
async fn over_a_document<B: Backend>() {
    let here = Store::<Board, B>::new();
    let there = Store::<Board, B>::new();
    let between = Document::<B>::new();
    edit(&here, "here", 5);
    edit(&there, "there", 5);
    let mut peers = Vec::new();
    for store in [&here, &there] {
        let (left, right) = memory_pair(8);
        peers.push(Peer::over(store, "board", left, Role::Initiator, Config::default()));
        peers.push(Peer::over(&between, "board", right, Role::Responder, Config::default()));
    }
    for peer in &peers {
        peer.live().await.expect("live");
    }
    between.edit(|edit| edit.set("title", "between")).expect("it can be written");
    // Equal versions of the stores alone prove nothing yet: this edit may reach one of them between
    // the comparison of the versions and the one of the views.
    let titled = async {
        while here.view().title != "between" || there.view().title != "between" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, titled).await.expect("the title did not come");
    in_sync(&here, &there).await;
    assert_eq!((here.view().votes.value(), here.view().cards.len()), (10, 10));
    assert_eq!((between.digest(), between.version()), (here.digest(), here.version()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_a_type_relays_between_stores() {
    over_a_document::<Yrs>().await;
    over_a_document::<Automerge>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_comes_to_be_in_sync() {
    large_over_memory::<Yrs>().await;
    large_over_memory::<Automerge>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_come_to_be_in_sync_over_memory() {
    over_memory::<Yrs>().await;
    over_memory::<Automerge>().await;
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn stores_come_to_be_in_sync_over_quic() {
    over_quic::<Yrs>().await;
    over_quic::<Automerge>().await;
}
