//! Documents that refer to documents. A document is loaded once, when a link is followed, and
//! shared. It is closed when no handle is open, and only then loaded again.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::Duration;

use exostate::{
    Automerge, Backend, Handle, Library, Link, List, Loader, Map, OpenError, State, Store, Yrs,
};
use proptest::prelude::*;

#[derive(State, Clone, Debug, PartialEq)]
struct Page {
    title: String,
    visits: i64,
    next: Option<Link<Page>>,
    pages: List<Link<Page>>,
    names: Map<String, Link<Page>>,
}

fn page(title: &str) -> Page {
    Page { title: title.to_owned(), visits: 0, next: None, pages: List::new(), names: Map::new() }
}

type Hook = Box<dyn Fn(&str) + Send + Sync>;

/// Keeps documents in memory, and counts loads and closes.
struct MemoryStorage<B> {
    saved: Mutex<BTreeMap<String, Vec<u8>>>,
    loads: AtomicUsize,
    closes: AtomicUsize,
    /// How often each document is loaded now. More than once means that it was loaded twice.
    loaded: Mutex<BTreeMap<String, usize>>,
    broken: AtomicBool,
    full: AtomicBool,
    /// Hooks that run while a document is loaded and while one is closed.
    loading: OnceLock<Hook>,
    closing: OnceLock<Hook>,
    of: PhantomData<fn() -> B>,
}

/// Notes that a document is no longer there.
struct LoadedGuard<B>(Arc<MemoryStorage<B>>, String);

impl<B> Drop for LoadedGuard<B> {
    fn drop(&mut self) {
        *self.0.loaded.lock().expect("the list").entry(self.1.clone()).or_default() -= 1;
    }
}

/// The loader holds a shared handle, so that a test can look into it.
struct MemoryLoader<B: Backend> {
    storage: Arc<MemoryStorage<B>>,
    /// If it is set, loading a document opens these through it: the document itself and all
    /// documents that it links to.
    eager: OnceLock<Library<MemoryLoader<B>>>,
}

impl<B: Backend> MemoryLoader<B> {
    fn mark_loaded(&self, id: &str) -> LoadedGuard<B> {
        let mut loaded = self.storage.loaded.lock().expect("the list");
        let there = loaded.entry(id.to_owned()).or_default();
        *there += 1;
        assert_eq!(*there, 1, "{id} is there twice");
        LoadedGuard(Arc::clone(&self.storage), id.to_owned())
    }
}

impl<B: Backend> Loader for MemoryLoader<B> {
    type Backend = B;
    type Kept = LoadedGuard<B>;
    type Error = String;

    fn load<T: State>(&self, link: &Link<T>) -> Result<(Store<T, B>, LoadedGuard<B>), String> {
        self.storage.loads.fetch_add(1, Ordering::SeqCst);
        let loaded = self.mark_loaded(link.id());
        self.storage.loading.get().iter().for_each(|hook| hook(link.id()));
        std::thread::sleep(Duration::from_millis(1));
        if self.storage.broken.load(Ordering::SeqCst) {
            return Err("the storage is broken".to_owned());
        }
        let bytes = self
            .storage
            .saved
            .lock()
            .expect("the storage")
            .get(link.id())
            .cloned()
            .ok_or("there is no such document")?;
        if let Some(library) = self.eager.get() {
            let page = Store::<Page, B>::open(&bytes).map_err(|error| error.to_string())?.view();
            for next in page.next.iter().chain(page.pages.iter()) {
                drop(next.open(library).map_err(|error| error.to_string())?);
            }
        }
        Ok((Store::open(&bytes).map_err(|error| error.to_string())?, loaded))
    }

    fn create<T: State>(&self, link: &Link<T>) -> Result<(Store<T, B>, LoadedGuard<B>), String> {
        Ok((Store::new(), self.mark_loaded(link.id())))
    }

    fn close<T: State>(
        &self,
        link: &Link<T>,
        store: &Store<T, B>,
        _: &LoadedGuard<B>,
    ) -> Result<(), String> {
        self.storage.closes.fetch_add(1, Ordering::SeqCst);
        self.storage.closing.get().iter().for_each(|hook| hook(link.id()));
        std::thread::sleep(Duration::from_millis(1));
        if self.storage.full.load(Ordering::SeqCst) {
            return Err("the storage is full".to_owned());
        }
        assert_ne!(link.id(), "panics", "the loader panics");
        self.storage.saved.lock().expect("the storage").insert(link.id().to_owned(), store.save());
        Ok(())
    }
}

fn library<B: Backend>(unused_max: usize) -> (Library<MemoryLoader<B>>, Arc<MemoryStorage<B>>) {
    let storage = Arc::new(MemoryStorage {
        saved: Mutex::default(),
        loads: AtomicUsize::new(0),
        closes: AtomicUsize::new(0),
        loaded: Mutex::default(),
        broken: AtomicBool::new(false),
        full: AtomicBool::new(false),
        loading: OnceLock::new(),
        closing: OnceLock::new(),
        of: PhantomData,
    });
    (
        Library::keeping(
            MemoryLoader { storage: Arc::clone(&storage), eager: OnceLock::new() },
            unused_max,
        ),
        storage,
    )
}

fn create<B: Backend>(
    library: &Library<MemoryLoader<B>>,
    id: &str,
) -> Handle<Page, MemoryLoader<B>> {
    library.create_as(&Link::new(id), &page(id)).expect("it can be made")
}

fn visit<B: Backend>(page: &Handle<Page, MemoryLoader<B>>) {
    page.change(|page| page.visits().set(page.visits().get()? + 1)).expect("it can be written");
}

fn loads_and_closes<B>(storage: &MemoryStorage<B>) -> (usize, usize) {
    (storage.loads.load(Ordering::SeqCst), storage.closes.load(Ordering::SeqCst))
}

fn counts<B: Backend>(library: &Library<MemoryLoader<B>>) -> (usize, usize, usize) {
    let count = library.count();
    (count.open, count.unused, count.under_way)
}

#[test]
fn a_weak_handle_keeps_no_document_open() {
    fn run<B: Backend>() {
        let (library, storage) = library::<B>(0);
        let page = create(&library, "a");
        let weak = page.downgrade();
        visit(&weak.clone().upgrade().expect("it is open"));
        let other = weak.upgrade().expect("it is open");
        drop(page);
        assert_eq!(loads_and_closes(&storage), (0, 0));
        visit(&other);
        drop(other);
        assert!(weak.upgrade().is_none());
        assert_eq!(loads_and_closes(&storage), (0, 1));
        let again = library.open(&Link::<Page>::new("a")).expect("it is there");
        assert_eq!((again.view().visits, weak.upgrade().is_none()), (2, true));
        assert_eq!(
            format!("{:?} {:?}", weak, again.downgrade()),
            "WeakHandle { is_open: false } WeakHandle { is_open: true }"
        );
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn a_link_is_a_register_wherever_scalars_are() {
    fn run<B: Backend>() {
        let ours = Store::<Page, B>::new();
        let theirs = Store::<Page, B>::new();
        ours.change(|page| {
            page.next().set(Link::new("b"))?;
            page.pages().push(Link::new("c"))?;
            page.names().insert("d", Link::new("d/~@"))
        })
        .expect("it can be written");
        theirs.merge(&ours).expect("it merges");
        let view = theirs.view();
        assert_eq!(view.next.as_ref().map(Link::id), Some("b"));
        assert_eq!(
            (view.pages.get(0).map(Link::id), view.names.get("d").map(Link::id)),
            (Some("c"), Some("d/~@"))
        );
        assert_eq!((&*view, theirs.digest()), (&theirs.reread(), ours.digest()));
        let opened = Store::<Page, B>::open(&ours.save()).expect("it opens");
        assert_eq!(opened.view(), view);
        // Links in variants work too.
        #[derive(State, Clone, Debug, PartialEq)]
        enum Target {
            #[default]
            Nowhere,
            Page(Link<Page>),
        }
        #[derive(State, Clone, Debug, PartialEq)]
        struct Pointer {
            at: Target,
        }
        let pointer = Store::<Pointer, B>::new();
        let copy = Store::<Pointer, B>::new();
        pointer
            .reconcile(&Pointer { at: Target::Page(Link::new("e")) })
            .expect("it can be written");
        copy.merge(&pointer).expect("it merges");
        assert!(matches!(&copy.view().at, Target::Page(link) if link.id() == "e"));
        // A value that is not a name is a violation, and the link is empty.
        #[derive(State, Clone, Debug, PartialEq)]
        struct Other {
            to: i64,
        }
        #[derive(State, Clone, Debug, PartialEq)]
        struct Linked {
            to: Link<Page>,
        }
        let other = Store::<Other, B>::new();
        other.change(|other| other.to().set(3)).expect("it can be written");
        let linked = Store::<Linked, B>::open(&other.save()).expect("it opens");
        assert!(linked.view().to.is_empty() && linked.violations().len() == 1);
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn a_document_is_shared_and_closed_with_its_last_handle() {
    fn run<B: Backend>() {
        let (library, storage) = library::<B>(0);
        let first = create(&library, "a");
        let again = first.link().open(&library).expect("it is open");
        visit(&again);
        assert_eq!(
            (first.view().visits, loads_and_closes(&storage), counts(&library)),
            (1, (0, 0), (1, 0, 0))
        );
        drop(first);
        assert_eq!((loads_and_closes(&storage), counts(&library)), ((0, 0), (1, 0, 0)));
        drop(again);
        assert_eq!((loads_and_closes(&storage), counts(&library)), ((0, 1), (0, 0, 0)));
        let later = library.open(&Link::<Page>::new("a")).expect("it is loaded");
        assert_eq!(
            (later.view().visits, loads_and_closes(&storage), counts(&library)),
            (1, (1, 1), (1, 0, 0))
        );
        assert_eq!((later.kept().1.as_str(), later.link().id()), ("a", "a"));
        // A joint change needs only the stores.
        let other = library.create(&page("other")).expect("it can be made");
        later
            .and(other.store())
            .change(|(a, b)| a.visits().set(5).and(b.visits().set(5)))
            .expect("it can be written");
        assert_eq!((later.view().visits, other.view().visits), (5, 5));
        assert_ne!(other.link(), library.create(&page("another")).expect("it can be made").link());
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn concurrent_opens_load_a_document_once() {
    let (library, storage) = library::<Yrs>(0);
    drop(create(&library, "a"));
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let page = library.open(&Link::<Page>::new("a")).expect("it is loaded");
                visit(&page);
                barrier.wait();
            });
        }
    });
    assert_eq!((loads_and_closes(&storage), counts(&library)), ((1, 2), (0, 0, 0)));
    assert_eq!(library.open(&Link::<Page>::new("a")).expect("it is loaded").view().visits, 8);
}

#[test]
fn concurrent_opens_and_drops_lose_or_duplicate_nothing() {
    let strategy = (
        0..3_usize,
        prop::collection::vec(prop::collection::vec((0..3_u8, any::<bool>()), 1..20), 2..5),
    );
    let config =
        ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((unused_max, threads) in strategy)| {
        let (library, storage) = library::<Yrs>(unused_max);
        for id in ["0", "1", "2"] {
            drop(create(&library, id));
        }
        std::thread::scope(|scope| {
            for steps in &threads {
                let library = &library;
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for (id, keep) in steps {
                        let link = Link::<Page>::new(id.to_string());
                        let page = library.open(&link).expect("it opens");
                        visit(&page);
                        if *keep { kept.push(page) } else { kept.clear() }
                    }
                });
            }
        });
        prop_assert!(library.close_unused());
        prop_assert_eq!(counts(&library), (0, 0, 0));
        prop_assert!(storage.loaded.lock().expect("the list").values().all(|there| *there == 0));
        let visits: i64 = ["0", "1", "2"]
            .into_iter()
            .map(|id| library.open(&Link::<Page>::new(id)).expect("it opens").view().visits)
            .sum();
        prop_assert_eq!(visits, threads.iter().map(|steps| steps.len() as i64).sum::<i64>());
    });
}

#[test]
fn a_failed_load_is_retried_by_the_next_open() {
    let (library, storage) = library::<Yrs>(0);
    drop(create(&library, "a"));
    let link = Link::<Page>::new("a");
    storage.broken.store(true, Ordering::SeqCst);
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                assert!(matches!(
                    library.open(&link),
                    Err(OpenError::Load { id, error })
                        if id == "a" && error == "the storage is broken"
                ));
            });
        }
    });
    assert_eq!((loads_and_closes(&storage).0, counts(&library)), (4, (0, 0, 0)));
    storage.broken.store(false, Ordering::SeqCst);
    assert!(library.open(&link).is_ok());
    assert!(matches!(library.open(&Link::<Page>::new("b")), Err(OpenError::Load { .. })));
    assert!(matches!(library.open(&Link::<Page>::default()), Err(OpenError::Empty)));
}

#[test]
fn the_most_recently_used_documents_are_kept() {
    let (library, storage) = library::<Yrs>(2);
    for id in ["a", "b", "c"] {
        drop(create(&library, id));
    }
    assert_eq!((loads_and_closes(&storage), counts(&library)), ((0, 1), (0, 2, 0)));
    // The document is reused, and becomes the most recently used.
    visit(&library.open(&Link::<Page>::new("b")).expect("it is kept"));
    drop(create(&library, "d"));
    let saved = || storage.saved.lock().expect("the storage").keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        (loads_and_closes(&storage), saved()),
        ((0, 2), vec!["a".to_owned(), "c".to_owned()])
    );
    // The library is dropped together with its last handle and document.
    let page = library.open(&Link::<Page>::new("d")).expect("it is kept");
    drop(library);
    assert_eq!(saved().len(), 2);
    drop(page);
    assert_eq!((loads_and_closes(&storage), saved().len()), ((0, 4), 4));
}

#[test]
fn a_document_that_cannot_be_closed_is_not_lost() {
    let (library, storage) = library::<Yrs>(0);
    let page = create(&library, "a");
    storage.full.store(true, Ordering::SeqCst);
    visit(&page);
    drop(page);
    assert_eq!((counts(&library), library.close_unused()), ((0, 1, 0), false));
    let page = library.open(&Link::<Page>::new("a")).expect("it is handed on");
    assert_eq!((page.view().visits, loads_and_closes(&storage)), (1, (0, 2)));
    drop(page);
    storage.full.store(false, Ordering::SeqCst);
    // The next document that is closed triggers another attempt.
    drop(create(&library, "b"));
    assert_eq!(
        (counts(&library), storage.saved.lock().expect("the storage").len()),
        ((0, 0, 0), 2)
    );

    let page = create(&library, "panics");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(page))).is_err());
    assert_eq!(counts(&library), (0, 1, 0));
    // A failed close also does not keep the other documents open when the library is dropped.
    let others =
        Library::keeping(MemoryLoader { storage: Arc::clone(&storage), eager: OnceLock::new() }, 9);
    for id in ["m", "panics too", "z"] {
        drop(create(&others, id));
    }
    drop(others);
    assert_eq!(storage.saved.lock().expect("the storage").len(), 5);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(library))).is_err());
}

#[test]
fn a_loader_may_open_other_documents_but_not_in_a_circle() {
    let (library, storage) = library::<Yrs>(0);
    for (id, next) in [("a", "b"), ("b", "c"), ("c", "c"), ("x", "y"), ("y", "x")] {
        create(&library, id)
            .change(|page| page.next().set(Link::new(next)))
            .expect("it can be written");
    }
    drop(create(&library, "d"));
    create(&library, "e")
        .change(|page| page.pages().push(Link::new("d")))
        .expect("it can be written");
    // A circle of links is allowed as long as loading does not follow them.
    let mut page = library.open(&Link::<Page>::new("x")).expect("it is loaded");
    for _ in 0..4 {
        page = page.view().next.clone().expect("a link").open(&library).expect("it is loaded");
    }
    drop(page);

    assert!(library.loader().eager.set(library.clone()).is_ok());
    assert!(library.open(&Link::<Page>::new("e")).is_ok());
    let circle = library.open(&Link::<Page>::new("a"));
    assert!(
        matches!(
            &circle,
            Err(OpenError::Load { error, .. }) if error.contains("within its own loading")
        ),
        "{circle:?}"
    );
    // Two threads, each of which would wait for the other.
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for id in ["x", "y"] {
                let library = &library;
                scope.spawn(move || assert!(library.open(&Link::<Page>::new(id)).is_err()));
            }
        });
    }
    assert_eq!(counts(&library), (0, 0, 0));
    assert!(storage.loaded.lock().expect("the list").values().all(|there| *there == 0));
}

#[test]
fn a_document_has_one_type_and_an_id_has_one_document() {
    #[derive(State, Clone, Debug, PartialEq)]
    struct Other {
        title: String,
    }
    let (library, _) = library::<Yrs>(0);
    let page = create(&library, "a");
    assert!(
        matches!(library.open(&Link::<Other>::new("a")), Err(OpenError::Type { id }) if id == "a")
    );
    assert!(matches!(
        library.create_as(&Link::new("a"), &*page.view()),
        Err(OpenError::Exists { id }) if id == "a"
    ));
    drop(page);
    assert_eq!(library.open(&Link::<Other>::new("a")).expect("it is loaded").view().title, "a");
}

#[test]
fn a_document_can_be_opened_while_others_are_closed() {
    let (library, storage) = library::<Yrs>(9);
    for id in ["a", "b", "c"] {
        drop(create(&library, id));
    }
    let inner = library.clone();
    let open = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&open);
    // Closing the first document opens the last one, on the same thread and on another.
    let hook: Hook = Box::new(move |id| {
        if id == "a" {
            let open = || inner.open(&Link::<Page>::new("c")).expect("it is kept");
            let elsewhere =
                std::thread::scope(|scope| scope.spawn(open).join().expect("nobody panics"));
            kept.lock().expect("the list").extend([elsewhere, open()]);
        }
    });
    assert!(storage.closing.set(hook).is_ok());
    assert!(library.close_unused());
    assert_eq!((counts(&library), loads_and_closes(&storage)), ((1, 0, 0), (0, 2)));
    open.lock().expect("the list").clear();
    assert!(library.close_unused());
    assert_eq!((counts(&library), loads_and_closes(&storage)), ((0, 0, 0), (0, 3)));
}

#[test]
fn after_a_loader_panics_the_next_open_loads() {
    let (library, storage) = library::<Yrs>(0);
    drop(create(&library, "a"));
    let first = AtomicBool::new(true);
    let hook: Hook =
        Box::new(move |_| assert!(!first.swap(false, Ordering::SeqCst), "the loader panics"));
    assert!(storage.loading.set(hook).is_ok());
    let link = Link::<Page>::new("a");
    let barrier = Barrier::new(4);
    let panics = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                let opened =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| library.open(&link)));
                match opened {
                    Ok(page) => assert_eq!(page.expect("it is loaded").view().title, "a"),
                    Err(_) => _ = panics.fetch_add(1, Ordering::SeqCst),
                }
            });
        }
    });
    assert_eq!((panics.load(Ordering::SeqCst), counts(&library)), (1, (0, 0, 0)));
    assert!(storage.loaded.lock().expect("the list").values().all(|there| *there == 0));
}

#[test]
fn handles_may_be_dropped_in_callbacks_and_loaders() {
    let (library, storage) = library::<Yrs>(0);
    for id in ["a", "b", "c"] {
        drop(create(&library, id));
    }
    let open = |id: &str| library.open(&Link::<Page>::new(id)).expect("it is loaded");
    // Inside a callback of its own store.
    let page = open("a");
    let own = Arc::new(Mutex::new(None));
    let inner = Arc::clone(&own);
    let store = page.store().clone();
    let watch =
        store.watch(Page::path().visits(), move |_| drop(inner.lock().expect("the handle").take()));
    own.lock().expect("the handle").replace(page);
    store.change(|page| page.visits().set(4)).expect("it can be written");
    assert_eq!((counts(&library), open("a").view().visits), ((0, 0, 0), 4));
    drop((watch, store));
    // While another document is loaded, and while that one is closed.
    let held = Arc::new(Mutex::new(vec![open("b"), open("c")]));
    let loading = Arc::clone(&held);
    let closing = Arc::clone(&held);
    assert!(
        storage
            .loading
            .set(Box::new(move |_| drop(loading.lock().expect("the handles").pop())))
            .is_ok()
    );
    assert!(
        storage
            .closing
            .set(Box::new(move |id| if id == "a" {
                closing.lock().expect("the handles").clear()
            }))
            .is_ok()
    );
    let page = open("a");
    assert_eq!(counts(&library), (2, 0, 0));
    drop(page);
    assert_eq!(counts(&library), (0, 0, 0));
    assert!(storage.loaded.lock().expect("the list").values().all(|there| *there == 0));
}

#[test]
fn any_string_is_a_valid_id() {
    let (library, storage) = library::<Yrs>(0);
    let names =
        ["../../etc/passwd", "/", "~", "a\0b", " ", "\u{202e}x", "\u{1f600}", &"x".repeat(100_000)];
    for (at, id) in names.iter().enumerate() {
        create(&library, id)
            .change(|page| page.visits().set(at as i64))
            .expect("it can be written");
    }
    assert_eq!(storage.saved.lock().expect("the storage").len(), names.len());
    for (at, id) in names.iter().enumerate() {
        assert_eq!(
            library.open(&Link::<Page>::new(*id)).expect("it is loaded").view().visits,
            at as i64
        );
    }
    assert_eq!(counts(&library), (0, 0, 0));
}
