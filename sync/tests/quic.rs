//! Peers and servers over QUIC on the loopback interface. Nothing is decided by time; the one time-out only ends a test that hangs.
#![cfg(feature = "quic")]

mod support;

use exostate_sync::{CloseReason, Config, ConnectError, Documents, Identity, Peer, Replica, Server, Status, Ticket};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::Mock;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

const HANG: Duration = Duration::from_secs(90);

fn test(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(HANG, body).await.expect("the test hangs");
    });
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("valid")
}

async fn serve(replica: &Arc<Mock>) -> Server {
    let documents = Documents::new().with("roadmap", replica.clone()).expect("valid");
    Server::bind(loopback(), documents).await.expect("a server")
}

async fn connect(replica: &Arc<Mock>, server: &Server) -> Peer {
    let ticket = server.ticket("roadmap").expect("served");
    Peer::connect(replica.clone(), ticket).await.expect("connected")
}

/// Waits until a replica holds `count` ops, however they come.
async fn holds(replica: &Arc<Mock>, count: usize) {
    let changed = Arc::new(Notify::new());
    let listener = Arc::clone(&changed);
    let _guard = replica.on_update(Box::new(move |_, _| listener.notify_one()));
    while replica.len() < count {
        changed.notified().await;
    }
    assert_eq!(replica.len(), count);
}

#[test]
fn two_replicas_edit_at_once_and_converge() {
    test(async {
        let (left, right) = (Mock::new(1), Mock::new(2));
        left.add(b"before");
        let server = serve(&right).await;
        let peer = connect(&left, &server).await;
        let editor = |replica: Arc<Mock>| {
            tokio::task::spawn_blocking(move || {
                (0..200_u8).for_each(|n| drop(replica.add(&[n; 100])));
            })
        };
        let (one, two) = (editor(left.clone()), editor(right.clone()));
        one.await.expect("no panic");
        two.await.expect("no panic");
        tokio::join!(holds(&left, 401), holds(&right, 401));
        assert_eq!(left.content(), right.content());
        peer.live().await.expect("level");
        assert_eq!(peer.disconnect().await, CloseReason::Local);
        server.shutdown().await;
    });
}

#[test]
fn a_large_document_crosses_in_fragments() {
    test(async {
        let (left, right) = (Mock::new(1), Mock::new(2));
        (0..20).for_each(|n| drop(right.add(&vec![n; 1_000_000])));
        let server = serve(&right).await;
        let peer = connect(&left, &server).await;
        peer.live().await.expect("level");
        assert_eq!(left.content(), right.content());
    });
}

#[test]
fn an_edit_right_before_a_disconnect_arrives() {
    test(async {
        let (left, right) = (Mock::new(1), Mock::new(2));
        let server = serve(&right).await;
        let peer = connect(&left, &server).await;
        left.add(b"last words");
        peer.disconnect().await;
        holds(&right, 1).await;
    });
}

#[test]
fn a_server_that_vanishes_is_noticed_and_a_new_connection_resumes() {
    test(async {
        let (left, right) = (Mock::new(1), Mock::new(2));
        right.add(b"first");
        let server = serve(&right).await;
        let peer = connect(&left, &server).await;
        peer.live().await.expect("level");
        drop(server);
        left.add(b"offline");
        right.add(b"also offline");
        assert!(matches!(peer.closed().await, CloseReason::Lost { .. }));
        let server = serve(&right).await;
        let peer = connect(&left, &server).await;
        holds(&left, 3).await;
        holds(&right, 3).await;
        peer.live().await.expect("level");
    });
}

/// Forwards datagrams until it is told to swallow them.
async fn relay(server: SocketAddr, swallow: Arc<AtomicBool>) -> SocketAddr {
    let front = UdpSocket::bind(loopback()).await.expect("a socket");
    let back = UdpSocket::bind(loopback()).await.expect("a socket");
    let addr = front.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut out, mut home) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            let (datagram, to, socket) = tokio::select! {
                Ok((length, from)) = front.recv_from(&mut out) => {
                    client = Some(from);
                    (&out[..length], Some(server), &back)
                }
                Ok((length, _)) = back.recv_from(&mut home) => (&home[..length], client, &front),
                else => return,
            };
            if let (Some(to), false) = (to, swallow.load(Ordering::SeqCst)) {
                let _ = socket.send_to(datagram, to).await;
            }
        }
    });
    addr
}

#[test]
fn silent_loss_ends_in_a_time_out_and_a_new_connection_resumes() {
    test(async {
        let (left, right) = (Mock::new(1), Mock::new(2));
        let server = serve(&right).await;
        let swallow = Arc::new(AtomicBool::new(false));
        let addr = relay(server.local_addr(), Arc::clone(&swallow)).await;
        let print = server.ticket("roadmap").expect("served").fingerprint();
        let ticket = Ticket::new("127.0.0.1", addr.port(), "roadmap", print).expect("valid");
        let times = (Duration::from_millis(500), Duration::from_secs(3));
        let config = Config::default().times(times.0, times.1).expect("valid");
        let peer = Peer::connect_with(left.clone(), ticket, config).await.expect("connected");
        peer.live().await.expect("level");
        swallow.store(true, Ordering::SeqCst);
        left.add(b"into the void");
        right.add(b"unheard");
        let reason = peer.closed().await;
        let silent = matches!(reason, CloseReason::TimedOut { .. } | CloseReason::Lost { .. });
        assert!(silent, "{reason}");
        assert_eq!((left.len(), right.len()), (1, 1));
        let peer = connect(&left, &server).await;
        tokio::join!(holds(&left, 2), holds(&right, 2));
        peer.live().await.expect("level");
    });
}

#[test]
fn another_certificate_is_refused() {
    test(async {
        let server = serve(&Mock::new(2)).await;
        let other = Identity::generate().expect("an identity").fingerprint();
        let port = server.local_addr().port();
        let ticket = Ticket::new("127.0.0.1", port, "roadmap", other).expect("valid");
        let error = Peer::connect(Mock::new(1), ticket).await.expect_err("refused");
        let ConnectError::WrongFingerprint { ticket, theirs } = error else {
            panic!("{error:?}");
        };
        assert_eq!((ticket, theirs), (other, server.identity().fingerprint()));
    });
}

#[test]
fn an_unknown_document_is_named() {
    test(async {
        let server = serve(&Mock::new(2)).await;
        let known = server.ticket("roadmap").expect("served");
        let ticket = known.to_string().replace("roadmap", "raodmap");
        let error = Peer::connect(Mock::new(1), ticket).await.expect_err("refused");
        assert_eq!(error.to_string(), "the server has no document named `raodmap`");
        let error = server.ticket("raodmap").expect_err("unknown");
        assert_eq!(error.to_string(), "no document named `raodmap`");
        let error = Peer::connect(Mock::new(1), "exo://host").await.expect_err("no ticket");
        assert!(matches!(error, ConnectError::Ticket(_)));
    });
}

#[test]
fn three_replicas_meet_through_one_server() {
    test(async {
        let hub = Mock::new(9);
        let server = serve(&hub).await;
        let replicas = [Mock::new(1), Mock::new(2), Mock::new(3)];
        replicas[2].add(b"brought along");
        let mut peers = Vec::new();
        for replica in &replicas {
            peers.push(connect(replica, &server).await);
        }
        for n in 0..20_u8 {
            for replica in &replicas {
                replica.add(&[n]);
            }
        }
        for replica in replicas.iter().chain([&hub]) {
            holds(replica, 61).await;
            assert_eq!(replica.content(), hub.content());
        }
        for peer in &peers {
            peer.live().await.expect("level");
        }
        // Quiet once level: what came is not sent around for ever. Closing says so by ending in order.
        for peer in peers {
            assert_eq!(peer.disconnect().await, CloseReason::Local);
        }
    });
}

#[test]
fn the_status_ends_with_the_reason() {
    test(async {
        let server = serve(&Mock::new(2)).await;
        let peer = connect(&Mock::new(1), &server).await;
        let mut status = peer.status();
        peer.disconnect().await;
        let closed = Status::Closed { reason: CloseReason::Local };
        status.wait_for(|status| *status == closed).await.expect("told before the end");
    });
}
