//! A replica in memory. It is a grow-only set of (replica, counter, payload). The counters of each
//! replica have no gaps.
#![allow(dead_code, reason = "every test file uses a part")]

use exostate::{Digest, ReplicaId, Version};
use exostate_sync::{Origin, Refusal, Replica, UpdateListener, UpdateSubscription};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

type Id = (u64, u64);

/// A number in the encoding of `docs/protocol.md`.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// A frame in the encoding of `docs/protocol.md`.
pub(crate) fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let sum = crc32fast::hash(&[&[kind], payload].concat());
    [&[kind][..], &varint(payload.len() as u64), &sum.to_le_bytes(), payload].concat()
}

/// An address at which a test starts one server after the other. The system gives ports from 32,768
/// to whoever asks for any; such a port could be taken between the two servers.
pub(crate) fn lasting_addr() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::SeqCst);
        let port =
            20_000 + (std::process::id() as u16).wrapping_mul(61).wrapping_add(step) % 12_000;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
}

#[derive(Default)]
struct Inner {
    ops: BTreeMap<Id, Vec<u8>>,
    pending: BTreeMap<Id, Vec<u8>>,
    heads: BTreeMap<u64, u64>,
    listeners: BTreeMap<u64, UpdateListener>,
}

pub(crate) struct Mock {
    id: u64,
    inner: Arc<Mutex<Inner>>,
    listener_ids: AtomicU64,
    pub(crate) applied: AtomicU64,
    /// How often it computed the updates that a peer lacks.
    pub(crate) updates_since_calls: AtomicU64,
    pub(crate) verified: AtomicU64,
    /// Whether it has a storage, which writes only in `write`.
    stores: bool,
    recorded: AtomicU64,
    written: AtomicU64,
}

struct Guard(u64, Weak<Mutex<Inner>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(inner) = self.1.upgrade() {
            inner.lock().expect("no panic").listeners.remove(&self.0);
        }
    }
}

impl Inner {
    fn integrate(&mut self) {
        while let Some(id) = self.pending.keys().copied().find(|id| self.head(id.0) + 1 >= id.1) {
            let payload = self.pending.remove(&id).expect("just found");
            if self.head(id.0) < id.1 {
                self.heads.insert(id.0, id.1);
                self.ops.insert(id, payload);
            }
        }
    }

    fn head(&self, replica: u64) -> u64 {
        self.heads.get(&replica).copied().unwrap_or(0)
    }

    fn notify(&self, update: &[u8], origin: Origin) {
        for listener in self.listeners.values() {
            listener(update, origin);
        }
    }
}

impl Mock {
    pub(crate) fn new(id: u64) -> Arc<Self> {
        Arc::new(Self::with(id, false))
    }

    /// A replica with a storage.
    pub(crate) fn with_storage(id: u64) -> Arc<Self> {
        Arc::new(Self::with(id, true))
    }

    fn with(id: u64, stores: bool) -> Self {
        let (inner, listener_ids, applied, updates_since_calls, verified) = Default::default();
        let (recorded, written) = Default::default();
        Self {
            id,
            inner,
            listener_ids,
            applied,
            updates_since_calls,
            verified,
            stores,
            recorded,
            written,
        }
    }

    /// The storage writes the next records.
    pub(crate) fn write(&self, records: u64) {
        let written = self.written.load(Ordering::Relaxed).saturating_add(records);
        self.written.store(written.min(self.recorded()), Ordering::Relaxed);
    }

    pub(crate) fn add(&self, payload: &[u8]) -> Vec<u8> {
        let mut inner = self.lock();
        let id = (self.id, inner.head(self.id) + 1);
        inner.pending.insert(id, payload.to_vec());
        inner.integrate();
        self.recorded.fetch_add(1, Ordering::Relaxed);
        let update = encode([(&id, &payload.to_vec())].into_iter());
        inner.notify(&update, Origin::Local);
        update
    }

    pub(crate) fn content(&self) -> BTreeMap<Id, Vec<u8>> {
        self.lock().ops.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().ops.len()
    }

    pub fn apply(&self, update: &[u8]) -> Result<(), Refusal> {
        self.applied.fetch_add(1, Ordering::Relaxed);
        let ops = decode(update)?;
        let mut inner = self.lock();
        let before = (inner.ops.len(), inner.pending.len());
        for (id, payload) in ops {
            if inner.head(id.0) < id.1 {
                inner.pending.insert(id, payload);
            }
        }
        inner.integrate();
        if before != (inner.ops.len(), inner.pending.len()) {
            self.recorded.fetch_add(1, Ordering::Relaxed);
            inner.notify(update, Origin::Remote);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }
}

fn encode<'a>(ops: impl Iterator<Item = (&'a Id, &'a Vec<u8>)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ((replica, counter), payload) in ops {
        for number in [*replica, *counter, payload.len() as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(payload);
    }
    bytes
}

fn decode(mut rest: &[u8]) -> Result<Vec<(Id, Vec<u8>)>, Refusal> {
    let mut ops = Vec::new();
    while !rest.is_empty() {
        let id = (number(&mut rest)?, number(&mut rest)?);
        let length = usize::try_from(number(&mut rest)?).map_err(Refusal::new)?;
        let cut = || Refusal::new("a payload is cut");
        let (payload, tail) = rest.split_at_checked(length).ok_or_else(cut)?;
        rest = tail;
        if id.1 == 0 {
            return Err(Refusal::new("a counter of zero"));
        }
        ops.push((id, payload.to_vec()));
    }
    Ok(ops)
}

/// The heads as a version: the clocks of a yrs document without deletions.
fn version_of(heads: &BTreeMap<u64, u64>) -> Version {
    let mut bytes = vec![0];
    bytes.extend((heads.len() as u32).to_le_bytes());
    for (replica, head) in heads {
        bytes.extend(replica.to_le_bytes());
        bytes.extend((*head as u32).to_le_bytes());
    }
    bytes.extend([0; 16]);
    Version::from_bytes(&bytes).expect("a version")
}

fn heads_of(version: &Version) -> Result<BTreeMap<u64, u64>, Refusal> {
    let bytes = version.to_bytes();
    let entries = match bytes.split_at_checked(5) {
        Some(([0, ..], rest)) => &rest[..rest.len() - 16],
        _ if *version == Version::empty() => &[],
        _ => return Err(Refusal::new("the version is of another backend")),
    };
    let heads = entries.chunks_exact(12).map(|entry| {
        let (mut replica, head) = entry.split_at(8);
        let head = u32::from_le_bytes(head.try_into().map_err(Refusal::new)?);
        Ok((number(&mut replica)?, u64::from(head)))
    });
    heads.collect()
}

fn number(bytes: &mut &[u8]) -> Result<u64, Refusal> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(|| Refusal::new("a number is cut"))?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*head))
}

impl Replica for Mock {
    fn backend(&self) -> &'static str {
        "mock"
    }

    fn replica(&self) -> ReplicaId {
        ReplicaId::from_bits(self.id)
    }

    fn version(&self) -> Version {
        version_of(&self.lock().heads)
    }

    fn updates_since(&self, version: &Version) -> Result<Vec<Vec<u8>>, Refusal> {
        self.updates_since_calls.fetch_add(1, Ordering::Relaxed);
        let heads = heads_of(version)?;
        let inner = self.lock();
        let lacks = |id: &Id| heads.get(&id.0).is_none_or(|head| *head < id.1);
        // Pieces of the largest allowed size. A large document takes several.
        let lacking: Vec<_> = inner.ops.iter().filter(|(id, _)| lacks(id)).collect();
        let mut bytes = 0;
        let pieces = lacking.chunk_by(|_, (_, payload)| {
            bytes += payload.len();
            bytes % 4_000_000 >= payload.len()
        });
        Ok(pieces.map(|piece| encode(piece.iter().copied())).collect())
    }

    fn verify(&self) -> Result<Vec<exostate::Conflict>, Refusal> {
        self.verified.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    }

    fn import(&self, updates: &[&[u8]], _part: bool) -> Result<bool, Refusal> {
        updates.iter().try_for_each(|update| self.apply(update))?;
        let inner = self.lock();
        let waits = |(id, _): &(Id, Vec<u8>)| inner.pending.contains_key(id);
        Ok(updates.iter().filter_map(|update| decode(update).ok()).any(|ops| ops.iter().any(waits)))
    }

    fn contains(&self, update: &[u8]) -> Result<bool, Refusal> {
        let inner = self.lock();
        Ok(decode(update)?.iter().all(|(id, _)| inner.ops.contains_key(id)))
    }

    fn forget_pending(&self) {
        self.lock().pending.clear();
    }

    fn recorded(&self) -> u64 {
        if self.stores { self.recorded.load(Ordering::Relaxed) } else { 0 }
    }

    fn kept(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn digest(&self) -> Digest {
        let mut digest = 0_u128;
        for ((replica, counter), payload) in &self.lock().ops {
            let mut hash = u128::from(*replica) << 64 | u128::from(*counter);
            for byte in payload {
                hash = (hash ^ u128::from(*byte))
                    .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
            }
            digest ^= hash;
        }
        Digest::from_bytes(digest.to_le_bytes())
    }

    fn on_update(&self, listener: UpdateListener) -> UpdateSubscription {
        let id = self.listener_ids.fetch_add(1, Ordering::Relaxed);
        self.lock().listeners.insert(id, listener);
        Box::new(Guard(id, Arc::downgrade(&self.inner)))
    }

    fn has_pending(&self) -> bool {
        !self.lock().pending.is_empty()
    }
}
