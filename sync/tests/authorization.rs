//! Promise: a hook of the application decides, for every peer and over every transport, which
//! documents the peer may have.
#![cfg(all(feature = "quic", feature = "websocket", feature = "webtransport"))]

mod support;

use exostate::{State, Store};
use exostate_sync::{
    AccessRequest, Client, CloseCode, CloseReason, Config, ConnectError, Denial, Documents,
    LiveError, Peer, Rights, Role, Scheme, Server, Status, Ticket, memory_connections,
};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as SocketCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Page {
    title: String,
}

const SCHEMES: [Scheme; 4] =
    [Scheme::Quic, Scheme::WebSocket, Scheme::WebSocketTls, Scheme::WebTransport];

fn test(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(async { timeout(Duration::from_secs(60), body).await.expect("the test hangs") });
}

async fn decide(request: AccessRequest) -> Result<Rights, Denial> {
    // Stands for a look-up, for example in a database.
    tokio::time::sleep(Duration::from_millis(5)).await;
    match (request.token(), request.document()) {
        (Some("writer"), _) => Ok(Rights::ReadWrite),
        (Some("reader"), "page") => Ok(Rights::ReadOnly),
        (Some("reader"), document) => {
            Err(Denial::forbidden(format!("`{document}` is not for readers")))
        }
        (Some("later"), _) => Err(Denial::unavailable("the users are not there yet")),
        (Some("panic"), _) => panic!("a test"),
        (_, _) => Err(Denial::unauthenticated("a token is needed")),
    }
}

async fn serve(store: &Store<Page>) -> Server {
    let addr = || "127.0.0.1:0".parse().expect("valid");
    let documents = Documents::new()
        .with("page", store)
        .expect("valid")
        .with("minutes", Store::<Page>::new())
        .expect("valid");
    let builder = Server::builder(documents)
        .quic(addr())
        .websocket(addr())
        .websocket_tls(addr())
        .webtransport(addr())
        .yjs();
    builder.authorize(decide).subprotocols(|name| name == "notes").bind().await.expect("a server")
}

fn ticket(server: &Server, scheme: Scheme, document: &str, token: &str) -> Ticket {
    server.ticket_over(scheme, document).expect("served").with_token(token).expect("valid")
}

fn title(store: &Store<Page>, title: &str) {
    store.change(|page| page.title().set(title)).expect("it can be written");
}

async fn shows(store: &Store<Page>, title: &str) {
    while store.view().title != title {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn tokens_decide_over_every_transport() {
    test(async {
        let store = Store::<Page>::new();
        let server = serve(&store).await;
        for scheme in SCHEMES {
            let writes = Store::<Page>::new();
            let reads = Store::<Page>::new();
            // One connection carries both documents. Each document has its own token.
            let client = Client::new(Config::default());
            let writer = client
                .connect(&writes, &ticket(&server, scheme, "page", "writer"))
                .await
                .expect("let in");
            let reader = client
                .connect(&reads, ticket(&server, scheme, "page", "reader").to_string())
                .await
                .expect("let in");
            title(&writes, scheme.as_str());
            writer.flush().await.expect("taken");
            shows(&reads, scheme.as_str()).await;
            title(&reads, "not here");
            reader.live().await.expect("it reads on");
            assert_eq!(store.view().title, scheme.as_str());

            let denied = client
                .connect(&reads, ticket(&server, scheme, "minutes", "reader"))
                .await
                .expect_err("denied");
            let ConnectError::Denied { code, message, .. } = &denied else { panic!("{denied:?}") };
            assert_eq!(
                (*code, message.as_str()),
                (CloseCode::Forbidden, "`minutes` is not for readers")
            );
            let nobody = server.ticket_over(scheme, "page").expect("served");
            let denied = client.connect(&reads, &nobody).await.expect_err("denied");
            assert_eq!(denied.to_string(), "the server denies `page`: a token is needed");
            // A peer without access does not learn which documents exist.
            let other =
                ticket(&server, scheme, "page", "reader").to_string().replace("/page?", "/other?");
            assert!(matches!(
                client.connect(&reads, other.as_str()).await,
                Err(ConnectError::Denied { .. })
            ));
            let other =
                ticket(&server, scheme, "page", "writer").to_string().replace("/page?", "/other?");
            assert!(matches!(
                client.connect(&reads, other).await,
                Err(ConnectError::UnknownDocument { .. })
            ));
        }
    });
}

#[test]
fn a_denied_peer_stops_and_a_peer_told_later_reconnects() {
    test(async {
        let server = serve(&Store::<Page>::new()).await;
        let mut departures = server.departures();
        for token in ["later", "panic"] {
            let config = Config::default()
                .reconnect(Duration::from_millis(10), Duration::from_millis(20))
                .expect("valid");
            let peer = Client::new(config)
                .join(Store::<Page>::new(), ticket(&server, Scheme::Quic, "page", token))
                .expect("a ticket");
            for _ in 0..3 {
                let reason = departures.recv().await.expect("told").reason;
                assert!(matches!(reason, CloseReason::Denied(_)), "{reason}");
            }
            assert!(!matches!(*peer.status().borrow(), Status::Closed { .. }));
            peer.disconnect().await;
        }
        let peer = Peer::join(Store::<Page>::new(), server.ticket("page").expect("served"))
            .expect("a ticket");
        let CloseReason::Remote { code: CloseCode::Unauthenticated, .. } = peer.closed().await
        else {
            panic!("it stays away")
        };
        assert!(matches!(peer.flush().await, Err(LiveError::Closed(_))));
    });
}

#[test]
fn the_hook_is_called_for_connections_in_memory() {
    test(async {
        let store = Store::<Page>::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let documents = Documents::new().with("page", &store).expect("valid");
        let builder = Server::builder(documents).authorize(move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(
                request.scheme().is_none()
                    && request.address().is_none()
                    && request.token().is_none()
            );
            async { Err(Denial::forbidden("no")) }
        });
        let server = builder.bind().await.expect("a server");
        let (here, there) = memory_connections(8);
        server.serve(there);
        let transport = exostate_sync::Connection::open(&here).await.expect("open");
        let peer =
            Peer::over(Store::<Page>::new(), "page", transport, Role::Initiator, Config::default());
        let reason = peer.closed().await;
        assert_eq!(
            reason,
            CloseReason::Remote { code: CloseCode::Forbidden, message: "no".to_owned() }
        );
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    });
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

/// Connects a Yjs client that sends nothing yet. Returns the agreed subprotocol too.
async fn yjs(
    server: &Server,
    path: &str,
    offers: &[&str],
) -> Result<(Socket, Option<String>), SocketError> {
    let addr = server.local_addr(Scheme::WebSocket).expect("it listens");
    let stream = TcpStream::connect(addr).await.expect("connected");
    let mut request =
        ClientRequestBuilder::new(format!("ws://{addr}/{path}").parse().expect("valid"));
    for offer in offers {
        request = request.with_sub_protocol(*offer);
    }
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
    let agreed = response
        .headers()
        .get("sec-websocket-protocol")
        .map(|name| name.to_str().expect("text").to_owned());
    Ok((socket, agreed))
}

#[test]
fn denied_yjs_clients_are_closed_with_a_code() {
    test(async {
        let server = serve(&Store::<Page>::new()).await;
        let cases = [
            ("page", SocketCode::Library(4401), "a token is needed"),
            ("minutes?x=1&token=reader", SocketCode::Library(4403), "`minutes` is not for readers"),
            ("other?token=writer", SocketCode::Library(4404), "no document named `other`"),
            ("page?token=later", SocketCode::Again, "the users are not there yet"),
        ];
        for (path, code, why) in cases {
            let (mut socket, _) = yjs(&server, path, &[]).await.expect("upgraded");
            let Some(Ok(Message::Close(Some(close)))) = socket.next().await else {
                panic!("{path}: no close")
            };
            assert_eq!((close.code, close.reason.as_str()), (code, why));
        }
        let (mut socket, _) = yjs(&server, "page?token=reader", &[]).await.expect("upgraded");
        assert!(
            matches!(socket.next().await, Some(Ok(Message::Binary(_)))),
            "it is asked what it has"
        );
    });
}

#[test]
fn a_subprotocol_is_agreed_upon_if_the_embedder_accepts_it() {
    test(async {
        let server = serve(&Store::<Page>::new()).await;
        for (offers, agreed) in [
            (&["notes", "secret"][..], Some("notes")),
            (&["secret", "notes"], Some("notes")),
            (&[], None),
        ] {
            let (_, found) = yjs(&server, "page?token=reader", offers).await.expect("upgraded");
            assert_eq!(found.as_deref(), agreed);
        }
        let refused = yjs(&server, "page?token=reader", &["secret"]).await.expect_err("refused");
        assert!(refused.to_string().contains("400"), "{refused}");
    });
}

#[test]
fn the_hook_sees_the_request() {
    test(async {
        let documents = Documents::new().with("page", Store::<Page>::new()).expect("valid");
        let builder =
            Server::builder(documents).websocket("127.0.0.1:0".parse().expect("valid")).yjs();
        let builder =
            builder.allow_origin("https://app.example").expect("an origin").subprotocols(|_| true);
        let server = builder
            .authorize(|request| async move {
                let seen = (
                    request.header("Origin"),
                    request.header("cookie"),
                    request.header("authorization"),
                    request.query("room"),
                );
                let expected =
                    (Some("https://app.example"), Some("session=1"), Some("Bearer 2"), Some("a b"));
                let secrets = format!("{request:?}");
                match seen == expected
                    && request.subprotocols() == ["one", "two"]
                    && !secrets.contains("session")
                {
                    true => Ok(Rights::ReadWrite),
                    false => Err(Denial::forbidden(format!("{seen:?}"))),
                }
            })
            .bind()
            .await
            .expect("a server");
        let addr = server.local_addr(Scheme::WebSocket).expect("it listens");
        let stream = TcpStream::connect(addr).await.expect("connected");
        let request = ClientRequestBuilder::new(
            format!("ws://{addr}/page?room=a%20b").parse().expect("valid"),
        )
        .with_sub_protocol("one")
        .with_sub_protocol("two")
        .with_header("Origin", "https://app.example")
        .with_header("Cookie", "session=1")
        .with_header("Authorization", "Bearer 2");
        let (mut socket, _) =
            tokio_tungstenite::client_async(request, stream).await.expect("upgraded");
        let first = socket.next().await;
        assert!(matches!(first, Some(Ok(Message::Binary(_)))), "{first:?}");
    });
}
