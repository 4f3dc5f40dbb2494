//! A simulated disk: what a power loss leaves of it, and errors at any operation.
//!
//! `pending.rs` says what a power loss does with one file or folder.

#[path = "pending.rs"]
mod pending;

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use exostate_storage::{Disk, DiskFile};
use fastrand::Rng;
use parking_lot::Mutex;
use pending::{Change, Entry, FileNode, FolderNode};

/// Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
struct State {
    nodes: Vec<Node>,
    locked: BTreeSet<PathBuf>,
    rng: Rng,
    operations: u64,
    /// The operations that were syncs.
    syncs: Vec<u64>,
    plan: Plan,
    is_dead: bool,
}

/// What happens at an operation.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    Nothing,
    /// The operation and all behind it fail. [`SimDisk::crash`] then gives what is left.
    PowerLoss {
        at: u64,
    },
    /// So many operations fail from this one on.
    Error {
        at: u64,
        count: u64,
        kind: ErrorKind,
    },
    /// The same, and a power loss later.
    ErrorThenPowerLoss {
        at: u64,
        count: u64,
        kind: ErrorKind,
        power_loss: u64,
    },
}

#[derive(Clone, Debug)]
enum Node {
    File(FileNode),
    Folder(FolderNode),
}

/// What the disk does with an operation.
enum Verdict {
    Go,
    /// The power goes off in the middle.
    Dies,
    Fails(ErrorKind),
}

fn missing(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("{} is missing", path.display()))
}

impl State {
    /// Counts an operation, and says what happens with it.
    fn begin(&mut self, is_sync: bool) -> Result<Verdict> {
        if self.is_dead {
            return Err(Error::other("the power is off"));
        }
        let operation = self.operations;
        self.operations += 1;
        if is_sync {
            self.syncs.push(operation);
        }
        match self.plan {
            Plan::PowerLoss { at } | Plan::ErrorThenPowerLoss { power_loss: at, .. }
                if operation == at =>
            {
                self.is_dead = true;
                Ok(Verdict::Dies)
            }
            Plan::Error { at, count, kind } | Plan::ErrorThenPowerLoss { at, count, kind, .. }
                if (at..at + count).contains(&operation) =>
            {
                Ok(Verdict::Fails(kind))
            }
            _ => Ok(Verdict::Go),
        }
    }

    /// Begins an operation that is done or not. If the power goes off, it is not synced anyway.
    fn step(&mut self) -> Result<()> {
        match self.begin(false)? {
            Verdict::Go | Verdict::Dies => Ok(()),
            Verdict::Fails(kind) => Err(kind.into()),
        }
    }

    /// The result of an operation that was done.
    fn end<T>(&self, value: T) -> Result<T> {
        if self.is_dead { Err(Error::other("the power is off")) } else { Ok(value) }
    }

    fn find(&self, path: &Path) -> Result<usize> {
        let mut node = 0;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let name = name.to_str().expect("UTF-8");
            let Node::Folder(folder) = &self.nodes[node] else { return Err(missing(path)) };
            node = *folder.seen.get(name).ok_or_else(|| missing(path))?;
        }
        Ok(node)
    }

    fn folder(&mut self, path: &Path) -> Result<&mut FolderNode> {
        let node = self.find(path)?;
        match &mut self.nodes[node] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(missing(path)),
        }
    }

    /// The folder of an entry, and the entry's name.
    fn parent(&mut self, path: &Path) -> Result<(&mut FolderNode, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        Ok((self.folder(path.parent().expect("a folder"))?, name))
    }

    fn file(&mut self, node: usize) -> &mut FileNode {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Folder(_) => panic!("a folder is used as a file"),
        }
    }

    fn add(&mut self, path: &Path, new: Node) -> Result<usize> {
        let node = self.nodes.len();
        let (folder, name) = self.parent(path)?;
        folder.change(Entry::Add(name, node));
        self.nodes.push(new);
        Ok(node)
    }

    fn write(&mut self, node: usize, at: u64, bytes: &[u8]) -> Result<()> {
        let written = match self.begin(false)? {
            Verdict::Go | Verdict::Dies => bytes.len(),
            Verdict::Fails(kind) => {
                let cut = self.rng.usize(0..=bytes.len());
                self.file(node).change(Change::Write(at as usize, bytes[..cut].to_vec()));
                return Err(kind.into());
            }
        };
        self.file(node).change(Change::Write(at as usize, bytes[..written].to_vec()));
        self.end(())
    }

    fn sync(&mut self, node: usize) -> Result<()> {
        match self.begin(true)? {
            Verdict::Go => self.file(node).sync(),
            Verdict::Dies => {}
            Verdict::Fails(kind) => {
                // As Linux does: what could not be written counts as written from now on.
                let mut rng = self.rng.fork();
                self.file(node).settle(&mut rng);
                return Err(kind.into());
            }
        }
        self.end(())
    }
}

impl SimDisk {
    pub fn new() -> Self {
        Self::with(vec![Node::Folder(FolderNode::default())], 0)
    }

    fn with(nodes: Vec<Node>, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            nodes,
            locked: BTreeSet::new(),
            rng: Rng::with_seed(seed),
            operations: 0,
            syncs: Vec::new(),
            plan: Plan::Nothing,
            is_dead: false,
        })))
    }

    pub fn plan(&self, plan: Plan) {
        self.0.lock().plan = plan;
    }

    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    pub fn syncs(&self) -> Vec<u64> {
        self.0.lock().syncs.clone()
    }

    pub fn is_dead(&self) -> bool {
        self.0.lock().is_dead
    }

    /// A disk with what a power loss leaves.
    pub fn crash(&self, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut nodes = self.0.lock().nodes.clone();
        for node in &mut nodes {
            match node {
                Node::File(file) => {
                    file.settle(&mut rng);
                    file.seen.clone_from(&file.durable);
                }
                Node::Folder(folder) => {
                    folder.settle(&mut rng);
                    folder.seen.clone_from(&folder.durable);
                }
            }
        }
        Self::with(nodes, seed)
    }

    /// The files that can be reached, with their content.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.0.lock();
        let mut files = Vec::new();
        let mut todo = vec![(PathBuf::from("/"), 0)];
        while let Some((path, node)) = todo.pop() {
            match &state.nodes[node] {
                Node::File(file) => files.push((path, file.seen.clone())),
                Node::Folder(folder) => {
                    todo.extend(folder.seen.iter().map(|(name, node)| (path.join(name), *node)));
                }
            }
        }
        files.sort();
        files
    }

    /// A disk on which one bit of a file is flipped.
    pub fn flipped(&self, path: &Path, bit: usize) -> Self {
        let state = self.0.lock();
        let disk = Self::with(state.nodes.clone(), 0);
        let node = state.find(path).expect("the file is there");
        let mut changed = disk.0.lock();
        let file = changed.file(node);
        file.seen[bit / 8] ^= 1 << (bit % 8);
        file.durable.clone_from(&file.seen);
        file.pending.clear();
        drop(changed);
        disk
    }

    /// Opens the file of a database, made if it is missing.
    pub fn backend(&self, path: &Path) -> Result<SimBackend> {
        let mut state = self.0.lock();
        let node = match state.find(path) {
            Ok(node) => node,
            Err(_) => {
                state.step()?;
                let node = state.add(path, Node::File(FileNode::default()))?;
                let (folder, name) = state.parent(path)?;
                folder.durable.insert(name, node);
                node
            }
        };
        Ok(SimBackend { disk: self.clone(), node })
    }
}

struct Locked(SimDisk, PathBuf);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.0.lock().locked.remove(&self.1);
    }
}

impl Disk for SimDisk {
    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.0.lock();
        state.step()?;
        if !state.locked.insert(path.to_path_buf()) {
            return Ok(None);
        }
        if state.find(path).is_err() {
            state.add(path, Node::File(FileNode::default()))?;
        }
        // A lock ends with the power: it is not made, as its end would wait for the state.
        state.end(())?;
        Ok(Some(Box::new(Locked(self.clone(), path.to_path_buf()))))
    }

    fn make_folder(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let parts: Vec<&Path> = path.ancestors().collect();
        for part in parts.into_iter().rev().filter(|part| part.file_name().is_some()) {
            if state.find(part).is_err() {
                state.add(part, Node::Folder(FolderNode::default()))?;
            }
        }
        state.end(())
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        let mut state = self.0.lock();
        state.step()?;
        let names = state.folder(folder)?.seen.keys().cloned().collect();
        state.end(names)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
        let mut state = self.0.lock();
        state.step()?;
        let node = state.find(path)?;
        let mut bytes = state.file(node).seen.clone();
        bytes.truncate(usize::try_from(bytes_max).unwrap_or(usize::MAX));
        state.end(bytes)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.step()?;
        let node = match state.find(path) {
            Ok(node) => node,
            Err(_) => state.add(path, Node::File(FileNode::default()))?,
        };
        state.file(node).change(Change::Length(0));
        state.end(Box::new(SimBackend { disk: self.clone(), node }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.step()?;
        let node = state.find(path)?;
        state.end(Box::new(SimBackend { disk: self.clone(), node }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        assert_eq!(from.parent(), to.parent(), "a rename stays in its folder");
        let node = state.find(from)?;
        let (_, to) = state.parent(to)?;
        let (folder, from) = state.parent(from)?;
        folder.change(Entry::Rename(from, to, node));
        state.end(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.find(path)?;
        let (folder, name) = state.parent(path)?;
        folder.change(Entry::Remove(name));
        state.end(())
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        // The entries go one by one, in any order.
        let mut names = self.list(path)?;
        self.0.lock().rng.shuffle(&mut names);
        for name in names {
            self.remove(&path.join(name))?;
        }
        self.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        match state.begin(true)? {
            Verdict::Go => {
                let folder = state.folder(path)?;
                folder.durable = folder.seen.clone();
                folder.pending.clear();
            }
            Verdict::Dies => {}
            // Entries lie in the journal of the file system: they stay pending.
            Verdict::Fails(kind) => return Err(kind.into()),
        }
        state.end(())
    }
}

/// An open file, for the files adapter and for redb.
#[derive(Debug)]
pub struct SimBackend {
    disk: SimDisk,
    node: usize,
}

impl DiskFile for SimBackend {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.disk.0.lock().write(self.node, at, bytes)
    }

    fn set_len(&mut self, len: u64) -> Result<()> {
        redb::StorageBackend::set_len(self, len)
    }

    fn sync(&mut self) -> Result<()> {
        self.disk.0.lock().sync(self.node)
    }
}

impl redb::StorageBackend for SimBackend {
    fn len(&self) -> Result<u64> {
        Ok(self.disk.0.lock().file(self.node).seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.step()?;
        let start = offset as usize;
        let seen = &state.file(self.node).seen;
        let bytes = seen.get(start..start + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        state.end(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.step()?;
        state.file(self.node).change(Change::Length(len as usize));
        state.end(())
    }

    fn sync_data(&self) -> Result<()> {
        self.disk.0.lock().sync(self.node)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.disk.0.lock().write(self.node, offset, data)
    }
}
