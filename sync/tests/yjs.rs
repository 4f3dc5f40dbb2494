//! Yjs clients on a server's WebSocket port: a client made here, message by message, and the real
//! packages in Node.
//!
//! The tests with Node are ignored by default. Run `npm ci && npm run build` in `sync/tests/yjs`,
//! then `cargo test --test yjs -- --include-ignored`.
#![cfg(feature = "websocket")]

mod support;

use exostate::{Automerge, Counter, List, State, Store, Text};
use exostate_sync::{
    AccessRequest, CloseReason, Config, Denial, Documents, Peer, Presence, Rights, Scheme, Server,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use support::lasting_addr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Socket;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use yrs::sync::{AwarenessUpdate, Message, SyncMessage};
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, GetString, Map, ReadTxn, Text as _, Transact, Update};

const HANG: Duration = Duration::from_secs(90);

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Page {
    title: String,
    notes: Text,
    tags: List<String>,
    votes: Counter,
}

async fn serve(store: &Store<Page>, config: Config) -> Server {
    let documents = Documents::new()
        .with("a page", store)
        .expect("valid")
        .with("other", Store::<Page, Automerge>::new())
        .expect("valid");
    let addr = lasting_addr();
    Server::builder(documents).config(config).websocket(addr).yjs().bind().await.expect("a server")
}

fn url(server: &Server) -> String {
    format!("ws://{}", server.local_addr(Scheme::WebSocket).expect("it listens"))
}

/// A Yjs client with the parts of the protocol that the tests need.
struct Client {
    socket: WebSocketStream<TcpStream>,
    doc: Doc,
    /// The awareness states of the other clients.
    shown: std::collections::BTreeMap<u64, Option<Value>>,
    is_synced: bool,
}

impl Client {
    async fn connect(
        server: &Server,
        path: &str,
        doc: Doc,
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let stream = TcpStream::connect(server.local_addr(Scheme::WebSocket).expect("it listens"))
            .await
            .expect("connected");
        let (socket, _) =
            tokio_tungstenite::client_async(format!("{}/{path}", url(server)), stream).await?;
        let mut client = Self { socket, doc, shown: Default::default(), is_synced: false };
        let vector = client.doc.transact().state_vector();
        client.send(Message::Sync(SyncMessage::SyncStep1(vector))).await;
        Ok(client)
    }

    async fn send(&mut self, message: Message) {
        self.socket.send(Socket::Binary(message.encode_v1().into())).await.expect("sent");
    }

    /// Takes one message. Returns the close code and the reason once the connection has ended.
    async fn take(&mut self) -> Result<(), (CloseCode, String)> {
        let message = match self.socket.next().await {
            Some(Ok(Socket::Binary(bytes))) => Message::decode_v1(&bytes).expect("a message"),
            Some(Ok(Socket::Close(Some(frame)))) => {
                return Err((frame.code, frame.reason.to_string()));
            }
            Some(Ok(_)) => return Ok(()),
            other => panic!("{other:?}"),
        };
        let apply = |update: &[u8]| {
            let update = Update::decode_v1(update).expect("an update");
            self.doc.transact_mut().apply_update(update).expect("it fits");
        };
        match message {
            Message::Sync(SyncMessage::SyncStep1(vector)) => {
                let update = self.doc.transact().encode_state_as_update_v1(&vector);
                self.send(Message::Sync(SyncMessage::SyncStep2(update))).await;
            }
            Message::Sync(SyncMessage::SyncStep2(update)) => {
                apply(&update);
                self.is_synced = true;
            }
            Message::Sync(SyncMessage::Update(update)) => apply(&update),
            Message::Awareness(update) => {
                self.shown.extend(update.clients.into_iter().map(|(client, entry)| {
                    let state = serde_json::from_str(&entry.json).expect("JSON");
                    (client.get(), Some(state).filter(|state: &Value| !state.is_null()))
                }));
            }
            // The server asks whether this client knows of a client that has gone. It does not.
            Message::AwarenessQuery => {}
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    async fn until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            self.take().await.expect("it goes on");
        }
    }

    async fn edit(&mut self, edit: impl FnOnce(&mut yrs::TransactionMut<'_>)) {
        let update = {
            let mut txn = self.doc.transact_mut();
            edit(&mut txn);
            txn.encode_update_v1()
        };
        self.send(Message::Sync(SyncMessage::Update(update))).await;
    }

    fn notes(&self) -> String {
        let text = self.doc.get_or_insert_text("T:notes");
        text.get_string(&self.doc.transact())
    }

    async fn show(&mut self, client: u64, clock: u32, state: &str) {
        let entry = yrs::sync::awareness::AwarenessUpdateEntry { clock, json: state.into() };
        let update = AwarenessUpdate {
            clients: [(yrs::ClientID::new(client), entry)].into_iter().collect(),
        };
        self.send(Message::Awareness(update)).await;
    }
}

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

/// Waits until the view of a store meets a condition.
async fn shows(store: &Store<Page>, mut wanted: impl FnMut(&Page) -> bool) {
    while !wanted(&store.view()) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn both_sides_receive_earlier_and_later_edits() {
    test(async {
        let store = Store::<Page>::new();
        store.change(|page| page.notes().push_str("from Rust. ")).expect("it can be written");
        let server = serve(&store, Config::default()).await;
        let doc = Doc::with_client_id(7);
        {
            let map = doc.get_or_insert_map("state");
            let mut txn = doc.transact_mut();
            map.insert(&mut txn, "title", "a Yjs title");
        }
        let mut client =
            Client::connect(&server, "a%20page?token=1", doc).await.expect("connected");
        client.until(|client| client.is_synced && client.notes() == "from Rust. ").await;
        shows(&store, |page| page.title == "a Yjs title").await;
        store.change(|page| page.notes().push_str("And more. ")).expect("it can be written");
        client.until(|client| client.notes() == "from Rust. And more. ").await;
        let text = client.doc.get_or_insert_text("T:notes");
        client.edit(|txn| text.push(txn, "From Yjs.")).await;
        shows(&store, |page| page.notes == "from Rust. And more. From Yjs.").await;
    });
}

#[test]
fn yjs_clients_and_peers_sync_without_echo() {
    test(async {
        let store = Store::<Page>::new();
        let other = Store::<Page>::new();
        let server = serve(&store, Config::default()).await;
        let ticket = server.ticket("a page").expect("served");
        let peer = Peer::connect(&other, ticket).await.expect("connected");
        let mut one =
            Client::connect(&server, "a%20page", Doc::with_client_id(7)).await.expect("connected");
        let mut two =
            Client::connect(&server, "a%20page", Doc::with_client_id(8)).await.expect("connected");
        one.until(|client| client.is_synced).await;
        two.until(|client| client.is_synced).await;
        let text = one.doc.get_or_insert_text("T:notes");
        one.edit(|txn| text.push(txn, "one")).await;
        two.until(|client| client.notes() == "one").await;
        shows(&other, |page| page.notes == "one").await;
        other.change(|page| page.notes().push_str(", two")).expect("it can be written");
        peer.flush().await.expect("acknowledged");
        // The next document message that client one gets is the edit of the other store.
        one.until(|client| client.notes() == "one, two").await;
        two.until(|client| client.notes() == "one, two").await;
    });
}

#[test]
fn awareness_is_presence_and_ends_with_its_client() {
    test(async {
        let store = Store::<Page>::new();
        let server = serve(&store, Config::default()).await;
        let presence: Presence<Value> = server.presence("a page").expect("served");
        let mut changes = presence.watch();
        let mut one =
            Client::connect(&server, "a%20page", Doc::with_client_id(7)).await.expect("connected");
        let mut two =
            Client::connect(&server, "a%20page", Doc::with_client_id(8)).await.expect("connected");
        one.show(7, 1, r#"{"name":"one"}"#).await;
        let came = changes.next().await.expect("told");
        assert_eq!((came.id, came.state, came.joined), (7, Some(json!({"name": "one"})), true));
        two.until(|client| client.shown.get(&7) == Some(&Some(json!({"name": "one"})))).await;
        presence.set(&json!("the server")).expect("short");
        one.until(|client| client.shown.values().any(|state| *state == Some(json!("the server"))))
            .await;
        // Client two cannot change the state of client one.
        two.show(7, 99, "null").await;
        two.show(8, 1, r#"{"name":"two"}"#).await;
        let came = changes.next().await.expect("told");
        assert_eq!(came.id, 8);
        assert_eq!(presence.others().len(), 2);
        drop(one);
        let left = changes.next().await.expect("told");
        assert_eq!((left.id, left.state), (7, None));
        two.until(|client| client.shown.get(&7) == Some(&None)).await;
        two.send(Message::AwarenessQuery).await;
    });
}

#[test]
fn unknown_and_non_yjs_documents_are_refused() {
    test(async {
        let server = serve(&Store::<Page>::new(), Config::default()).await;
        for path in ["", "nothing", "other"] {
            let refused = Client::connect(&server, path, Doc::new()).await.err().expect("refused");
            assert!(refused.to_string().contains("404"), "{refused}");
        }
    });
}

#[test]
fn a_malformed_client_is_closed_with_the_reason() {
    test(async {
        let store = Store::<Page>::new();
        let server = serve(&store, Config::default()).await;
        let mut departures = server.departures();
        // The update in the second message is refused by the replica. The other messages are
        // malformed.
        let broken: [(&[u8], bool); 4] = [
            (&[0, 2, 200, 1, 5], false),
            (&[0, 2, 3, 9, 9, 9], true),
            (&[1, 5, 1, 1, 1, 1, b'{'], false),
            (&[255; 12], false),
        ];
        for (bytes, refused) in broken {
            let mut client =
                Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
            client.socket.send(Socket::Binary(bytes.to_vec().into())).await.expect("sent");
            let end = loop {
                if let Err(end) = client.take().await {
                    break end;
                }
            };
            assert_eq!(end.0, CloseCode::Policy, "{end:?}");
            assert!(!end.1.is_empty());
            let reason = departures.recv().await.expect("told").reason;
            let expected = match &reason {
                CloseReason::Refused(_) => refused,
                CloseReason::Protocol(_) | CloseReason::YjsClient { .. } => !refused,
                _ => false,
            };
            assert!(expected, "{bytes:?}: {reason:?}");
        }
        let mut client =
            Client::connect(&server, "a%20page", Doc::with_client_id(7)).await.expect("connected");
        let text = client.doc.get_or_insert_text("T:notes");
        client.edit(|txn| text.push(txn, "unharmed")).await;
        shows(&store, |page| page.notes == "unharmed").await;
    });
}

#[test]
fn a_read_only_document_can_be_read() {
    test(async {
        let store = Store::<Page>::new();
        store.change(|page| page.notes().push_str("read me")).expect("it can be written");
        let server = serve(&store, Config::default().read_only()).await;
        let mut client = Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
        client.until(|client| client.notes() == "read me").await;
        let text = client.doc.get_or_insert_text("T:notes");
        client.edit(|txn| text.push(txn, "!")).await;
        let end = loop {
            if let Err(end) = client.take().await {
                break end;
            }
        };
        assert_eq!(end, (CloseCode::Policy, "the document is read-only".to_owned()));
        assert_eq!(store.view().notes.to_string(), "read me");
    });
}

/// The message with which a Yjs client returns: the updates that the server lacks, and all
/// deletions.
fn step_2(doc: &Doc, vector: &yrs::StateVector) -> Message {
    Message::Sync(SyncMessage::SyncStep2(doc.transact().encode_state_as_update_v1(vector)))
}

#[test]
fn a_read_only_client_may_send_known_updates() {
    test(async {
        let store = Store::<Page>::new();
        store
            .change(|page| {
                page.notes().push_str("read me, all of you")?;
                page.title().set("one")?;
                page.title().set("two")?;
                page.notes().delete(4..7)?;
                page.tags().extend(["a".to_owned(), "b".to_owned()])?;
                page.tags().remove(0)
            })
            .expect("it can be written");
        let server = serve(&store, Config::default().read_only()).await;
        let mut client = Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
        client.until(|client| client.is_synced).await;
        let doc = client.doc.clone();
        for _ in 0..3 {
            let mut client =
                Client::connect(&server, "a%20page", doc.clone()).await.expect("connected");
            client.until(|client| client.is_synced).await;
            // Sends the whole document again.
            client.send(step_2(&doc, &Default::default())).await;
            client.is_synced = false;
            client.send(Message::Sync(SyncMessage::SyncStep1(Default::default()))).await;
            client.until(|client| client.is_synced).await;
            store.change(|page| page.notes().delete(0..1)).expect("it can be written");
        }
        // A deletion is a change, although it adds no op.
        let text = doc.get_or_insert_text("T:notes");
        client.edit(|txn| text.remove_range(txn, 8, 1)).await;
        assert_eq!(
            end_of(&mut client).await,
            (CloseCode::Policy, "the document is read-only".to_owned())
        );
    });
}

/// Reads until the server closes the connection.
async fn end_of(client: &mut Client) -> (CloseCode, String) {
    loop {
        if let Err(end) = client.take().await {
            return end;
        }
    }
}

#[test]
fn a_silent_client_is_closed() {
    test(async {
        let config = Config::default()
            .times(Duration::from_millis(100), Duration::from_millis(400))
            .expect("valid");
        let server = serve(&Store::<Page>::new(), config).await;
        let mut departures = server.departures();
        // A client that reads also answers pings, so it is not closed.
        let mut reads = Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
        let stays = tokio::time::timeout(Duration::from_millis(1_500), end_of(&mut reads));
        let sleeps = Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
        let (stayed, departure) = tokio::join!(stays, departures.recv());
        assert!(stayed.is_err(), "{stayed:?}");
        let departure = departure.expect("told").to_string();
        assert!(departure.ends_with("nothing heard from the peer for 400ms"), "{departure}");
        let mut sleeps = sleeps;
        assert_eq!(
            end_of(&mut sleeps).await,
            (CloseCode::Again, "nothing heard from the client for 400ms".to_owned())
        );
    });
}

#[test]
fn a_large_message_may_come_slowly() {
    test(async {
        let store = Store::<Page>::new();
        let config = Config::default()
            .times(Duration::from_millis(100), Duration::from_millis(400))
            .expect("valid");
        let server = serve(&store, config).await;
        let mut client =
            Client::connect(&server, "a%20page", Doc::with_client_id(7)).await.expect("connected");
        let text = client.doc.get_or_insert_text("T:notes");
        let update = {
            let mut txn = client.doc.transact_mut();
            text.push(&mut txn, &"slow".repeat(1_000));
            txn.encode_update_v1()
        };
        let message = Message::Sync(SyncMessage::Update(update)).encode_v1();
        // A hand-made frame, masked with zeros. Its parts arrive at intervals.
        let length = u16::try_from(message.len()).expect("short");
        let frame = [&[0x82, 0x80 | 126][..], &length.to_be_bytes(), &[0; 4], &message].concat();
        let socket = client.socket.get_mut();
        for part in frame.chunks(frame.len() / 10) {
            socket.write_all(part).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        shows(&store, |page| page.notes.to_string().len() == 4_000).await;
    });
}

#[test]
fn large_offline_edits_are_imported_in_pieces() {
    test(async {
        let store = Store::<Page>::new();
        let other = Store::<Page>::new();
        let server = serve(&store, Config::default()).await;
        let peer = Peer::connect(&other, server.ticket("a page").expect("served"))
            .await
            .expect("connected");
        let mut reader =
            Client::connect(&server, "a%20page", Doc::with_client_id(8)).await.expect("connected");
        reader.until(|client| client.is_synced).await;
        let doc = Doc::with_client_id(7);
        let text = doc.get_or_insert_text("T:notes");
        for part in 0..6 {
            text.insert(&mut doc.transact_mut(), 0, &format!("{part}{}", "x".repeat(1 << 20)));
        }
        let mut client = Client::connect(&server, "a%20page", doc).await.expect("connected");
        let long = |text: &str| text.len() == 6 + (6 << 20) && text.starts_with("5x");
        client.until(|client| client.is_synced).await;
        // The client continues to read.
        let goes_on = end_of(&mut client);
        tokio::select! {
            end = goes_on => panic!("{end:?}"),
            () = async {
                tokio::join!(
                    reader.until(|client| long(&client.notes())),
                    shows(&other, |page| long(&page.notes.to_string()))
                );
            } => {}
        }
        assert!(long(&store.view().notes.to_string()));
        drop(peer);
    });
}

#[test]
fn messages_that_are_too_large_close_the_client() {
    test(async {
        let config = Config::default().yjs_message_bytes_max(5 << 20).expect("valid");
        let server = serve(&Store::<Page>::new(), config).await;
        let doc = Doc::with_client_id(7);
        doc.get_or_insert_text("T:notes").push(&mut doc.transact_mut(), &"x".repeat(6 << 20));
        let mut client = Client::connect(&server, "a%20page", doc).await.expect("connected");
        let (code, why) = end_of(&mut client).await;
        assert_eq!(code, CloseCode::Size, "{why}");
        assert!(why.contains("6291"), "{why}");
        // The client shows a state to the others.
        let mut client =
            Client::connect(&server, "a%20page", Doc::with_client_id(8)).await.expect("connected");
        client.show(8, 1, &format!("{:?}", "x".repeat(4_094))).await;
        client.show(8, 2, &format!("{:?}", "x".repeat(4_095))).await;
        let (code, why) = end_of(&mut client).await;
        assert_eq!(
            (code, why.as_str()),
            (
                CloseCode::Size,
                "a participant's awareness state of 4097 bytes is over the limit of 4096"
            )
        );
    });
}

#[test]
fn large_documents_are_sent_in_pieces_and_a_shutdown_is_reported() {
    test(async {
        let store = Store::<Page>::new();
        let long = "x".repeat(3 << 20);
        store.change(|page| page.notes().push_str(&long)).expect("it can be written");
        let server = serve(&store, Config::default()).await;
        let mut client = Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
        client.until(|client| client.is_synced).await;
        assert_eq!(client.notes().len(), long.len());
        let told = tokio::spawn(async move {
            loop {
                if let Err(end) = client.take().await {
                    return end.0;
                }
            }
        });
        server.shutdown().await;
        assert_eq!(told.await.expect("no panic"), CloseCode::Restart);
    });
}

#[test]
fn a_server_that_only_reads_sends_no_edits() {
    test(async {
        let store = Store::<Page>::new();
        store.change(|page| page.notes().push_str("for nobody else")).expect("it can be written");
        let server = serve(&store, Config::default().only_reads()).await;
        let mut client =
            Client::connect(&server, "a%20page", Doc::with_client_id(7)).await.expect("connected");
        client.until(|client| client.is_synced).await;
        let text = client.doc.get_or_insert_text("T:notes");
        client.edit(|txn| text.push(txn, "read")).await;
        shows(&store, |page| page.notes.to_string().contains("read")).await;
        store.change(|page| page.notes().push_str(", and this")).expect("it can be written");
        client.show(7, 1, "1").await;
        // The server still answers.
        client.is_synced = false;
        client.send(Message::Sync(SyncMessage::SyncStep1(Default::default()))).await;
        client.until(|client| client.is_synced).await;
        assert_eq!(client.notes(), "read");
    });
}

#[test]
fn a_state_vector_of_more_clients_than_a_version_may_name_is_refused() {
    test(async {
        let server = serve(&Store::<Page>::new(), Config::default()).await;
        let mut departures = server.departures();
        let mut client = Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
        // A state vector of many clients, each with clock 1. It is larger than a version in a frame
        // of 2 MiB can be.
        let number = |number: u64| {
            let mut bytes = Vec::new();
            yrs::encoding::varint::VarInt::write(&number, &mut bytes);
            bytes
        };
        let clients = (0..200_000).flat_map(|client| [number(client), number(1)].concat());
        let vector: Vec<u8> = number(200_000).into_iter().chain(clients).collect();
        let message = [number(0), number(0), number(vector.len() as u64), vector].concat();
        client.socket.send(Socket::Binary(message.into())).await.expect("sent");
        let end = loop {
            if let Err(end) = client.take().await {
                break end;
            }
        };
        assert_eq!(end.0, CloseCode::Policy, "{end:?}");
        let departure = departures.recv().await.expect("told");
        assert!(matches!(departure.reason, CloseReason::YjsClient { .. }), "{departure}");
        let departure = departure.to_string();
        assert!(
            departure.ends_with("a state vector names 200000 clients, more than 174762"),
            "{departure}"
        );
    });
}

#[test]
fn a_client_that_does_not_read_is_too_slow() {
    test(async {
        let store = Store::<Page>::new();
        store
            .change(|page| page.notes().push_str(&"x".repeat(3 << 20)))
            .expect("it can be written");
        let config = Config::default()
            .times(Duration::from_millis(100), Duration::from_millis(400))
            .expect("valid");
        let server = serve(&store, config).await;
        let mut departures = server.departures();
        let mut client = Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
        for _ in 0..32 {
            client.send(Message::Sync(SyncMessage::SyncStep1(Default::default()))).await;
        }
        let reason = departures.recv().await.expect("told").reason;
        assert_eq!(reason, CloseReason::TooSlow);
    });
}

#[test]
fn a_client_that_does_not_read_does_not_block_a_shutdown() {
    test(async {
        let store = Store::<Page>::new();
        store
            .change(|page| page.notes().push_str(&"x".repeat(3 << 20)))
            .expect("it can be written");
        // The idle time-out is longer than the time limit of the test.
        let config = Config::default().times(Duration::from_secs(5), HANG * 2).expect("valid");
        let server = serve(&store, config).await;
        let mut client = Client::connect(&server, "a%20page", Doc::new()).await.expect("connected");
        for _ in 0..32 {
            client.send(Message::Sync(SyncMessage::SyncStep1(Default::default()))).await;
        }
        // The server has begun to answer.
        client.until(|client| client.is_synced).await;
        server.shutdown().await;
    });
}

/// A Node process with an unmodified provider of y-websocket.
struct Node {
    _child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Node {
    async fn start(server: &Server, client: u64) -> Self {
        Self::start_with(server, json!({"client": client})).await
    }

    async fn start_with(server: &Server, with: Value) -> Self {
        let provider = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/yjs/build/provider.js");
        let mut command = Command::new("node");
        command.arg(provider).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child =
            command.spawn().expect("Node, and `npm ci && npm run build` in sync/tests/yjs");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut node = Self { _child: child, requests, answers };
        let mut connect = json!({"op": "connect", "url": url(server), "room": "a page"});
        connect
            .as_object_mut()
            .expect("an object")
            .extend(with.as_object().expect("an object").clone());
        node.ask(connect).await;
        node
    }

    async fn ask(&mut self, request: Value) -> Value {
        self.requests.write_all(format!("{request}\n").as_bytes()).await.expect("it runs");
        let answer = self.answers.next_line().await.expect("it runs").expect("an answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{request}: {answer}");
        answer
    }

    async fn synced(&mut self) {
        self.ask(json!({"op": "synced", "timeout_ms": 60_000})).await;
    }

    async fn sees(&mut self, part: &str) {
        self.ask(json!({"op": "wait", "text": "T:notes", "contains": part, "timeout_ms": 60_000}))
            .await;
    }
}

#[test]
#[ignore = "needs Node and its packages"]
fn a_provider_in_node_edits_together_with_a_store() {
    test(async {
        let store = Store::<Page>::new();
        store.change(|page| page.notes().push_str("Rust was first. ")).expect("it can be written");
        let server = serve(&store, Config::default()).await;
        let mut one = Node::start(&server, 7).await;
        let mut two = Node::start(&server, 8).await;
        one.synced().await;
        two.synced().await;
        one.sees("Rust was first. ").await;
        // Text, map and array go from Node to Rust and to the other Node client.
        one.ask(json!({"op": "text", "name": "T:notes", "index": 0, "insert": "Node too. "})).await;
        one.ask(json!({"op": "set", "key": "title", "value": "set in Node"})).await;
        one.ask(json!({"op": "push", "name": "L:tags", "value": "red"})).await;
        shows(&store, |page| {
            page.notes == "Node too. Rust was first. "
                && page.title == "set in Node"
                && page.tags.iter().eq(["red"])
        })
        .await;
        two.sees("Node too. ").await;
        // Changes go from Rust to Node.
        store
            .change(|page| {
                page.title().set("set in Rust")?;
                page.tags().push("blue")?;
                page.notes().push_str("The end.")
            })
            .expect("it can be written");
        for node in [&mut one, &mut two] {
            node.sees("The end.").await;
            node.ask(json!({
                "op": "wait_register", "key": "title", "value": "set in Rust", "timeout_ms": 60_000
            }))
            .await;
        }
        // A client goes offline and returns, with edits on both sides.
        one.ask(json!({"op": "disconnect"})).await;
        one.ask(json!({"op": "text", "name": "T:notes", "index": 0, "insert": "(offline) "})).await;
        store.change(|page| page.notes().push_str(" And on.")).expect("it can be written");
        one.ask(json!({"op": "reconnect"})).await;
        one.synced().await;
        one.sees("And on.").await;
        two.sees("(offline) ").await;
        shows(&store, |page| page.notes == "(offline) Node too. Rust was first. The end. And on.")
            .await;
        let left = one.ask(json!({"op": "json"})).await;
        let right = two.ask(json!({"op": "json"})).await;
        assert_eq!(left, right);
        // A server stops and starts again.
        let addr = server.local_addr(Scheme::WebSocket).expect("it listens");
        server.shutdown().await;
        two.ask(
            json!({"op": "text", "name": "T:notes", "index": 0, "insert": "[without a server] "}),
        )
        .await;
        let documents = Documents::new().with("a page", &store).expect("valid");
        let _server =
            Server::builder(documents).websocket(addr).yjs().bind().await.expect("a server");
        shows(&store, |page| page.notes.to_string().starts_with("[without a server] ")).await;
    });
}

#[test]
#[ignore = "needs Node and its packages"]
fn awareness_goes_both_ways_with_a_provider_in_node() {
    test(async {
        let store = Store::<Page>::new();
        let server = serve(&store, Config::default()).await;
        let presence: Presence<Value> = server.presence("a page").expect("served");
        let mut changes = presence.watch();
        presence.set(&json!({"name": "Rust"})).expect("short");
        let mut node = Node::start(&server, 7).await;
        node.synced().await;
        node.ask(json!({"op": "wait_awareness", "count": 1, "timeout_ms": 60_000})).await;
        let others = node.ask(json!({"op": "awareness"})).await;
        let states: Vec<&Value> =
            others["clients"].as_object().expect("clients").values().collect();
        assert_eq!(states, [&json!({"name": "Rust"})]);
        node.ask(json!({"op": "awareness_set", "state": {"name": "Node", "cursor": 3}})).await;
        let named = loop {
            let change = changes.next().await.expect("told");
            assert_eq!(change.id, 7);
            // The state is empty until the client sets its name.
            if change.state.as_ref().is_some_and(|state| state.get("name").is_some()) {
                break change;
            }
        };
        assert_eq!(named.state, Some(json!({"name": "Node", "cursor": 3})));
        node.ask(json!({"op": "close"})).await;
        assert_eq!(changes.next().await.expect("told").state, None);
        assert!(presence.others().is_empty());
    });
}

#[test]
#[ignore = "needs Node and its packages"]
fn a_provider_in_node_comes_back_to_a_document_that_it_may_only_read() {
    test(async {
        let store = Store::<Page>::new();
        store
            .change(|page| page.notes().push_str("for all of you to read."))
            .expect("it can be written");
        let writes = serve(&store, Config::default()).await;
        let mut node = Node::start(&writes, 7).await;
        node.synced().await;
        // The client makes deletions, marks and map entries of its own, and gets those of others.
        node.ask(json!({"op": "text", "name": "T:notes", "index": 0, "insert": "now "})).await;
        node.ask(json!({"op": "delete", "name": "T:notes", "index": 2, "length": 5})).await;
        node.ask(json!({"op": "mark", "name": "T:notes", "index": 1, "length": 5, "mark": "bold"}))
            .await;
        node.ask(json!({"op": "set", "key": "title", "value": "one"})).await;
        node.ask(json!({"op": "set", "key": "title", "value": "two"})).await;
        node.ask(json!({"op": "push", "name": "L:tags", "value": "red"})).await;
        shows(&store, |page| page.tags.iter().eq(["red"])).await;
        store.change(|page| page.tags().remove(0)).expect("it can be written");
        node.ask(json!({"op": "disconnect"})).await;
        let addr = writes.local_addr(Scheme::WebSocket).expect("it listens");
        writes.shutdown().await;
        let documents = Documents::new().with("a page", &store).expect("valid");
        let reads =
            Server::builder(documents).config(Config::default().read_only()).websocket(addr).yjs();
        let _reads = reads.bind().await.expect("a server");
        for round in 0..3 {
            node.ask(json!({"op": "reconnect"})).await;
            node.synced().await;
            store
                .change(|page| page.notes().push_str(&format!(" Round {round}.")))
                .expect("it can be written");
            node.sees(&format!("Round {round}.")).await;
            node.ask(json!({"op": "disconnect"})).await;
            store.change(|page| page.notes().delete(0..1)).expect("it can be written");
        }
        assert_eq!(node.ask(json!({"op": "closes"})).await["closes"], json!([]));
    });
}

#[test]
#[ignore = "needs Node and its packages"]
fn a_provider_in_node_sends_offline_edits_or_is_refused() {
    test(async {
        let store = Store::<Page>::new();
        let server = serve(&store, Config::default()).await;
        let mut node = Node::start(&server, 7).await;
        node.synced().await;
        node.ask(json!({"op": "disconnect"})).await;
        node.ask(json!({"op": "type", "name": "T:notes", "length": 6 << 20})).await;
        node.ask(json!({"op": "reconnect"})).await;
        shows(&store, |page| page.notes.to_string().len() == 6 << 20).await;
        assert_eq!(node.ask(json!({"op": "closes"})).await["closes"], json!([]));
        node.ask(json!({"op": "disconnect"})).await;
        node.ask(json!({"op": "type", "name": "T:notes", "length": 17 << 20})).await;
        node.ask(json!({"op": "reconnect"})).await;
        node.ask(json!({"op": "wait_closed", "count": 1, "timeout_ms": 60_000})).await;
        let close = node.ask(json!({"op": "closes"})).await["closes"][0].clone();
        assert_eq!(close["code"], json!(1009), "{close}");
        assert!(
            close["reason"].as_str().expect("a reason").contains("is over the limit"),
            "{close}"
        );
        assert!(
            close["reason"].as_str().is_some_and(|why| why.contains(&(16 << 20).to_string())),
            "{close}"
        );
        // A second client shows a state that is too large.
        let mut shows_off = Node::start(&server, 8).await;
        shows_off.synced().await;
        shows_off.ask(json!({"op": "awareness_set", "state": {"avatar": "x".repeat(5_000)}})).await;
        shows_off.ask(json!({"op": "wait_closed", "count": 1, "timeout_ms": 60_000})).await;
        let close = shows_off.ask(json!({"op": "closes"})).await["closes"][0].clone();
        assert_eq!(close["code"], json!(1009), "{close}");
        assert!(close["reason"].as_str().expect("a reason").contains("awareness state"), "{close}");
    });
}

#[test]
#[ignore = "needs Node and its packages"]
fn a_provider_in_node_authenticates_with_a_subprotocol_and_a_parameter() {
    test(async {
        let store = Store::<Page>::new();
        store.change(|page| page.notes().push_str("for those who may")).expect("it can be written");
        let documents = Documents::new().with("a page", &store).expect("valid");
        let authorize = |request: AccessRequest| async move {
            // Stands for a look-up, for example in a database.
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(
                request.is_yjs()
                    && request.address().is_some()
                    && request.scheme() == Some(Scheme::WebSocket)
            );
            assert_eq!(
                (request.document(), request.subprotocols().first().map(String::as_str)),
                ("a page", Some("notes"))
            );
            match request.token() {
                Some("writer & co") => Ok(Rights::ReadWrite),
                Some("reader") => Ok(Rights::ReadOnly),
                Some("stranger") => Err(Denial::forbidden("this page is not for you")),
                _ => Err(Denial::unauthenticated("a token is needed: ä".repeat(20))),
            }
        };
        let builder =
            Server::builder(documents).websocket("127.0.0.1:0".parse().expect("valid")).yjs();
        let server = builder
            .subprotocols(|name| name == "notes")
            .authorize(authorize)
            .bind()
            .await
            .expect("a server");
        let with = |client: u64, token: &str| {
            json!({
                "client": client,
                "protocols": ["notes", "extra"],
                "params": {"token": token}
            })
        };
        let mut writer = Node::start_with(&server, with(7, "writer & co")).await;
        let mut reader = Node::start_with(&server, with(8, "reader")).await;
        writer.synced().await;
        reader.synced().await;
        writer
            .ask(json!({"op": "text", "name": "T:notes", "index": 0, "insert": "written "}))
            .await;
        reader.sees("written for those who may").await;
        reader.ask(json!({"op": "text", "name": "T:notes", "index": 0, "insert": "not "})).await;
        reader.ask(json!({"op": "wait_closed", "count": 1, "timeout_ms": 60_000})).await;
        assert_eq!(store.view().notes.to_string(), "written for those who may");
        for (token, code, why) in
            [("stranger", 4403, "this page is not for you"), ("", 4401, "a token is needed: ä")]
        {
            let mut denied = Node::start_with(&server, with(9, token)).await;
            denied.ask(json!({"op": "wait_closed", "count": 1, "timeout_ms": 60_000})).await;
            let said = denied.ask(json!({"op": "closes"})).await;
            let close = &said["closes"][0];
            assert!(
                close["code"] == json!(code)
                    && close["reason"].as_str().is_some_and(|reason| reason.starts_with(why)),
                "{said}"
            );
            // The provider does not connect again.
            assert_eq!(said["connects"], json!(false));
        }
    });
}
