//! Hostile peers: the server names each one with the reason. The honest peers stay equal and keep
//! everything that they wrote.

#[path = "../../tests/support/one_update.rs"]
mod one_update;
mod support;

#[path = "support/scene.rs"]
mod scene;

use exostate::{Automerge, Backend, Digest, Limits, Options, ReplicaId, Store, Version, Yrs};
use exostate_sync::{
    CloseReason, Config, Documents, FrameSink, FrameSource, Origin, Peer, Refusal, Repair, Replica,
    Role, Server, Status, Transport, UpdateListener, UpdateSubscription,
};
use one_update::OneUpdate;
use scene::{Board, STRANGER, Scene, connect, hello, test, until_closed};
use std::sync::Arc;
use std::time::Duration;
use support::{framed, varint};

/// Frames and updates that are malformed, or far too large.
#[test]
fn malformed_frames_are_refused_and_the_peer_is_named() {
    test(async {
        let mut scene = Scene::<Yrs>::new(Config::default(), |builder| builder).await;
        let zeros = vec![0; 512 * 1024 * 1024];
        let mut deflated =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut deflated, &zeros).expect("memory is enough");
        drop(zeros);
        // 512 MiB of zeros, compressed. The frame claims 1,000 bytes.
        let bomb =
            [vec![1, 1], varint(1_000), deflated.finish().expect("memory is enough")].concat();
        let many_clients = [varint(u64::from(u32::MAX)), vec![0; 100]].concat();
        let cases: [(&str, u8, Vec<u8>); 8] = [
            ("no frame", 2, vec![1, 2, 3]),
            ("a version that is none", 3, vec![1, 0xff, 0xff, 0xff]),
            ("an update that is none", 4, [&[1, 0][..], &many_clients].concat()),
            ("an update without a body", 4, vec![1]),
            ("an update compressed to far less", 4, bomb),
            (
                "an update that says to be huge",
                4,
                [vec![1, 1], varint(1 << 40), vec![0; 20]].concat(),
            ),
            ("a fragment of something huge", 5, [vec![1], varint(u64::MAX), vec![0; 20]].concat()),
            ("presence that is no JSON", 13, vec![5, 1, 3, b'{', b'{', b'{']),
        ];
        for (what, kind, payload) in cases {
            let (mut sink, mut source) = scene.untrusted().await;
            sink.send(framed(kind, &payload)).await.expect("the server listens");
            assert!(until_closed(&mut source).await.is_some(), "{what}: nothing was said");
            let reason = scene.departure().await;
            assert!(
                matches!(reason, CloseReason::Protocol(_) | CloseReason::Refused { .. }),
                "{what}: {reason}"
            );
            scene.edit_and_wait_in_sync().await;
        }
        let (mut sink, mut source) = scene.untrusted().await;
        let mut broken = framed(7, b"");
        broken[3] ^= 1;
        sink.send(broken).await.expect("the server listens");
        assert!(until_closed(&mut source).await.is_some());
        let reason = scene.departure().await;
        assert!(reason.to_string().contains("it was changed on its way"), "{reason}");
        scene.edit_and_wait_in_sync().await;
    });
}

fn impatient() -> Config {
    Config::default().times(Duration::from_millis(50), Duration::from_millis(300)).expect("valid")
}

#[test]
fn a_peer_that_does_not_send_announced_updates_is_stalled() {
    test(async {
        let mut scene = Scene::<Yrs>::new(impatient(), |builder| builder).await;
        let (mut sink, _source) = scene.untrusted().await;
        // The stranger announces ten updates and sends half of a fragmented one. After that it
        // sends only keep-alive frames.
        let answer = [&[0][..], &[1, 10], &varint(1_000), &[7; 32]].concat();
        sink.send(framed(11, &answer)).await.expect("the server listens");
        sink.send(framed(5, &[&[1][..], &varint(100), &[0], &[0; 50]].concat()))
            .await
            .expect("the server listens");
        let pinging = async {
            while sink.send(framed(7, b"")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::future::pending::<()>().await;
        };
        let reason = tokio::select! {
            reason = scene.departure() => reason,
            () = pinging => unreachable!(),
        };
        assert!(matches!(reason, CloseReason::Stalled { .. }), "{reason}");
        scene.edit_and_wait_in_sync().await;
    });
}

/// How a replica lies about its version.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// The version names ops that nobody has, more than the liar ever sends.
    More,
    /// The version is always empty, even after updates have arrived.
    Nothing,
    /// The version changes each time.
    Another,
    /// The version is the true one, but the digest is another one.
    Digest,
}

/// A store that lies about its version or its digest.
struct Liar<B: Backend> {
    store: Store<Board, B>,
    other: Store<Board, B>,
    lie: Lie,
}

impl<B: Backend> Replica for Liar<B> {
    fn backend(&self) -> &'static str {
        B::NAME
    }

    fn replica(&self) -> ReplicaId {
        ReplicaId::from_bits(STRANGER)
    }

    fn version(&self) -> Version {
        match self.lie {
            Lie::More => self.other.version(),
            Lie::Nothing => Store::<Board, B>::new().version(),
            Lie::Another => {
                self.other.change(|board| board.votes().add(1)).expect("it can be written");
                self.other.version()
            }
            Lie::Digest => self.store.version(),
        }
    }

    fn updates_since(&self, _: &Version) -> Result<Vec<Vec<u8>>, Refusal> {
        Ok(Vec::new())
    }

    fn import(&self, updates: &[&[u8]], part: bool) -> Result<bool, Refusal> {
        Replica::import(&self.store.document(), updates, part)
    }

    fn digest(&self) -> Digest {
        let other = Digest::from_bytes([0xff; 16]);
        if matches!(self.lie, Lie::Digest) { other } else { self.store.digest() }
    }

    fn lineage(&self) -> u64 {
        // The lineage is the one that all other replicas would take over.
        if matches!(self.lie, Lie::Digest) { u64::MAX } else { 0 }
    }

    fn repair(&self) -> Option<Box<dyn Repair>> {
        None
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription {
        Replica::on_update(
            &self.store.document(),
            Box::new(move |update, _| listener(update, Origin::Remote)),
        )
    }

    fn has_pending(&self) -> bool {
        false
    }
}

async fn false_version<B: Backend>() {
    for lie in [Lie::More, Lie::Nothing, Lie::Another, Lie::Digest] {
        let mut scene = Scene::<B>::new(impatient(), |builder| builder).await;
        let liar: Liar<B> = Liar { store: Store::new(), other: Store::new(), lie };
        liar.other.change(|board| board.notes().push_str("never seen")).expect("it can be written");
        let peer = Peer::over(
            Arc::new(liar),
            "d",
            connect(&scene.server).await,
            Role::Initiator,
            impatient(),
        );
        for _ in 0..20 {
            scene.edit_and_wait_in_sync().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let told = format!("{:?}", peer.status().borrow().clone());
        peer.disconnect().await;
        let reason = scene.departure().await;
        assert!(
            !scene.stores[0].view().notes.to_string().contains("never"),
            "{lie:?}: {told}, {reason}"
        );
        scene.edit_and_wait_in_sync().await;
    }
}

#[test]
fn a_false_version_does_not_affect_others_on_yrs() {
    test(false_version::<Yrs>());
}

#[test]
fn a_false_version_does_not_affect_others_on_automerge() {
    test(false_version::<Automerge>());
}

/// A hostile peer writes under the replica id of an honest peer, with other content. The honest
/// peer continues to write.
async fn id_used_twice<B: Backend>() {
    let mut scene = Scene::<B>::new(impatient(), |builder| builder).await;
    let victim = scene.stores[1].replica();
    let options = Options::new().with_replica(ReplicaId::from_bits(victim.get()));
    let thief = Store::<Board, B>::with_options(options);
    for text in ["all ", "your ", "words"] {
        thief.change(|board| board.notes().push_str(text)).expect("it can be written");
    }
    let peer = Peer::over(&thief, "d", connect(&scene.server).await, Role::Initiator, impatient());
    let mut status = peer.status();
    for round in 0..5 {
        scene.edit_and_wait_in_sync().await;
        // The change fails once the thief is refused for good.
        let _ = thief.change(|board| board.notes().push_str(&format!("({round})")));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.edit_and_wait_in_sync().await;
    // The side that yields gets a new replica id, and then shows the same document as all others.
    let in_sync = async {
        while thief.digest() != scene.stores[0].digest() {
            let over = matches!(
                &*status.borrow_and_update(),
                Status::Closed { .. } | Status::Unrepaired { .. }
            );
            if over {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_ne!(thief.replica(), victim);
    };
    in_sync.await;
    peer.disconnect().await;
    scene.edit_and_wait_in_sync().await;
}

#[test]
fn a_peer_with_the_id_of_another_gets_a_new_id_on_yrs() {
    test(id_used_twice::<Yrs>());
}

#[test]
fn a_peer_with_the_id_of_another_gets_a_new_id_on_automerge() {
    test(id_used_twice::<Automerge>());
}

#[test]
fn a_peer_without_hello_has_no_replica_in_the_departure() {
    test(async {
        let mut scene = Scene::<Yrs>::new(Config::default(), |builder| builder).await;
        let (mut sink, mut source) = connect(&scene.server).await.split();
        sink.send(framed(7, b"")).await.expect("the server listens");
        assert!(until_closed(&mut source).await.is_some());
        let departure = scene.departures.recv().await.expect("told");
        assert_eq!((departure.replica, departure.document, departure.address), (None, None, None));
        assert!(departure.reason.to_string().contains("expected a hello"), "{}", departure.reason);
        assert!(matches!(source.recv().await, Ok(None)));
    });
}

/// An update that depends on one that nobody has.
fn update_with_missing_dependency() -> Vec<u8> {
    let store = Store::<Board>::new();
    store.change(|board| board.notes().push_str("lost")).expect("it can be written");
    let version = store.version();
    store.change(|board| board.notes().push_str(" and behind it")).expect("it can be written");
    store.update_since(&version).expect("its own version")
}

#[test]
fn a_read_only_document_is_not_changed_by_a_conflict() {
    test(async {
        let store = Store::<Board>::new();
        store.apply(&update_with_missing_dependency()).expect("it waits");
        let documents = Documents::new().with("d", &store).expect("valid");
        let server = Server::builder(documents)
            .config(Config::default().read_only())
            .bind()
            .await
            .expect("a server");
        let (mut sink, mut source) = connect(&server).await.split();
        sink.send(hello("yrs", 2)).await.expect("the server listens");
        let claim = [&[0x7f; 8][..], &[0; 16]].concat();
        sink.send(framed(12, &claim)).await.expect("the server listens");
        // The server sends its own claim, by which the reader could repair itself.
        while let Ok(Some(frame)) = source.recv().await
            && frame[0] != 12
        {}
        sink.send(framed(7, b"")).await.expect("the server listens");
        while let Ok(Some(frame)) = source.recv().await
            && frame[0] != 8
        {}
        assert_eq!((store.document().lineage(), store.pending().updates), (0, 1));
        let past = [&[0xff; 8][..], &[0; 16]].concat();
        sink.send(framed(12, &past)).await.expect("the server listens");
        let close = until_closed(&mut source).await.expect("it says why");
        assert!(String::from_utf8_lossy(&close).contains("a lineage of at most 63 bits"));
    });
}

#[test]
fn a_peer_refused_because_of_others_may_reconnect() {
    test(async {
        let options = Options::new().with_limits(Limits::untrusted().with_pending_updates_max(1));
        let store = Store::<Board>::with_options(options);
        store.apply(&update_with_missing_dependency()).expect("it waits");
        let server = Server::builder(Documents::new().with("d", &store).expect("valid"))
            .bind()
            .await
            .expect("a server");
        let mut departures = server.departures();
        let (mut sink, mut source) = connect(&server).await.split();
        sink.send(hello("yrs", 2)).await.expect("the server listens");
        sink.send(framed(4, &[&[1, 0][..], &update_with_missing_dependency()].concat()))
            .await
            .expect("the server listens");
        let close = until_closed(&mut source).await.expect("it says why");
        assert_eq!(close[6], 8, "unavailable, come again later");
        let reason = departures.recv().await.expect("told").reason;
        assert!(matches!(reason, CloseReason::NotNow { .. }), "{reason}");
        assert!(reason.to_string().contains("would wait"), "{reason}");
    });
}
