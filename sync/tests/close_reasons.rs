//! A replica can end a session for several reasons. Each has a close reason of its own, and the
//! error that caused it.

mod support;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use exostate::{
    Automerge, BackendError, Conflict, Digest, Document, Options, ReplicaId, Version, Yrs,
};
use exostate_sync::{
    CloseReason, Config, Peer, Refusal, Repair, Replica, Role, Status, UpdateListener,
    UpdateSubscription, memory_pair,
};
use support::Mock;

/// How a replica fails when it gets an update.
#[derive(Clone, Copy)]
enum Fault {
    Refuses,
    RefusesForNow,
    Panics,
}

#[derive(Debug)]
struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the disk is full")
    }
}

impl Error for Full {}

struct Faulty(Arc<Mock>, Fault);

impl Replica for Faulty {
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    fn replica(&self) -> ReplicaId {
        self.0.replica()
    }

    fn version(&self) -> Version {
        self.0.version()
    }

    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, Refusal> {
        self.0.updates_since(version)
    }

    fn import(&self, _: &[&[u8]], _: bool) -> Result<bool, Refusal> {
        match self.1 {
            Fault::Refuses => Err(Refusal::new(Full)),
            Fault::RefusesForNow => Err(Refusal::for_now(Full)),
            Fault::Panics => panic!("on purpose"),
        }
    }

    fn digest(&self) -> Digest {
        self.0.digest()
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription {
        self.0.on_update(listener)
    }

    fn has_pending(&self) -> bool {
        self.0.has_pending()
    }
}

/// The close reason of a session whose replica has this fault.
async fn end_of(fault: Fault) -> CloseReason {
    let faulty = Arc::new(Faulty(Mock::new(1), fault));
    let other = Mock::new(2);
    drop(other.add(b"one"));
    let (here, there) = memory_pair(1);
    let peer = Peer::over(faulty, "d", here, Role::Initiator, Config::default());
    let _other = Peer::over(other, "d", there, Role::Responder, Config::default());
    tokio::time::timeout(Duration::from_secs(60), peer.closed()).await.expect("it ends")
}

fn is_full(reason: &CloseReason) -> bool {
    let mut cause = reason.source();
    while let Some(error) = cause {
        if error.is::<Full>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_replica_has_its_reason_and_its_cause() {
    let refused = end_of(Fault::Refuses).await;
    assert!(matches!(refused, CloseReason::Refused(_)) && is_full(&refused), "{refused:?}");
    let later = end_of(Fault::RefusesForNow).await;
    assert!(matches!(later, CloseReason::NotNow(_)) && is_full(&later), "{later:?}");
    let panicked = end_of(Fault::Panics).await;
    assert_eq!(panicked, CloseReason::ReplicaPanicked);
}

#[test]
fn a_version_of_another_backend_is_named() {
    let yrs = Document::<Yrs>::new();
    let automerge = Document::<Automerge>::new();
    automerge.edit(|edit| edit.set("title", "plan")).expect("it can be written");
    yrs.edit(|edit| edit.set("title", "plan")).expect("it can be written");
    fn other(result: Result<Vec<Vec<u8>>, BackendError>, name: &str) -> bool {
        matches!(result, Err(BackendError::OtherVersion { backend }) if backend == name)
    }
    assert!(other(yrs.updates_since(&automerge.version()), "yrs"));
    assert!(other(automerge.updates_since(&yrs.version()), "automerge"));
    assert!(yrs.updates_since(&Version::empty()).is_ok());
}

/// The error of an attempt to connect is a part of the reason, and can be downcast.
#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_not_made_says_why() {
    use exostate_sync::{Client, ConnectError};

    let ticket = format!("exo://no.such.host.invalid:4433/d#{}", "0f".repeat(32));
    let client = Client::new(Config::default());
    let peer = client.join(&Document::<Yrs>::new(), &*ticket).expect("valid");
    let mut status = peer.status();
    let offline = status.wait_for(|status| matches!(status, Status::Offline { .. }));
    let offline = tokio::time::timeout(Duration::from_secs(60), offline).await.expect("in time");
    let Status::Offline { reason, .. } = offline.expect("told").clone() else { unreachable!() };
    let CloseReason::NotConnected(failure) = &reason else { panic!("{reason:?}") };
    let error = failure.error().downcast_ref::<ConnectError>();
    assert!(matches!(error, Some(ConnectError::Resolve { .. })), "{reason:?}");
    assert_eq!(reason.to_string(), "no address found for `no.such.host.invalid`");
    assert!(reason.source().is_some_and(<dyn Error>::is::<std::io::Error>));
    assert!(!failure.is_final());
    // Without reconnecting, the same failure ends the peer.
    let client = Client::new(Config::default().without_reconnecting());
    let peer = client.join(&Document::<Yrs>::new(), &*ticket).expect("valid");
    let ended =
        tokio::time::timeout(Duration::from_secs(60), peer.closed()).await.expect("in time");
    assert!(matches!(ended, CloseReason::NotConnected(_)), "{ended:?}");
}

/// A document whose repair always fails.
struct Unrepairable(Document<Yrs>);

struct FailingRepair;

impl Repair for FailingRepair {
    fn apply(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Conflict>, Refusal> {
        Err(Refusal::new("on purpose"))
    }
}

impl Replica for Unrepairable {
    fn backend(&self) -> &'static str {
        Replica::backend(&self.0)
    }

    fn replica(&self) -> ReplicaId {
        Replica::replica(&self.0)
    }

    fn version(&self) -> Version {
        Replica::version(&self.0)
    }

    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, Refusal> {
        Replica::updates_since(&self.0, version)
    }

    fn import(&self, updates: &[&[u8]], part: bool) -> Result<bool, Refusal> {
        Replica::import(&self.0, updates, part)
    }

    fn repair(&self) -> Option<Box<dyn Repair>> {
        Some(Box::new(FailingRepair))
    }

    fn digest(&self) -> Digest {
        Replica::digest(&self.0)
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription {
        Replica::on_update(&self.0, listener)
    }

    fn has_pending(&self) -> bool {
        Replica::has_pending(&self.0)
    }
}

/// A document with a change of replica 7. The title is in no other document.
fn with_change_of_seven(title: &str) -> Document<Yrs> {
    let seven = Document::<Yrs>::with_options(Options::new().with_replica(ReplicaId::from_bits(7)));
    seven.edit(|edit| edit.set("title", title)).expect("it can be written");
    let document = Document::new();
    document.merge(&seven).expect("it merges");
    document
}

/// After a failed repair the versions are equal again and the contents differ. Then the status is
/// not `Live`.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_repair_stays_visible() {
    let here = with_change_of_seven("one");
    let there = with_change_of_seven("other");
    assert!(here.version() == there.version() && here.digest() != there.digest());
    let (left, right) = memory_pair(8);
    let config = Config::default();
    let peers = [
        Peer::over(Arc::new(Unrepairable(here)), "d", left, Role::Initiator, config.clone()),
        Peer::over(Arc::new(Unrepairable(there)), "d", right, Role::Responder, config),
    ];
    let failed = async |peer: &Peer| {
        let mut status = peer.status();
        let failed = status.wait_for(|status| matches!(status, Status::Unrepaired { .. })).await;
        failed.map(drop)
    };
    let wait = Duration::from_secs(60);
    let (first, second) = (failed(&peers[0]), failed(&peers[1]));
    let one = async {
        tokio::select! { _ = first => {}, _ = second => {} }
    };
    tokio::time::timeout(wait, one).await.expect("in time");
    // The versions are in sync again meanwhile.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let shown = peers.each_ref().map(|peer| peer.status().borrow().clone());
    assert!(shown.iter().any(|status| matches!(status, Status::Unrepaired { .. })), "{shown:?}");
    for peer in &peers {
        let told = peer.status().borrow().clone();
        assert!(!matches!(told, Status::Live), "{told:?}");
    }
}
