//! Peers over a connection in memory.

mod support;

use exostate_sync::{CloseReason, Config, LiveError, Peer, Role, Status, Transport, memory_pair};
use std::sync::Arc;
use std::time::Duration;
use support::Mock;

fn test(body: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(Duration::from_secs(90), body).await.expect("the test hangs");
    });
}

fn pair(left: &Arc<Mock>, right: &Arc<Mock>, config: &Config) -> (Peer, Peer) {
    let (here, there) = memory_pair(1);
    let left = Peer::over(left.clone(), "d", here, Role::Initiator, config.clone());
    let right = Peer::over(right.clone(), "d", there, Role::Responder, config.clone());
    (left, right)
}

#[test]
fn edits_never_wait_and_a_small_queue_loses_nothing() {
    test(async {
        let left = Mock::new(1);
        let right = Mock::new(2);
        let config = Config::default().queue_max(2, 1000).expect("valid");
        let (peer, other) = pair(&left, &right, &config);
        peer.live().await.expect("in sync");
        (0..250_u8).for_each(|n| drop(left.add(&[n; 50])));
        (0..250_u8).for_each(|n| drop(right.add(&[n; 50])));
        // Only the contents end this loop. The interval decides nothing.
        while left.len() < 500 || right.len() < 500 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(left.content(), right.content());
        peer.live().await.expect("in sync");
        peer.disconnect().await;
        assert!(matches!(other.closed().await, CloseReason::Remote { .. }));
    });
}

#[test]
fn a_peer_that_does_not_read_blocks_no_edits() {
    test(async {
        let left = Mock::new(1);
        let (here, there) = memory_pair(1);
        let peer = Peer::over(left.clone(), "d", here, Role::Initiator, Config::default());
        // The other end is open but never sends a frame.
        (0..1000_u32).for_each(|n| drop(left.add(&n.to_le_bytes())));
        assert_eq!(left.len(), 1000);
        drop(there.split());
        assert!(matches!(peer.closed().await, CloseReason::Lost { .. }));
        assert!(matches!(peer.live().await, Err(LiveError::Closed(_))));
    });
}

#[test]
fn divergence_reaches_the_application() {
    test(async {
        let left = Mock::new(1);
        let right = Mock::new(2);
        // Two different ops with the same id and number.
        left.apply(&Mock::new(7).add(b"one")).expect("fits");
        right.apply(&Mock::new(7).add(b"other")).expect("fits");
        let (peer, other) = pair(&left, &right, &Config::default());
        // A repair would replace the document of one side. The mock replica cannot do that.
        let unrepaired = |status: &Status| matches!(status, Status::Unrepaired { .. });
        let mut ours = peer.status();
        let mut theirs = other.status();
        let told = tokio::select! {
            told = ours.wait_for(unrepaired) => told.is_ok().then_some(&peer),
            told = theirs.wait_for(unrepaired) => told.is_ok().then_some(&other),
        };
        let told = told.expect("told").live().await;
        assert!(matches!(told, Err(LiveError::Unrepaired { .. })), "{told:?}");
    });
}

#[derive(exostate::State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
}

#[derive(exostate::State, Clone, Debug, Default, PartialEq)]
struct Form {
    title: String,
}

#[test]
fn the_status_says_that_the_document_is_of_another_type() {
    test(async {
        let board = exostate::Store::<Board>::new();
        let form = exostate::Store::<Form>::new();
        board.change(|board| board.title().set("Roadmap")).expect("it can be written");
        let (here, there) = memory_pair(1);
        let left = Peer::over(&board, "d", here, Role::Initiator, Config::default());
        let right = Peer::over(&form, "d", there, Role::Responder, Config::default());
        left.live().await.expect("in sync");
        right.live().await.expect("in sync");
        assert_eq!(*left.status().borrow(), Status::Live);
        let status = right.status().borrow().clone();
        assert!(status.is_live() && form.view().title == "Roadmap");
        match status {
            Status::LiveAsOther { mismatch } => {
                assert_eq!((mismatch.document(), mismatch.opened()), ("Board", "Form"))
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_different_backend_closes_with_both_names() {
    test(async {
        let board = exostate::Store::<Board>::new();
        let other = exostate::Store::<Board, exostate::Automerge>::new();
        let (here, there) = memory_pair(1);
        let left = Peer::over(&board, "d", here, Role::Initiator, Config::default());
        let right = Peer::over(&other, "d", there, Role::Responder, Config::default());
        let reasons = format!("{} {}", left.closed().await, right.closed().await);
        assert!(reasons.contains("yrs") && reasons.contains("automerge"), "{reasons}");
    });
}
