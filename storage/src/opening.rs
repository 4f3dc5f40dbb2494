//! Opening a document: read, check, put together, take a fresh replica id, attach the keeper.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use exostate::{
    Backend, BackendError, Document, Options, Origin, ReplicaId, State, Store, WeakStore,
};

use crate::adapter::check_name;
use crate::document::{Hooks, KeptDocument};
use crate::entry::{Content, Entry};
use crate::error::{Damage, OpenError};
use crate::keeper::DocumentKeeper;
use crate::load::{Loaded, load, set_aside};
use crate::shared::{AnyWeakStore, Found, Shared};
use crate::storage::Inner;

/// How a document is opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    mode: Mode,
    options: Options,
}

impl Opening {
    /// Opens a document that exists, and makes it if there is none. The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a document that exists.
    #[must_use]
    pub fn existing() -> Self {
        Self { mode: Mode::Existing, ..Self::default() }
    }

    /// Makes a document.
    #[must_use]
    pub fn new_document() -> Self {
        Self { mode: Mode::New, ..Self::default() }
    }

    /// Opens what can be read of a document, read-only.
    #[must_use]
    pub fn damaged() -> Self {
        Self { mode: Mode::Damaged, ..Self::default() }
    }

    /// The options of the document: limits, a clock. They count only if the document is not open
    /// yet.
    #[must_use]
    pub fn with_options(self, options: Options) -> Self {
        Self { options, ..self }
    }
}

/// Which documents may be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// An existing one, or a new one.
    #[default]
    Any,
    Existing,
    New,
    /// An existing one, read-only, as far as it can be read.
    Damaged,
}

/// The largest number of the owner's earlier replica ids that are kept. Undo does not know its own
/// work from before that many openings.
const IDS_MAX: usize = 4096;

/// Opens a document as a store.
pub(crate) fn store<S: State, B: Backend>(
    storage: &Arc<Inner>,
    name: &str,
    opening: Opening,
) -> Result<Store<S, B>, OpenError> {
    let opened = open(
        storage,
        name,
        opening,
        |bytes, options| match bytes {
            Some(bytes) => Store::open_with(bytes, options),
            None => Ok(Store::with_options(options)),
        },
        Store::document,
        |store| Some(AnyWeakStore::of(store)),
    )?;
    match opened {
        Opened::New(store) => Ok(store),
        Opened::Shared(document, stores) => {
            let known = stores
                .iter()
                .find_map(|store| store.store.downcast_ref::<WeakStore<S, B>>()?.upgrade());
            Ok(known.unwrap_or_else(|| {
                let store = Store::on(&document);
                storage.shared.add_store(name, AnyWeakStore::of(&store));
                store
            }))
        }
    }
}

/// Opens a document.
pub(crate) fn document<B: Backend>(
    storage: &Arc<Inner>,
    name: &str,
    opening: Opening,
) -> Result<Document<B>, OpenError> {
    let opened = open(
        storage,
        name,
        opening,
        |bytes, options| match bytes {
            Some(bytes) => Document::open_with(bytes, options),
            None => Ok(Document::with_options(options)),
        },
        Document::clone,
        |_| None,
    )?;
    Ok(match opened {
        Opened::New(document) | Opened::Shared(document, _) => document,
    })
}

enum Opened<T, B: Backend> {
    New(T),
    /// The document was open already.
    Shared(Document<B>, Vec<AnyWeakStore>),
}

/// Opens a document as a `T`: a store, or the document itself.
fn open<T, B: Backend>(
    storage: &Arc<Inner>,
    name: &str,
    Opening { mode, options }: Opening,
    make: impl FnOnce(Option<&[u8]>, Options) -> Result<T, BackendError>,
    document_of: impl FnOnce(&T) -> Document<B>,
    weak: impl FnOnce(&T) -> Option<AnyWeakStore>,
) -> Result<Opened<T, B>, OpenError> {
    check_name(name).map_err(|error| OpenError::adapter(name, error))?;
    let shared = &*storage.shared;
    if shared.queue.is_closing() {
        return Err(OpenError::Closed { document: name.to_owned() });
    }
    let turn = match shared.find::<B>(name)? {
        Found::Open(_) if mode == Mode::New => {
            return Err(OpenError::Exists { document: name.to_owned() });
        }
        Found::Open((_, kept, _)) if mode == Mode::Damaged && !kept.is_read_only() => {
            return Err(OpenError::Open { document: name.to_owned() });
        }
        Found::Open((document, _, stores)) => return Ok(Opened::Shared(document, stores)),
        Found::Turn(turn) => turn,
    };
    let mut loaded = read::<B>(shared, name, mode)?;
    let content = std::mem::take(&mut loaded.content);
    let options = options.with_earlier(content.ids.iter().copied());
    let made = make(content.whole.as_deref(), options)
        .map_err(|error| OpenError::Document { document: name.to_owned(), error })?;
    let document = document_of(&made);
    let has_written = apply(&document, &content)
        .map_err(|damage| OpenError::Damaged { document: name.to_owned(), damage });
    let has_written =
        if mode == Mode::Damaged { has_written.unwrap_or(false) } else { has_written? };
    document.follow(content.lineage);
    let kept = keep(storage, name, &document, &loaded, &content, mode);
    if mode != Mode::Damaged {
        take_id(shared, &kept, &document);
        if has_written {
            document.keep_whole();
        }
    }
    turn.open(Arc::clone(&kept), &document, weak(&made));
    // The writer may have ended before the document was known, and then nobody has told it.
    if shared.queue.is_ended() {
        kept.close();
    }
    Ok(Opened::New(made))
}

/// Reads a document, and refuses what must not be opened.
fn read<B: Backend>(shared: &Shared, name: &str, mode: Mode) -> Result<Loaded, OpenError> {
    let document = || name.to_owned();
    let stored = shared.adapter.read(name).map_err(|error| OpenError::adapter(name, error))?;
    let loaded = match (stored, mode) {
        (None, Mode::Existing | Mode::Damaged) => {
            return Err(OpenError::NotFound { document: document() });
        }
        (Some(_), Mode::New) => return Err(OpenError::Exists { document: document() }),
        (None, _) => Loaded::default(),
        (Some(stored), _) => load(name, stored, None),
    };
    let loaded = match set_aside(&loaded.content) {
        Some((of, stored)) if mode == Mode::Damaged => load(&of, stored, None),
        Some((of, _)) => return Err(OpenError::SetAside { document: document(), of }),
        None => loaded,
    };
    if let Some(reason) = loaded.newer {
        return Err(OpenError::Newer { document: document(), reason });
    }
    if let Some(torn) = &loaded.torn {
        tracing::warn!(
            target: "exostate", document = name, place = %torn.place, bytes = torn.bytes,
            "the incomplete end of the log was cut off"
        );
    }
    if let Some(found) = loaded.content.backend.as_ref().filter(|found| *found != B::NAME) {
        let (found, wanted) = (found.clone(), B::NAME.to_owned());
        return Err(OpenError::Backend { document: document(), found, wanted });
    }
    match loaded.damage {
        Some(damage) if mode != Mode::Damaged => {
            Err(OpenError::Damaged { document: document(), damage })
        }
        damage => Ok(Loaded { damage, ..loaded }),
    }
}

/// Applies the updates of the log. Returns whether the document has written ops of its own
/// meanwhile, which are not in the log.
fn apply<B: Backend>(document: &Document<B>, content: &Content) -> Result<bool, Damage> {
    if content.updates.is_empty() {
        return Ok(false);
    }
    let has_written = Arc::new(AtomicBool::new(false));
    let written = Arc::clone(&has_written);
    let _watch = document.on_update(move |update| {
        if update.origin != Origin::Remote {
            written.store(true, Ordering::Relaxed);
        }
    });
    if document.apply_all_trusted(&content.updates).is_err() {
        // One of them is refused: the error is to name it.
        for (at, update) in content.updates.iter().enumerate() {
            let applied = document.apply_trusted(update);
            applied.map_err(|error| Damage::new(format!("update {}", at + 1), error))?;
        }
    }
    Ok(has_written.load(Ordering::Relaxed))
}

/// Attaches a keeper to the document.
fn keep<B: Backend>(
    storage: &Arc<Inner>,
    name: &str,
    document: &Document<B>,
    loaded: &Loaded,
    content: &Content,
    mode: Mode,
) -> Arc<KeptDocument> {
    let kept = Arc::new(KeptDocument::new(Arc::from(name)));
    {
        let mut log = kept.log.lock();
        log.next = loaded.last + 1;
        log.log_bytes = loaded.log_bytes;
        log.snapshot_bytes = loaded.snapshot_bytes;
    }
    if let Some(torn) = loaded.torn.clone() {
        let _ = kept.torn.set(torn);
    }
    let attached = content.attachments.iter();
    *kept.attached.lock() =
        attached.map(|(name, bytes)| (name.clone(), Some(Arc::clone(bytes)))).collect();
    if mode == Mode::Damaged {
        let damage = loaded.damage.as_ref();
        kept.make_read_only(damage.map_or("opened read-only".to_owned(), ToString::to_string));
    }
    let (announce, keep_whole) = (document.downgrade(), document.downgrade());
    let hold = document.downgrade();
    let hooks = Hooks {
        hold: Box::new(move || Some(Box::new(hold.upgrade()?))),
        announce: Box::new(move || announce.upgrade().iter().for_each(Document::announce)),
        keep_whole: Box::new(move || keep_whole.upgrade().iter().for_each(Document::keep_whole)),
        compact: compact::<B>,
    };
    let _ = kept.hooks.set(hooks);
    let keeper = DocumentKeeper { storage: Arc::clone(storage), kept: Arc::clone(&kept) };
    // The document is new, so it has no other keeper.
    let _ = document.keep_with(Arc::new(keeper));
    kept
}

/// Records the fresh replica id of the document, and waits until it is on disk. If the disk fails,
/// the document is open, and refuses changes until then.
fn take_id<B: Backend>(shared: &Shared, kept: &Arc<KeptDocument>, document: &Document<B>) {
    // Each opening names the backend, so that a repair knows it if the first record is damaged.
    let backend = Entry::Backend(B::NAME.to_owned());
    let id = Entry::Replica(document.replica());
    let failures = kept.failures();
    shared.while_opening(kept, || {
        let number = shared.queue.push(kept, vec![backend, id], true);
        kept.ready_at(number);
        if shared.queue.is_ended() {
            kept.close();
        }
        kept.wait(number, failures);
    });
}

/// What is wrong with a content that was read without damage: the backend refuses a part of it.
pub(crate) fn refused<B: Backend>(content: &Content) -> Option<Damage> {
    let document: Document<B> = match content.whole.as_deref() {
        Some(bytes) => match Document::open(bytes) {
            Ok(document) => document,
            Err(error) => return Some(Damage::new("the whole document", error)),
        },
        None => Document::new(),
    };
    apply(&document, content).err()
}

/// The entries of a snapshot of this content. `None` if the backend does not open it.
fn compact<B: Backend>(mut content: Content) -> Option<Vec<Entry>> {
    let document: Document<B> = match content.whole.as_deref() {
        Some(bytes) => Document::open(bytes).ok()?,
        None => Document::new(),
    };
    apply(&document, &content).ok()?;
    forget_oldest(&mut content.ids);
    Some(content.with_document(&document).entries())
}

fn forget_oldest(ids: &mut Vec<ReplicaId>) {
    let surplus = ids.len().saturating_sub(IDS_MAX);
    ids.drain(..surplus);
}
