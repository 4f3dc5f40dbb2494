//! The tests for transports over a network: host names, certificates and lost connections.

use super::{holds, loopback, test};
use crate::support::{Mock, lasting_addr};
use exostate_sync::{
    Client, CloseReason, Config, ConfigError, ConnectError, Documents, Identity, Peer, Scheme,
    Server, ServerError, Status, Ticket, TicketError,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;

const SCHEMES: [Scheme; 4] =
    [Scheme::Quic, Scheme::WebSocket, Scheme::WebSocketTls, Scheme::WebTransport];

fn copy(identity: &Identity) -> Identity {
    Identity::from_der(identity.certificate_der().to_vec(), identity.key_der().to_vec())
}

async fn try_serve(
    scheme: Scheme,
    replica: &Arc<Mock>,
    addr: SocketAddr,
    identity: Identity,
) -> Result<Server, ServerError> {
    let documents = Documents::new().with("roadmap", replica.clone()).expect("valid");
    let builder = Server::builder(documents).identity(identity);
    match scheme {
        Scheme::Quic => builder.quic(addr).bind().await,
        Scheme::WebSocket => builder.websocket(addr).bind().await,
        Scheme::WebSocketTls => builder.websocket_tls(addr).bind().await,
        Scheme::WebTransport => builder.webtransport(addr).bind().await,
        scheme => panic!("no server for {scheme}"),
    }
}

async fn serve(scheme: Scheme, replica: &Arc<Mock>) -> Server {
    try_serve(scheme, replica, loopback(), Identity::generate().expect("an identity"))
        .await
        .expect("a server")
}

/// Starts a server on an address that was in use before.
async fn serve_again(
    scheme: Scheme,
    replica: &Arc<Mock>,
    addr: SocketAddr,
    identity: &Identity,
) -> Server {
    try_serve(scheme, replica, addr, copy(identity)).await.expect("the address is free")
}

/// The same after a server that was dropped: only `shutdown` waits until the address is free.
async fn serve_after_drop(
    scheme: Scheme,
    replica: &Arc<Mock>,
    addr: SocketAddr,
    identity: &Identity,
) -> Server {
    loop {
        match try_serve(scheme, replica, addr, copy(identity)).await {
            Ok(server) => return server,
            Err(ServerError::Bind { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A client that reconnects after a short delay.
fn eager() -> Client {
    eager_with(Config::default())
}

fn eager_with(config: Config) -> Client {
    Client::new(
        config.reconnect(Duration::from_millis(10), Duration::from_millis(50)).expect("valid"),
    )
}

async fn is_offline(peer: &Peer) {
    let mut status = peer.status();
    status.wait_for(|status| matches!(status, Status::Offline { .. })).await.expect("told");
}

#[test]
fn a_lost_connection_is_opened_again_and_offline_edits_arrive() {
    test(async {
        for scheme in SCHEMES {
            let left = Mock::new(1);
            let right = Mock::new(2);
            right.add(b"first");
            let addr = lasting_addr();
            let identity = Identity::generate().expect("an identity");
            let mut server = serve_again(scheme, &right, addr, &identity).await;
            let peer = eager()
                .connect(left.clone(), server.ticket("roadmap").expect("served"))
                .await
                .expect("connected");
            peer.live().await.expect("in sync");
            for round in 0..3 {
                let is_dropped = round == 1;
                if is_dropped {
                    drop(server);
                } else {
                    server.shutdown().await;
                }
                is_offline(&peer).await;
                left.add(b"offline");
                right.add(b"also offline");
                server = if is_dropped {
                    serve_after_drop(scheme, &right, addr, &identity).await
                } else {
                    serve_again(scheme, &right, addr, &identity).await
                };
                peer.flush().await.expect("acknowledged");
                tokio::join!(holds(&left, 3 + 2 * round), holds(&right, 3 + 2 * round));
                peer.live().await.expect("in sync");
            }
        }
    });
}

#[test]
fn a_peer_that_starts_offline_connects_to_a_later_server() {
    test(async {
        for scheme in SCHEMES {
            let left = Mock::new(1);
            let right = Mock::new(2);
            left.add(b"offline");
            let addr = lasting_addr();
            let identity = Identity::generate().expect("an identity");
            let server = serve_again(scheme, &right, addr, &identity).await;
            let ticket = server.ticket("roadmap").expect("served");
            server.shutdown().await;
            // A peer that does not answer within the idle time-out counts as lost.
            let config = Config::default()
                .times(Duration::from_millis(300), Duration::from_secs(1))
                .expect("valid");
            let peer = eager_with(config).join(left.clone(), ticket).expect("a ticket");
            is_offline(&peer).await;
            let _server = serve_again(scheme, &right, addr, &identity).await;
            peer.flush().await.expect("acknowledged");
            assert_eq!(right.len(), 1);
        }
    });
}

#[test]
fn an_offline_peer_can_disconnect() {
    test(async {
        let ticket = Ticket::new(
            Scheme::Quic,
            "127.0.0.1",
            9,
            "roadmap",
            Some(Identity::generate().expect("one").fingerprint()),
        );
        let peer = Peer::join(Mock::new(1), ticket.expect("valid")).expect("a ticket");
        assert_eq!(peer.disconnect().await, CloseReason::Local);
    });
}

/// Forwards the bytes of TCP connections until `cut` is notified.
async fn wire(server: SocketAddr, cut: Arc<Notify>) -> SocketAddr {
    let front = TcpListener::bind(loopback()).await.expect("a socket");
    let addr = front.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (mut client, _) = front.accept().await.expect("a connection");
            let mut server = TcpStream::connect(server).await.expect("connected");
            let cut = Arc::clone(&cut);
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    addr
}

#[test]
fn a_connection_that_is_cut_is_opened_again() {
    test(async {
        for scheme in [Scheme::WebSocket, Scheme::WebSocketTls] {
            let left = Mock::new(1);
            let right = Mock::new(2);
            let server = serve(scheme, &right).await;
            let cut = Arc::new(Notify::new());
            let addr = wire(server.local_addr(scheme).expect("it listens"), Arc::clone(&cut)).await;
            let print = server.ticket("roadmap").expect("served").fingerprint();
            let ticket =
                Ticket::new(scheme, "127.0.0.1", addr.port(), "roadmap", print).expect("valid");
            let peer = eager().connect(left.clone(), ticket).await.expect("connected");
            for round in 1..=5 {
                left.add(&[1; 1_000_000]);
                right.add(&[2; 1_000_000]);
                cut.notify_one();
                peer.flush().await.expect("acknowledged");
                tokio::join!(holds(&left, 2 * round), holds(&right, 2 * round));
            }
            peer.live().await.expect("in sync");
        }
    });
}

/// Forwards datagrams. Drops them once `swallow` is set.
async fn relay(server: SocketAddr, swallow: Arc<AtomicBool>) -> SocketAddr {
    let front = UdpSocket::bind(loopback()).await.expect("a socket");
    let back = UdpSocket::bind(loopback()).await.expect("a socket");
    let addr = front.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut out = vec![0; 65_536];
        let mut home = vec![0; 65_536];
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
fn silent_loss_is_noticed_and_a_new_connection_resumes() {
    test(async {
        let left = Mock::new(1);
        let right = Mock::new(2);
        let server = serve(Scheme::Quic, &right).await;
        let swallow = Arc::new(AtomicBool::new(false));
        let addr =
            relay(server.local_addr(Scheme::Quic).expect("it listens"), Arc::clone(&swallow)).await;
        let print = server.ticket("roadmap").expect("served").fingerprint();
        let ticket =
            Ticket::new(Scheme::Quic, "127.0.0.1", addr.port(), "roadmap", print).expect("valid");
        let config = Config::default()
            .times(Duration::from_millis(500), Duration::from_secs(3))
            .expect("valid");
        let peer = eager_with(config).connect(left.clone(), ticket).await.expect("connected");
        peer.live().await.expect("in sync");
        swallow.store(true, Ordering::SeqCst);
        left.add(b"into the void");
        right.add(b"unheard");
        is_offline(&peer).await;
        assert_eq!((left.len(), right.len()), (1, 1));
        swallow.store(false, Ordering::SeqCst);
        tokio::join!(holds(&left, 2), holds(&right, 2));
        peer.live().await.expect("in sync");
    });
}

#[test]
fn another_certificate_is_refused() {
    test(async {
        for scheme in SCHEMES.into_iter().filter(|scheme| *scheme != Scheme::WebSocket) {
            let server = serve(scheme, &Mock::new(2)).await;
            let other = Identity::generate().expect("an identity").fingerprint();
            let port = server.local_addr(scheme).expect("it listens").port();
            let ticket =
                Ticket::new(scheme, "127.0.0.1", port, "roadmap", Some(other)).expect("valid");
            let error = Peer::connect(Mock::new(1), ticket.clone()).await.expect_err("refused");
            let ConnectError::WrongFingerprint { ticket: expected, theirs } = error else {
                panic!("{error:?}");
            };
            // WebTransport clients get the server's short-lived certificates, and
            // `certificate_hashes` lists them.
            let shown = if scheme == Scheme::WebTransport {
                server.certificate_hashes()
            } else {
                vec![server.identity().fingerprint()]
            };
            assert!(expected == other && theirs == shown[0], "{theirs:?} is not of {shown:?}");
            // The client does not reconnect after a wrong fingerprint.
            let peer = eager().join(Mock::new(1), ticket).expect("a ticket");
            assert!(peer.closed().await.to_string().contains("fingerprint"));
        }
    });
}

/// A browser accepts a certificate by its hash. The server sends the certificate of the first hash
/// in its list. A ticket may have such a hash too.
#[test]
fn a_short_lived_certificate_is_accepted_by_its_hash() {
    test(async {
        let left = Mock::new(1);
        let right = Mock::new(2);
        right.add(b"op");
        let server = serve(Scheme::WebTransport, &right).await;
        let port = server.local_addr(Scheme::WebTransport).expect("it listens").port();
        let hashes = server.certificate_hashes();
        assert!(
            hashes.len() == 2
                && hashes[0] != hashes[1]
                && !hashes.contains(&server.identity().fingerprint())
        );
        let ticket = |hash| {
            Ticket::new(Scheme::WebTransport, "127.0.0.1", port, "roadmap", Some(hash))
                .expect("valid")
        };
        let _peer = Peer::connect(left.clone(), ticket(hashes[0])).await.expect("connected");
        holds(&left, 1).await;
        let error =
            Peer::connect(Mock::new(3), ticket(hashes[1])).await.expect_err("not shown yet");
        assert!(matches!(error, ConnectError::WrongFingerprint { .. }), "{error:?}");
    });
}

/// Without a fingerprint in the ticket, the server needs a certificate that the web's roots of
/// trust sign.
#[test]
fn an_unsigned_certificate_is_refused() {
    test(async {
        let server = serve(Scheme::WebSocketTls, &Mock::new(2)).await;
        let port = server.local_addr(Scheme::WebSocketTls).expect("it listens").port();
        let ticket =
            Ticket::new(Scheme::WebSocketTls, "localhost", port, "roadmap", None).expect("valid");
        let error = Peer::connect(Mock::new(1), ticket).await.expect_err("refused");
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    });
}

#[test]
fn errors_of_a_ticket_name_the_problem() {
    test(async {
        for scheme in SCHEMES {
            let server = serve(scheme, &Mock::new(2)).await;
            let known = server.ticket("roadmap").expect("served");
            let ticket = known.to_string().replace("roadmap", "raodmap");
            let error = Peer::connect(Mock::new(1), ticket).await.expect_err("refused");
            assert_eq!(error.to_string(), "the server has no document named `raodmap`");
            let error = server.ticket("raodmap").expect_err("unknown");
            assert_eq!(error.to_string(), "no document named `raodmap`");
            let another = if scheme == Scheme::Quic { Scheme::WebTransport } else { Scheme::Quic };
            let error = server.ticket_over(another, "roadmap").expect_err("it does not");
            assert_eq!(error.to_string(), format!("the server does not listen for `{another}://`"));
        }
        let error = Peer::connect(Mock::new(1), "exo://host").await.expect_err("no ticket");
        assert!(matches!(error, ConnectError::Ticket(_)));
        assert!(matches!(Peer::join(Mock::new(1), "host"), Err(TicketError::Scheme { .. })));
    });
}

/// A server that accepts connections, but no streams on them.
fn server_without_streams(identity: &Identity) -> quinn::Endpoint {
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(identity.key_der().to_vec().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13]);
    let certificates = vec![identity.certificate_der().to_vec().into()];
    let tls =
        versions.expect("a version").with_no_client_auth().with_single_cert(certificates, key);
    let mut tls = tls.expect("a certificate");
    tls.alpn_protocols = vec![b"exostate/1".to_vec()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).expect("TLS 1.3");
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(0_u32.into());
    config.transport_config(Arc::new(transport));
    quinn::Endpoint::server(config, loopback()).expect("a socket")
}

#[test]
fn connecting_to_a_server_without_streams_fails() {
    test(async {
        let identity = Identity::generate().expect("an identity");
        let server = server_without_streams(&identity);
        let port = server.local_addr().expect("bound").port();
        let mut taken = Vec::new();
        let accepting = async {
            while let Some(incoming) = server.accept().await {
                taken.push(incoming.await);
            }
        };
        let config = Config::default()
            .times(Duration::from_millis(200), Duration::from_secs(1))
            .expect("valid");
        let client = Client::new(config.without_reconnecting());
        let ticket = |name| {
            Ticket::new(Scheme::Quic, "127.0.0.1", port, name, Some(identity.fingerprint()))
                .expect("valid")
        };
        // The second document does not wait for the first one.
        let connecting = async {
            tokio::join!(
                client.connect(Mock::new(1), ticket("one")),
                client.connect(Mock::new(2), ticket("two"))
            )
        };
        let errors = tokio::select! {
            (one, two) = connecting => [one, two],
            () = accepting => panic!("it accepts for ever"),
        };
        for error in errors {
            assert!(matches!(error, Err(ConnectError::Unreachable { .. })), "{error:?}");
        }
    });
}

async fn ask(server: &Server, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(server.local_addr(Scheme::WebSocket).expect("it listens"))
        .await
        .expect("connected");
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.expect("an answer");
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn websockets_are_accepted_only_from_allowed_origins() {
    test(async {
        let documents =
            Documents::new().with("page", exostate::Store::<Page>::new()).expect("valid");
        let builder = Server::builder(documents)
            .websocket(loopback())
            .yjs()
            .allow_origin("https://app.example")
            .expect("an origin");
        let server = builder.bind().await.expect("a server");
        let ours = "Sec-WebSocket-Protocol: exostate.1\r\n";
        for (path, protocol) in [("", ours), ("page", "")] {
            let with = |origin: &str| format!("{protocol}Origin: {origin}\r\n");
            assert_eq!(ask(&server, path, protocol).await, "101");
            assert_eq!(ask(&server, path, &with("https://app.example")).await, "101");
            let host = with("http://h");
            let both = with("https://app.example") + "Origin: https://evil.example\r\n";
            for other in [
                with("https://evil.example"),
                with("null"),
                with("https://app.example.evil.example"),
                host,
                both,
            ] {
                assert_eq!(ask(&server, path, &other).await, "403", "{other}");
            }
        }
        let documents = || Documents::new().with("page", Mock::new(1)).expect("valid");
        let server = Server::builder(documents())
            .websocket(loopback())
            .allow_any_origin()
            .bind()
            .await
            .expect("a server");
        assert_eq!(ask(&server, "", &format!("{ours}Origin: null\r\n")).await, "101");
        let error =
            Server::builder(documents()).allow_origin("app.example").expect_err("no origin");
        assert!(matches!(error, ConfigError::Origin { .. }), "{error}");
    });
}

#[derive(exostate::State, Clone, Debug, Default, PartialEq)]
struct Page {
    title: String,
}

#[test]
fn webtransport_is_accepted_only_from_allowed_origins() {
    test(async {
        let documents = Documents::new().with("roadmap", Mock::new(1)).expect("valid");
        let builder = Server::builder(documents)
            .webtransport(loopback())
            .allow_origin("https://app.example")
            .expect("an origin");
        let server = builder.bind().await.expect("a server");
        let port = server.local_addr(Scheme::WebTransport).expect("it listens").port();
        let hashes = server
            .certificate_hashes()
            .into_iter()
            .map(|hash| wtransport::tls::Sha256Digest::new(*hash.as_bytes()));
        let config = wtransport::ClientConfig::builder()
            .with_bind_default()
            .with_server_certificate_hashes(hashes)
            .build();
        let endpoint = wtransport::Endpoint::client(config).expect("a socket");
        let connect_from = async |origin: Option<&str>| {
            let options =
                wtransport::endpoint::ConnectOptions::builder(format!("https://127.0.0.1:{port}/"));
            let options = origin
                .into_iter()
                .fold(options, |options, origin| options.add_header("origin", origin));
            endpoint.connect(options.build()).await
        };
        connect_from(None).await.expect("let in");
        connect_from(Some("https://app.example")).await.expect("let in");
        for other in ["https://evil.example", "null"] {
            let refused = connect_from(Some(other)).await.expect_err("refused");
            assert!(
                matches!(refused, wtransport::error::ConnectingError::SessionRejected),
                "{refused:?}"
            );
        }
    });
}

/// Connections that are no WebSocket, or that use another protocol, cost the other peers nothing.
#[test]
fn malformed_connections_do_not_affect_other_peers() {
    test(async {
        let left = Mock::new(1);
        let right = Mock::new(2);
        let server = serve(Scheme::WebSocket, &right).await;
        let addr = server.local_addr(Scheme::WebSocket).expect("it listens");
        let garbage: [&[u8]; 4] = [
            b"",
            &[0xff; 10_000],
            b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ];
        let mut streams = Vec::new();
        for bytes in garbage {
            let mut stream = TcpStream::connect(addr).await.expect("connected");
            // The server usually refuses before the write ends, so the write may fail.
            let _ = stream.write_all(bytes).await;
            streams.push(stream);
        }
        let peer = Peer::connect(left.clone(), server.ticket("roadmap").expect("served"))
            .await
            .expect("connected");
        left.add(b"undisturbed");
        peer.flush().await.expect("acknowledged");
        assert_eq!(right.len(), 1);
    });
}
