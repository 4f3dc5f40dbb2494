//! Floods: far more connections, frames and datagrams than a peer needs. The honest peers continue
//! to work, and the server's memory returns to its former size.
//!
//! The tests count all allocations of the process, so they run one after the other.
#![cfg(all(feature = "quic", feature = "websocket"))]

mod support;

#[path = "support/scene.rs"]
mod scene;

use exostate::{Store, Yrs};
use exostate_sync::{Client, CloseReason, Config, Documents, FrameSink, Peer, Scheme, Server};
use futures_util::SinkExt;
use scene::{Board, Scene, hello, test};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use support::{Mock, framed, varint};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static ALONE: Mutex<()> = Mutex::new(());

const MIB: isize = 1024 * 1024;

fn live_bytes() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.cast_signed() - stats.bytes_deallocated.cast_signed()
}

/// How many bytes are allocated now and were not before. Waits until the ended tasks have freed
/// their memory.
async fn grown(before: isize, most: isize) -> isize {
    for _ in 0..500 {
        if live_bytes() - before <= most {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    live_bytes() - before
}

fn alone(body: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    test(body);
}

fn config_with_limit_per_address() -> Config {
    Config::default().connections_per_address_max(100).expect("valid")
}

#[test]
fn a_connection_flood_from_one_address_does_not_block_others() {
    alone(async {
        let addr = "127.0.0.1:0".parse().expect("valid");
        let mut scene = Scene::<Yrs>::new(config_with_limit_per_address(), |builder| {
            builder.websocket_tls(addr)
        })
        .await;
        let server = scene.server.local_addr(Scheme::WebSocketTls).expect("it listens");
        let before = live_bytes();
        let mut most = 0;
        let mut held = VecDeque::new();
        for number in 0..10_000 {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind("127.0.0.2:0".parse().expect("valid")).expect("all of 127/8 is here");
            held.push_back(socket.connect(server).await.expect("the system accepts"));
            if held.len() > 500 {
                held.pop_front();
            }
            if number % 2_000 == 1_000 {
                scene.edit_and_wait_in_sync().await;
                most = most.max(live_bytes() - before);
                // A peer from another address is let in at once.
                let store = Store::<Board>::new();
                let ticket = scene.server.ticket_over(Scheme::WebSocketTls, "d").expect("served");
                let peer = Peer::connect(&store, ticket).await.expect("a place");
                peer.live().await.expect("in sync");
                assert_eq!(store.view(), scene.stores[0].view());
                peer.disconnect().await;
            }
        }
        assert!(most < 16 * MIB, "{most} bytes more while they came");
        drop(held);
        scene.edit_and_wait_in_sync().await;
        let grown = grown(before, MIB).await;
        assert!(grown < MIB, "{grown} bytes are left");
    });
}

#[test]
fn a_thousand_attempts_over_quic_past_the_limit_are_refused() {
    alone(async {
        let addr = "127.0.0.1:0".parse().expect("valid");
        let mut scene = Scene::<Yrs>::new(
            Config::default().connections_per_address_max(20).expect("valid"),
            |builder| builder.quic(addr),
        )
        .await;
        let ticket = scene.server.ticket("d").expect("served");
        let before = live_bytes();
        let mut taken = Vec::new();
        let mut refused = 0;
        for _ in 0..50 {
            let mut attempts = tokio::task::JoinSet::new();
            for _ in 0..20 {
                let ticket = ticket.clone();
                attempts.spawn(async move {
                    let client = Client::new(Config::default().without_reconnecting());
                    client.connect(&Store::<Board>::new(), ticket).await
                });
            }
            while let Some(attempt) = attempts.join_next().await {
                match attempt.expect("no panic") {
                    Ok(peer) => taken.push(peer),
                    Err(_) => refused += 1,
                }
            }
            scene.edit_and_wait_in_sync().await;
        }
        assert!(taken.len() <= 40, "{} were let in", taken.len());
        assert!(refused >= 960, "{refused} were refused");
        for peer in taken {
            peer.disconnect().await;
        }
        scene.edit_and_wait_in_sync().await;
        let grown = grown(before, 2 * MIB).await;
        assert!(grown < 2 * MIB, "{grown} bytes are left");
    });
}

#[test]
fn a_peer_that_floods_and_does_not_read_is_disconnected() {
    alone(async {
        let config = Config::default()
            .times(Duration::from_millis(100), Duration::from_millis(500))
            .expect("valid");
        let mut scene = Scene::<Yrs>::new(config, |builder| builder).await;
        let before = live_bytes();
        let version = [vec![1], Store::<Board>::new().version().to_bytes()].concat();
        let presence = [vec![5], varint(1), varint(2), b"42".to_vec()].concat();
        // In order: a frame that the server answers, one that it need not answer, two that it must
        // keep or forward, and one of an unknown kind.
        let floods = [
            framed(7, b""),
            framed(3, &version),
            framed(14, b""),
            framed(13, &presence),
            framed(200, &[0; 100_000]),
        ];
        for flood in floods {
            let (mut sink, source) = scene.untrusted().await;
            let mut sent = 0;
            // Sends until the server stops reading or closes.
            while sent < 20_000
                && matches!(
                    timeout(Duration::from_secs(2), sink.send(flood.clone())).await,
                    Ok(Ok(()))
                )
            {
                sent += 1;
            }
            let most = live_bytes() - before;
            assert!(most < 24 * MIB, "{most} bytes more with frames of type {}", flood[0]);
            scene.edit_and_wait_in_sync().await;
            drop((sink, source));
            let reason = scene.departure().await;
            let expected = matches!(
                reason,
                CloseReason::Lost { .. }
                    | CloseReason::TimedOut { .. }
                    | CloseReason::Stalled { .. }
                    | CloseReason::Protocol(_)
            );
            assert!(expected || matches!(reason, CloseReason::Refused { .. }), "{reason}");
        }
        scene.edit_and_wait_in_sync().await;
        let grown = grown(before, MIB).await;
        assert!(grown < MIB, "{grown} bytes are left");
    });
}

/// A WebSocket client that asks for a large document, then reads nothing.
async fn client_that_does_not_read(server: &Server) -> WebSocketStream<TcpStream> {
    let addr = server.local_addr(Scheme::WebSocket).expect("it listens");
    let stream = TcpStream::connect(addr).await.expect("connected");
    let request = ClientRequestBuilder::new(format!("ws://{addr}/").parse().expect("valid"))
        .with_sub_protocol("exostate.1");
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("let in");
    for frame in [vec![], hello("mock", 0), framed(3, &[0])] {
        socket.send(on(1, &frame)).await.expect("sent");
    }
    socket
}

fn on(channel: u64, frame: &[u8]) -> Message {
    Message::Binary([varint(channel), frame.to_vec()].concat().into())
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[test]
fn a_client_that_does_not_read_frees_its_place_and_tasks() {
    alone(async {
        let replica = Mock::new(1);
        // More bytes than the system buffers for a client that reads nothing.
        (0..16).for_each(|_| drop(replica.add(&[7; 1_000_000])));
        let documents = Documents::new().with("d", replica).expect("valid");
        let config = Config::default()
            .times(Duration::from_millis(100), Duration::from_millis(500))
            .expect("valid");
        let config = config.connections_max(1).expect("valid");
        let server = Server::builder(documents)
            .config(config)
            .websocket("127.0.0.1:0".parse().expect("valid"));
        let server = server.bind().await.expect("a server");
        let bytes = live_bytes();
        let tasks_before = tasks();
        for _ in 0..2 {
            // The server has one place. The client of the round before has left it.
            let mut socket = client_that_does_not_read(&server).await;
            let mut most = 0;
            for channel in 2..20_000 {
                // Opens the channel and ends it.
                let flood = async {
                    socket.feed(on(channel, &[])).await?;
                    socket.send(on(channel, &[])).await
                };
                most = most.max(tasks());
                // Sends until the server stops reading or closes.
                if !matches!(timeout(Duration::from_secs(2), flood).await, Ok(Ok(()))) {
                    break;
                }
            }
            assert!(most < tasks_before + 400, "{most} tasks, {tasks_before} before");
            while tasks() > tasks_before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let grown = grown(bytes, MIB).await;
            assert!(grown < MIB, "{grown} bytes are left");
            drop(socket);
        }
        let _socket = client_that_does_not_read(&server).await;
        server.shutdown().await;
    });
}

#[test]
fn queued_updates_are_stored_once_for_all_peers() {
    alone(async {
        let mut scene = Scene::<Yrs>::new(Config::default(), |builder| builder).await;
        let mut strangers = Vec::new();
        for _ in 0..10 {
            let (mut sink, source) = scene.untrusted().await;
            let version = [vec![0], scene.stores[0].version().to_bytes()].concat();
            sink.send(framed(3, &version)).await.expect("the server listens");
            strangers.push((sink, source));
        }
        scene.edit_and_wait_in_sync().await;
        let before = live_bytes();
        let mut most = 0;
        for letter in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
            let title = letter.repeat(1_000_000);
            scene.stores[0].change(|board| board.title().set(title)).expect("it can be written");
            scene.edit_and_wait_in_sync().await;
            most = most.max(live_bytes() - before);
        }
        assert!(most < 48 * MIB, "{most} bytes more");
        drop(strangers);
        scene.edit_and_wait_in_sync().await;
    });
}
