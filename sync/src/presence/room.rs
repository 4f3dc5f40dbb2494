//! One document's replica and its participants, for several peers and servers at once.

use super::{Participants, Presence};
use crate::replica::{IntoReplica, Refusal, Repair, Replica, UpdateListener, UpdateSubscription};
use crate::steps::Pace;
use exostate::{Digest, ReplicaId, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// A replica and the participants at its document.
///
/// A [`Peer`](crate::Peer), and each document of a [`Server`](crate::Server), has its own presence.
/// An application with several of them for one store (a mesh of peers without a server, for
/// example) gives them a room instead of the store. Then they share one presence, and a participant
/// at one of them is present at all. Clones share the same room.
///
/// ```no_run
/// # async fn example<S: exostate::State>(
/// #     store: exostate::Store<S>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use exostate_sync::{Documents, Peer, Room, Server};
///
/// let room = Room::new(&store);
/// let server = Server::bind("[::]:0".parse()?, Documents::new().with("roadmap", &room)?).await?;
/// let peer = Peer::join(&room, "exo://other:4433/roadmap#5f3c…")?;
/// room.presence::<String>().set(&"Ada".to_owned())?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Room {
    replica: Arc<dyn Replica>,
    participants: Arc<Participants>,
    pace: Arc<Pace>,
    /// Tells the conversations that the replica's storage has written something.
    kept: Arc<watch::Sender<()>>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("replica", &self.replica.replica()).finish_non_exhaustive()
    }
}

impl Room {
    /// A room without participants. If the replica is already a room, the new room shares its
    /// participants.
    pub fn new(replica: impl IntoReplica) -> Self {
        Self::of(replica.into_replica())
    }

    pub(crate) fn of(replica: Arc<dyn Replica>) -> Self {
        let participants = replica.participants().unwrap_or_default();
        let kept = Arc::new(watch::Sender::new(()));
        let told = Arc::downgrade(&kept);
        replica
            .on_kept(Box::new(move || told.upgrade().map(|kept| kept.send_replace(())).is_some()));
        Self { replica, participants, pace: Arc::default(), kept }
    }

    /// The presence in this room: what this replica shows, and what others show.
    pub fn presence<P: Serialize + DeserializeOwned>(&self) -> Presence<P> {
        Presence::new(Arc::clone(&self.participants), Arc::clone(&self.replica))
    }

    pub(crate) fn shared(&self) -> Arc<Participants> {
        Arc::clone(&self.participants)
    }

    pub(crate) fn replica_itself(&self) -> Arc<dyn Replica> {
        Arc::clone(&self.replica)
    }

    /// Changes each time that the replica's storage has written something.
    pub(crate) fn kept_changes(&self) -> watch::Receiver<()> {
        self.kept.subscribe()
    }

    pub(crate) fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
    }
}

impl Replica for Room {
    fn backend(&self) -> &'static str {
        self.replica.backend()
    }

    fn replica(&self) -> ReplicaId {
        self.replica.replica()
    }

    fn version(&self) -> Version {
        self.replica.version()
    }

    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, Refusal> {
        self.replica.updates_since(version)
    }

    fn import(&self, updates: &[&[u8]], part: bool) -> Result<bool, Refusal> {
        self.replica.import(updates, part)
    }

    fn contains(&self, update: &[u8]) -> Result<bool, Refusal> {
        self.replica.contains(update)
    }

    fn has_seen(&self, version: &Version) -> bool {
        self.replica.has_seen(version)
    }

    fn cut(&self, update: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        self.replica.cut(update)
    }

    fn show_parts(&self) {
        self.replica.show_parts();
    }

    fn repair(&self) -> Option<Box<dyn Repair>> {
        self.replica.repair()
    }

    fn verify(&self) -> Result<Vec<exostate::Conflict>, Refusal> {
        self.replica.verify()
    }

    fn lineage(&self) -> u64 {
        self.replica.lineage()
    }

    fn follow(&self, lineage: u64) {
        self.replica.follow(lineage);
    }

    fn forget_pending(&self) {
        self.replica.forget_pending();
    }

    fn has_own_pending(&self) -> bool {
        self.replica.has_own_pending()
    }

    fn rewrite_pending(&self) {
        self.replica.rewrite_pending();
    }

    fn digest(&self) -> Digest {
        self.replica.digest()
    }

    fn type_mismatch(&self) -> Option<exostate::TypeMismatch> {
        self.replica.type_mismatch()
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription {
        self.replica.on_update(listener)
    }

    fn recorded(&self) -> u64 {
        self.replica.recorded()
    }

    fn kept(&self) -> u64 {
        self.replica.kept()
    }

    fn on_kept(&self, f: Box<dyn Fn() -> bool + Send + Sync>) {
        self.replica.on_kept(f);
    }

    fn is_busy(&self) -> bool {
        self.replica.is_busy()
    }

    fn has_pending(&self) -> bool {
        self.replica.has_pending()
    }

    fn participants(&self) -> Option<Arc<Participants>> {
        Some(self.shared())
    }
}

impl IntoReplica for Room {
    fn into_replica(self) -> Arc<dyn Replica> {
        Arc::new(self)
    }
}

impl IntoReplica for &Room {
    fn into_replica(self) -> Arc<dyn Replica> {
        Arc::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(exostate::State, Clone, Debug, Default, PartialEq)]
    struct Page {
        number: i64,
    }

    #[test]
    fn a_room_follows_the_lineage_of_its_store() -> Result<(), Refusal> {
        let store = exostate::Store::<Page>::new();
        let room = Room::new(&store);
        store.document().follow(3);
        assert_eq!(room.lineage(), 3);
        room.follow(5);
        assert_eq!(store.document().lineage(), 5);
        room.verify().map(drop)
    }
}
