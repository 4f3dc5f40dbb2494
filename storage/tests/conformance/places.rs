//! The kinds of adapters, and places for them.

use std::path::{Path, PathBuf};

use exostate_storage::{Adapter, AdapterError, MemoryAdapter};
use tempfile::TempDir;

/// What a child process of a test reads.
const KIND: &str = "EXOSTATE_TEST_KIND";
const PATH: &str = "EXOSTATE_TEST_PATH";

type Opener = fn(&Path, &MemoryAdapter) -> Result<Box<dyn Adapter>, AdapterError>;

/// A kind of adapter.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    is_on_disk: bool,
    opener: Opener,
}

impl Kind {
    pub(crate) fn open(
        self,
        path: &Path,
        memory: &MemoryAdapter,
    ) -> Result<Box<dyn Adapter>, AdapterError> {
        (self.opener)(path, memory)
    }
}

fn boxed(adapter: impl Adapter) -> Box<dyn Adapter> {
    Box::new(adapter)
}

/// The adapter, encrypted with plain names or with hidden ones.
#[cfg(feature = "encryption")]
fn encrypted(
    inner: Result<impl Adapter, AdapterError>,
    hides_names: bool,
) -> Result<Box<dyn Adapter>, AdapterError> {
    use exostate_storage::{EncryptedAdapter, Key, Keys};
    let keys = Keys::new(Key::new([7; 32])).with_old(Key::new([8; 32]));
    let keys = if hides_names { keys.with_hidden_names() } else { keys };
    EncryptedAdapter::open(inner?, &keys).map(boxed)
}

/// All kinds.
pub(crate) fn all() -> Vec<Kind> {
    let mut kinds = Vec::new();
    let mut add = |name: &'static str, opener: Opener| {
        let is_on_disk = !name.contains("memory");
        kinds.push(Kind { name, is_on_disk, opener });
    };
    add("memory", |_, memory| Ok(boxed(memory.clone())));
    #[cfg(feature = "encryption")]
    {
        add("encrypted memory", |_, memory| encrypted(Ok(memory.clone()), false));
        add("hidden memory", |_, memory| encrypted(Ok(memory.clone()), true));
    }
    #[cfg(feature = "redb")]
    {
        use exostate_storage::RedbAdapter;
        add("redb", |path, _| RedbAdapter::open(path).map(boxed));
        #[cfg(feature = "encryption")]
        {
            add("encrypted redb", |path, _| encrypted(RedbAdapter::open(path), false));
            add("hidden redb", |path, _| encrypted(RedbAdapter::open(path), true));
        }
    }
    #[cfg(feature = "sqlite")]
    {
        use exostate_storage::SqliteAdapter;
        add("sqlite", |path, _| SqliteAdapter::open(path).map(boxed));
        #[cfg(feature = "encryption")]
        {
            add("encrypted sqlite", |path, _| encrypted(SqliteAdapter::open(path), false));
            add("hidden sqlite", |path, _| encrypted(SqliteAdapter::open(path), true));
        }
    }
    #[cfg(feature = "files")]
    {
        use exostate_storage::FilesAdapter;
        add("files", |path, _| FilesAdapter::open(path).map(boxed));
        #[cfg(feature = "encryption")]
        {
            add("encrypted files", |path, _| encrypted(FilesAdapter::open(path), false));
            add("hidden files", |path, _| encrypted(FilesAdapter::open(path), true));
        }
    }
    kinds
}

/// The kinds that keep documents on disk.
pub(crate) fn on_disk() -> Vec<Kind> {
    all().into_iter().filter(|kind| kind.is_on_disk).collect()
}

/// A place for an adapter, gone when it is dropped.
pub(crate) struct Place {
    kind: Kind,
    path: PathBuf,
    memory: MemoryAdapter,
    _folder: Option<TempDir>,
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("documents");
        Self { kind, path, memory: MemoryAdapter::new(), _folder: Some(folder) }
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Adapter>, AdapterError> {
        self.kind.open(&self.path, &self.memory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.hides_names() || self.kind.name.starts_with("encrypted")
    }

    pub(crate) fn hides_names(&self) -> bool {
        self.kind.name.starts_with("hidden")
    }

    /// The environment that leads a child process to this place.
    pub(crate) fn for_child(&self) -> [(&'static str, PathBuf); 2] {
        [(KIND, self.kind.name.into()), (PATH, self.path.clone())]
    }

    /// The place of this child process.
    pub(crate) fn of_child() -> Option<Self> {
        let (name, path) = (std::env::var(KIND).ok()?, std::env::var_os(PATH)?);
        let kind = all().into_iter().find(|kind| kind.name == name)?;
        Some(Self { kind, path: path.into(), memory: MemoryAdapter::new(), _folder: None })
    }
}
