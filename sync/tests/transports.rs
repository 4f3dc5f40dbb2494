//! The conformance suite: the same tests run over each transport, on loopback. No result depends on
//! time. The only time-out ends a test that hangs.
#![cfg(all(feature = "quic", feature = "websocket", feature = "webtransport"))]

mod support;

#[path = "transports/network.rs"]
mod network;

use exostate_sync::{
    Client, CloseCode, CloseReason, Config, Connection, Documents, MemoryConnection, Peer, Replica,
    Role, Scheme, Server, Status, memory_connections,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::Mock;
use tokio::sync::Notify;

const HANG: Duration = Duration::from_secs(90);

fn test(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(HANG, body).await.expect("the test hangs");
    });
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("valid")
}

/// The way in which the tests of one module connect to a server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Memory,
    Network(Scheme),
}

/// A server and its clients. All clients connect from one address.
struct Net {
    over: Over,
    server: Server,
    client: Client,
    memory: MemoryConnection,
}

impl Net {
    async fn with(over: Over, documents: Documents, config: Config) -> Self {
        let builder = Server::builder(documents).config(config.clone());
        let server = match over {
            Over::Memory => builder.bind().await,
            Over::Network(Scheme::Quic) => builder.quic(loopback()).bind().await,
            Over::Network(Scheme::WebSocket) => builder.websocket(loopback()).bind().await,
            Over::Network(Scheme::WebSocketTls) => builder.websocket_tls(loopback()).bind().await,
            Over::Network(Scheme::WebTransport) => builder.webtransport(loopback()).bind().await,
            Over::Network(scheme) => panic!("no server for {scheme}"),
        };
        let server = server.expect("a server");
        let (memory, there) = memory_connections(8);
        if over == Over::Memory {
            server.serve(there);
        }
        Self { over, server, client: Client::new(config), memory }
    }

    async fn of(over: Over, replica: &Arc<Mock>) -> Self {
        let documents = Documents::new().with("roadmap", replica.clone()).expect("valid");
        Self::with(over, documents, Config::default()).await
    }

    async fn join(&self, replica: &Arc<Mock>, document: &str) -> Peer {
        match self.over {
            Over::Memory => {
                let transport = self.memory.open().await.expect("open");
                Peer::over(replica.clone(), document, transport, Role::Initiator, Config::default())
            }
            Over::Network(_) => {
                let known = self.server.ticket("roadmap").expect("served").to_string();
                let ticket = known.replace("/roadmap", &format!("/{document}"));
                self.client.join(replica.clone(), ticket).expect("a ticket")
            }
        }
    }

    async fn connect(&self, replica: &Arc<Mock>) -> Peer {
        self.join(replica, "roadmap").await
    }
}

/// Waits until a replica has `count` ops.
async fn holds(replica: &Arc<Mock>, count: usize) {
    let changed = Arc::new(Notify::new());
    let listener = Arc::clone(&changed);
    let _guard = replica.on_update(Box::new(move |_, _| listener.notify_one()));
    while replica.len() < count {
        changed.notified().await;
    }
    assert_eq!(replica.len(), count);
}

async fn two_replicas_edit_at_once_and_converge(over: Over) {
    let left = Mock::new(1);
    let right = Mock::new(2);
    left.add(b"before");
    let net = Net::of(over, &right).await;
    let peer = net.connect(&left).await;
    let editor = |replica: Arc<Mock>| {
        tokio::task::spawn_blocking(move || {
            (0..200_u8).for_each(|n| drop(replica.add(&[n; 100])));
        })
    };
    let one = editor(left.clone());
    let two = editor(right.clone());
    one.await.expect("no panic");
    two.await.expect("no panic");
    tokio::join!(holds(&left, 401), holds(&right, 401));
    assert_eq!(left.content(), right.content());
    peer.live().await.expect("in sync");
    assert_eq!(peer.disconnect().await, CloseReason::Local);
    net.server.shutdown().await;
}

async fn a_large_document_crosses_in_fragments(over: Over) {
    let left = Mock::new(1);
    let right = Mock::new(2);
    (0..20).for_each(|n| drop(right.add(&vec![n; 1_000_000])));
    (0..5).for_each(|n| drop(left.add(&vec![n; 1_000_000])));
    let net = Net::of(over, &right).await;
    let peer = net.connect(&left).await;
    tokio::join!(holds(&left, 25), holds(&right, 25));
    peer.live().await.expect("in sync");
    assert_eq!(left.content(), right.content());
}

async fn an_edit_right_before_a_disconnect_arrives(over: Over) {
    let left = Mock::new(1);
    let right = Mock::new(2);
    let net = Net::of(over, &right).await;
    let peer = net.connect(&left).await;
    peer.live().await.expect("in sync");
    left.add(b"last words");
    peer.disconnect().await;
    assert_eq!(right.len(), 1, "said to have it, and has it");
}

async fn earlier_edits_arrive_before_flush_returns(over: Over) {
    let left = Mock::new(1);
    let right = Mock::new(2);
    (0..10).for_each(|n| drop(left.add(&vec![n; 100_000])));
    let net = Net::of(over, &right).await;
    let peer = net.connect(&left).await;
    peer.flush().await.expect("acknowledged");
    assert_eq!(right.len(), 10);
    left.add(b"one more");
    peer.flush().await.expect("acknowledged");
    assert_eq!(right.len(), 11);
}

async fn an_unknown_document_is_refused_by_name(over: Over) {
    let net = Net::of(over, &Mock::new(2)).await;
    let peer = net.join(&Mock::new(1), "raodmap").await;
    let CloseReason::Remote { code, message } = peer.closed().await else { panic!("it is known") };
    assert_eq!(
        (code, message.as_str()),
        (CloseCode::UnknownDocument, "no document named `raodmap`")
    );
}

async fn three_replicas_meet_through_one_server(over: Over) {
    let hub = Mock::new(9);
    let net = Net::of(over, &hub).await;
    let replicas = [Mock::new(1), Mock::new(2), Mock::new(3)];
    replicas[2].add(b"brought along");
    let mut peers = Vec::new();
    for replica in &replicas {
        peers.push(net.connect(replica).await);
    }
    for n in 0..20_u8 {
        for replica in &replicas {
            replica.add(&[n]);
        }
    }
    for replica in replicas.iter().chain([&hub]) {
        holds(replica, 61).await;
    }
    for peer in &peers {
        peer.live().await.expect("in sync");
    }
    replicas.iter().for_each(|replica| assert_eq!(replica.content(), hub.content()));
    // The documents are in sync, so no update may still go round. A clean close of each peer shows
    // that.
    for peer in peers {
        assert_eq!(peer.disconnect().await, CloseReason::Local);
    }
}

async fn the_status_ends_with_the_reason(over: Over) {
    let net = Net::of(over, &Mock::new(2)).await;
    let peer = net.connect(&Mock::new(1)).await;
    let mut status = peer.status();
    peer.disconnect().await;
    let closed = Status::Closed { reason: CloseReason::Local };
    status.wait_for(|status| *status == closed).await.expect("told before the end");
}

/// Every document must share a connection: the server accepts only one.
async fn many_documents_share_one_connection(over: Over) {
    let names: Vec<String> =
        (0..20).map(|n| if n == 0 { "roadmap".to_owned() } else { format!("d{n}") }).collect();
    let theirs: Vec<_> = (0..20).map(|n| Mock::new(100 + n)).collect();
    let documents = names.iter().zip(&theirs).fold(Documents::new(), |all, (name, replica)| {
        all.with(name, replica.clone()).expect("valid")
    });
    let net =
        Net::with(over, documents, Config::default().connections_max(1).expect("valid")).await;
    let ours: Vec<_> = (0..20).map(|n| Mock::new(200 + n)).collect();
    let mut peers = Vec::new();
    for (name, replica) in names.iter().zip(&ours) {
        replica.add(name.as_bytes());
        peers.push(net.join(replica, name).await);
    }
    for ((peer, ours), theirs) in peers.iter().zip(&ours).zip(&theirs) {
        theirs.add(&[7; 100_000]);
        peer.flush().await.expect("acknowledged");
        tokio::join!(holds(ours, 2), holds(theirs, 2));
        assert_eq!(ours.content(), theirs.content());
    }
    // One peer leaves. The others continue.
    assert_eq!(peers.swap_remove(3).disconnect().await, CloseReason::Local);
    ours[4].add(b"still here");
    holds(&theirs[4], 3).await;
}

/// More documents than two connections can carry.
async fn documents_past_the_limit_of_a_connection_use_another(over: Over) {
    let name = |number: u64| if number == 0 { "roadmap".to_owned() } else { format!("d{number}") };
    let all: Vec<_> = (0..130)
        .map(|number| (name(number), Mock::new(1_000 + number), Mock::new(2_000 + number)))
        .collect();
    let documents = all.iter().fold(Documents::new(), |all, (name, theirs, _)| {
        all.with(name, theirs.clone()).expect("valid")
    });
    let net =
        Net::with(over, documents, Config::default().connections_max(3).expect("valid")).await;
    let mut peers = Vec::new();
    for (name, _, ours) in &all {
        ours.add(name.as_bytes());
        peers.push(net.join(ours, name).await);
    }
    for (peer, (_, theirs, ours)) in peers.iter().zip(&all) {
        peer.flush().await.expect("acknowledged");
        theirs.add(b"and back");
        tokio::join!(holds(ours, 2), holds(theirs, 2));
    }
    // Peers that leave make room for other documents.
    for peer in peers.drain(..40) {
        assert_eq!(peer.disconnect().await, CloseReason::Local);
    }
    for (name, theirs, ours) in &all[..40] {
        ours.add(b"again");
        let peer = net.join(ours, name).await;
        peer.flush().await.expect("acknowledged");
        assert_eq!(theirs.len(), 3);
        peers.push(peer);
    }
}

async fn a_server_shutdown_is_reported_and_loses_nothing(over: Over) {
    let left = Mock::new(1);
    let right = Mock::new(2);
    let net = Net::of(over, &right).await;
    let peer = net.connect(&left).await;
    peer.live().await.expect("in sync");
    right.add(b"last words");
    net.server.shutdown().await;
    assert_eq!(left.len(), 1);
    let mut status = peer.status();
    let over = |status: &Status| match status {
        Status::Offline { reason, .. } => reason.to_string().contains("closes down"),
        Status::Closed { reason } => {
            matches!(reason, CloseReason::Remote { code: CloseCode::Unavailable, .. })
        }
        _ => false,
    };
    status.wait_for(over).await.expect("told");
}

/// Peers of two documents share one connection and change their presence often. In the end every
/// peer must see the last state of every other peer of its document.
async fn presence_is_shown_to_all_peers_of_the_document(over: Over) {
    let documents = ["one", "two"]
        .into_iter()
        .try_fold(Documents::new(), |all, name| all.with(name, Mock::new(name.len() as u64)));
    let net = Net::with(
        over,
        documents.expect("valid").with("roadmap", Mock::new(9)).expect("valid"),
        Config::default(),
    )
    .await;
    let mut peers = Vec::new();
    for id in 10..20_u64 {
        let document = if id % 2 == 0 { "one" } else { "two" };
        peers.push((id, net.join(&Mock::new(id), document).await));
    }
    for round in 0..20 {
        for (id, peer) in &peers {
            peer.presence().set(&(*id, round)).expect("short");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (own, peer) in &peers {
        let presence = peer.presence::<(u64, u32)>();
        let mut changes = presence.watch();
        let fellows =
            || peers.iter().map(|(id, _)| *id).filter(|id| id != own && id % 2 == own % 2);
        // Only a test that hangs reaches the time-out.
        while !fellows().eq(presence
            .others()
            .iter()
            .filter(|other| other.state == (other.id, 19))
            .map(|other| other.id))
        {
            changes.next().await.expect("they are all there");
        }
    }
}

/// Names the tests once, for all transports.
macro_rules! conformance {
    ($($test:ident)*) => {
        mod memory { $(#[test] fn $test() { crate::test(crate::$test(crate::Over::Memory)); })* }
        mod quic {
            $(#[test] fn $test() {
                let over = crate::Over::Network(exostate_sync::Scheme::Quic);
                crate::test(crate::$test(over));
            })*
        }
        mod websocket {
            $(#[test] fn $test() {
                let over = crate::Over::Network(exostate_sync::Scheme::WebSocket);
                crate::test(crate::$test(over));
            })*
        }
        mod websocket_tls {
            $(#[test] fn $test() {
                let over = crate::Over::Network(exostate_sync::Scheme::WebSocketTls);
                crate::test(crate::$test(over));
            })*
        }
        mod webtransport {
            $(#[test] fn $test() {
                let over = crate::Over::Network(exostate_sync::Scheme::WebTransport);
                crate::test(crate::$test(over));
            })*
        }
    };
}

conformance! {
    two_replicas_edit_at_once_and_converge
    a_large_document_crosses_in_fragments
    an_edit_right_before_a_disconnect_arrives
    earlier_edits_arrive_before_flush_returns
    an_unknown_document_is_refused_by_name
    three_replicas_meet_through_one_server
    the_status_ends_with_the_reason
    many_documents_share_one_connection
    documents_past_the_limit_of_a_connection_use_another
    a_server_shutdown_is_reported_and_loses_nothing
    presence_is_shown_to_all_peers_of_the_document
}
