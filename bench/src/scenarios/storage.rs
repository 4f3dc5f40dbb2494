//! Documents on disk: what a change costs with storage attached, durable changes a second, opening,
//! bytes written, memory at rest. Beside it stand a store without storage, raw redb and raw SQLite,
//! which write the same bytes with the same durability, and Yjs with y-leveldb.
//!
//! The board has 10,000 cards, whatever `--n` says; that of `open` has 100,000.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use exostate::{State, Store};
use exostate_storage::{
    Compression, EncryptedAdapter, FilesAdapter, Key, Keys, Persist, RedbAdapter, SqliteAdapter,
    Storage, StorageOptions,
};

use super::progress;
use crate::allocation::megabytes_kept;
use crate::measure::{Samples, timed};
use crate::options::Options;
use crate::peers::exostate::{Cards as _, MapState};
use crate::report::{Place, Report};
use crate::work::cards::{BoardWork, Edit};

mod leveldb;
mod raw;

const N: usize = 10_000;
const SCENARIO: &str = "storage";
/// The store without storage, with which the others are compared.
const MEMORY: &str = "exostate-memory";
/// The writers that wait for the disk at once.
const WRITERS: usize = 64;

/// A kind of storage.
#[derive(Clone, Copy)]
struct Kept {
    system: &'static str,
    open: fn(&Path, StorageOptions) -> Result<Storage>,
}

const KEPT: [Kept; 5] = [
    Kept {
        system: "exostate-redb",
        open: |folder, options| {
            let adapter = RedbAdapter::open(folder.join("bench.redb"))?;
            Ok(Storage::with_options(adapter, options))
        },
    },
    Kept {
        system: "exostate-redb-lz4",
        open: |folder, options| {
            let adapter = RedbAdapter::open(folder.join("bench.redb"))?;
            Ok(Storage::with_options(adapter, options.with_compression(Compression::Lz4)))
        },
    },
    Kept {
        system: "exostate-redb-encrypted",
        open: |folder, options| {
            let adapter = RedbAdapter::open(folder.join("bench.redb"))?;
            let adapter = EncryptedAdapter::open(adapter, &Keys::new(Key::new([7; 32])))?;
            Ok(Storage::with_options(adapter, options))
        },
    },
    Kept {
        system: "exostate-files",
        open: |folder, options| {
            Ok(Storage::with_options(FilesAdapter::open(folder.join("bench"))?, options))
        },
    },
    Kept {
        system: "exostate-sqlite",
        open: |folder, options| {
            let adapter = SqliteAdapter::open(folder.join("bench.sqlite"))?;
            Ok(Storage::with_options(adapter, options))
        },
    },
];

/// The sizes of the measurements.
struct Sizes {
    board: usize,
    changes: usize,
    durable: usize,
    single: usize,
    open_board: usize,
    open_behind: usize,
    small_changes: usize,
    idle_documents: usize,
    repeats: usize,
}

impl Sizes {
    fn of(options: &Options) -> Self {
        if options.quick {
            return Self {
                board: 1_000,
                changes: 300,
                durable: 256,
                single: 20,
                open_board: 1_000,
                open_behind: 50,
                small_changes: 1_000,
                idle_documents: 50,
                repeats: 1,
            };
        }
        Self {
            board: N,
            changes: 4_000,
            durable: 32_768,
            single: 1_000,
            open_board: 100_000,
            open_behind: 1_000,
            small_changes: 100_000,
            idle_documents: 1_000,
            repeats: 5,
        }
    }
}

fn place(system: &'static str) -> Place {
    Place { scenario: SCENARIO, n: N, system }
}

/// Whether this scenario has a system of this name.
pub fn knows(system: &str) -> bool {
    let raw = raw::SYSTEMS.iter().map(|raw| raw.system);
    KEPT.iter()
        .map(|kept| kept.system)
        .chain(raw)
        .chain([MEMORY, leveldb::SYSTEM])
        .any(|known| known == system)
}

/// Measures every system that was selected.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let is_wanted = |system: &str| {
        options.systems.is_empty() || options.systems.iter().any(|wanted| wanted == system)
    };
    let sizes = Sizes::of(options);
    let kept: Vec<Kept> = KEPT.into_iter().filter(|kept| is_wanted(kept.system)).collect();
    change(&sizes, &kept, report)?;
    durable(&sizes, &kept, &is_wanted, report)?;
    open(&sizes, &kept, report)?;
    write_amplification(&sizes, &kept, report)?;
    idle(&sizes, &kept, report)?;
    if is_wanted(leveldb::SYSTEM) {
        leveldb::measure(&sizes, report);
    }
    Ok(())
}

/// A board that a storage keeps, with the folder in which it lies.
struct Board {
    store: Store<MapState>,
    storage: Storage,
    _folder: tempfile::TempDir,
}

impl Board {
    fn new(kept: Kept, work: &BoardWork) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let storage = (kept.open)(folder.path(), StorageOptions::default())?;
        let store = storage.open::<MapState>("board")?;
        store.reconcile(&MapState::build(&work.cards))?;
        store.flush_blocking()?;
        Ok(Self { store, storage, _folder: folder })
    }
}

/// The time of a local change, until `change` returns. The systems take turns.
fn change(sizes: &Sizes, kept: &[Kept], report: &mut Report) -> Result<()> {
    progress(SCENARIO, N, "change");
    let work = BoardWork::new(sizes.board, sizes.changes * (sizes.repeats + 1));
    let memory = Store::<MapState>::new();
    memory.reconcile(&MapState::build(&work.cards))?;
    let boards: Vec<Board> =
        kept.iter().map(|kept| Board::new(*kept, &work)).collect::<Result<_>>()?;
    let mut stores: Vec<(&'static str, Store<MapState>, Samples)> =
        vec![(MEMORY, memory, Samples::default())];
    for (kept, board) in kept.iter().zip(&boards) {
        stores.push((kept.system, board.store.clone(), Samples::default()));
    }
    for (round, edits) in work.edits.chunks(sizes.changes).enumerate() {
        for (_, store, samples) in &mut stores {
            for edit in edits {
                // The first round warms up.
                let (_, took) = timed(|| MapState::edit(store, edit))?;
                if round > 0 {
                    samples.add(took);
                }
            }
        }
    }
    for (system, _, samples) in stores {
        report.add(place(system), "change", samples.median(), "µs");
        if let Some(p99) = samples.p99() {
            report.add(place(system), "change_p99", p99, "µs");
        }
    }
    drop(boards);
    Ok(())
}

/// Durable changes a second: of 64 writers that each wait for a flush, and of one writer.
fn durable(
    sizes: &Sizes,
    kept: &[Kept],
    is_wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> Result<()> {
    let work = BoardWork::new(sizes.board, sizes.durable);
    let bytes = update_bytes(&work)?;
    // A document takes one change at a time, so its writers need one core. The storage's own thread
    // has another one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    for kept in kept {
        progress(SCENARIO, N, kept.system);
        let board = Board::new(*kept, &work)?;
        let store = &board.store;
        let many = runtime.block_on(many_writers(store, &work.edits))?;
        report.add(place(kept.system), "durable_per_second", many, "1/s");
        let begun = Instant::now();
        for edit in &work.edits[..sizes.single] {
            MapState::edit(store, edit)?;
            store.flush_blocking()?;
        }
        let single = sizes.single as f64 / begun.elapsed().as_secs_f64();
        report.add(place(kept.system), "durable_single_per_second", single, "1/s");
    }
    for raw in raw::SYSTEMS.iter().filter(|raw| is_wanted(raw.system)) {
        progress(SCENARIO, N, raw.system);
        let folder = tempfile::tempdir()?;
        let took = (raw.write)(folder.path(), sizes.durable, WRITERS, bytes)?;
        let many = sizes.durable as f64 / took.as_secs_f64();
        report.add(place(raw.system), "durable_per_second", many, "1/s");
        let folder = tempfile::tempdir()?;
        let took = (raw.write)(folder.path(), sizes.single, 1, bytes)?;
        let single = sizes.single as f64 / took.as_secs_f64();
        report.add(place(raw.system), "durable_single_per_second", single, "1/s");
    }
    Ok(())
}

/// The mean length of an update.
fn update_bytes(work: &BoardWork) -> Result<usize> {
    let store = Store::<MapState>::new();
    store.reconcile(&MapState::build(&work.cards))?;
    let updates = sum_of_updates(&store, &work.edits)?;
    Ok(updates.div_ceil(work.edits.len().max(1)))
}

/// Makes the edits. Returns the sum of the lengths of their updates.
fn sum_of_updates(store: &Store<MapState>, edits: &[Edit]) -> Result<usize> {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let sum = Arc::new(AtomicUsize::new(0));
    let total = Arc::clone(&sum);
    let _watch = store.on_update(move |update| {
        total.fetch_add(update.bytes.len(), Ordering::Relaxed);
    });
    edits.iter().try_for_each(|edit| MapState::edit(store, edit))?;
    Ok(sum.load(Ordering::Relaxed))
}

/// Changes a second.
async fn many_writers(store: &Store<MapState>, edits: &[Edit]) -> Result<f64> {
    let begun = Instant::now();
    let tasks: Vec<_> = edits
        .chunks(edits.len().div_ceil(WRITERS))
        .map(|edits| {
            let (store, edits) = (store.clone(), edits.to_vec());
            tokio::spawn(async move {
                for edit in &edits {
                    MapState::edit(&store, edit)?;
                    store.flush().await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(edits.len() as f64 / begun.elapsed().as_secs_f64())
}

/// The time until a document with a snapshot and records behind it is open, beside `Store::open` of
/// the same document.
fn open(sizes: &Sizes, kept: &[Kept], report: &mut Report) -> Result<()> {
    let work = BoardWork::new(sizes.open_board, sizes.open_behind);
    let mut saved = Vec::new();
    let mut folders = Vec::new();
    for kept in kept {
        progress(SCENARIO, N, &format!("a board to open with {}", kept.system));
        let folder = tempfile::tempdir()?;
        // The whole board becomes a snapshot, the edits after it stay in the log.
        let options = StorageOptions::default().with_compact_bytes_min(64 << 10);
        let storage = (kept.open)(folder.path(), options)?;
        let store = storage.open::<MapState>("board")?;
        store.reconcile(&MapState::build(&work.cards))?;
        store.flush_blocking()?;
        let snapshot = wait_for_snapshot(&storage)?;
        report.add(place(kept.system), "snapshot", snapshot as f64 / 1e6, "MB");
        for edit in &work.edits {
            MapState::edit(&store, edit)?;
            store.flush_blocking()?;
        }
        saved = store.save();
        drop(store);
        storage.close()?;
        folders.push((*kept, folder, Vec::new()));
    }
    if saved.is_empty() {
        return Ok(());
    }
    let mut memory = Vec::new();
    for _ in 0..sizes.repeats {
        let (store, took) = timed(|| Ok(Store::<MapState>::open(&saved)?))?;
        memory.push(took);
        drop(store);
        for (kept, folder, times) in &mut folders {
            let storage = (kept.open)(folder.path(), StorageOptions::default())?;
            let (store, took) = timed(|| Ok(storage.open_existing::<MapState>("board")?))?;
            ensure!(store.view().cards.len() == work.cards.len(), "the board is not whole");
            times.push(took);
            drop(store);
            storage.close()?;
        }
    }
    report.add(place(MEMORY), "open", median_ms(memory), "ms");
    for (kept, _, times) in folders {
        report.add(place(kept.system), "open", median_ms(times), "ms");
    }
    Ok(())
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |median| median.as_secs_f64() * 1e3)
}

/// Waits until the document is compacted. Returns the length of the snapshot.
fn wait_for_snapshot(storage: &Storage) -> Result<u64> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let report = storage.verify()?;
        if let Some(found) = report.documents.iter().find(|found| found.snapshot_bytes > 0) {
            return Ok(found.snapshot_bytes);
        }
        ensure!(Instant::now() < end, "the document was not compacted");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The bytes that the process wrote for small changes, as a multiple of their updates' bytes.
fn write_amplification(sizes: &Sizes, kept: &[Kept], report: &mut Report) -> Result<()> {
    let work = BoardWork::new(sizes.board, sizes.small_changes);
    for kept in kept {
        progress(SCENARIO, N, &format!("bytes written by {}", kept.system));
        let board = Board::new(*kept, &work)?;
        let before = bytes_written()?;
        let updates = sum_of_updates(&board.store, &work.edits)?;
        board.store.flush_blocking()?;
        let Board { store, storage, _folder } = board;
        drop(store);
        storage.close()?;
        let written = bytes_written()? - before;
        report.add(place(kept.system), "write_amplification", written as f64 / updates as f64, "x");
    }
    Ok(())
}

/// The bytes that this process has given to the system to write (Linux: `wchar`).
fn bytes_written() -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.context("/proc/self/io has no wchar")?.trim().parse()?)
}

/// A small document.
#[derive(State, Clone, Debug, PartialEq)]
struct Note {
    title: String,
}

/// Live memory with many documents kept and ten of them open, beside ten stores without storage.
fn idle(sizes: &Sizes, kept: &[Kept], report: &mut Report) -> Result<()> {
    const OPEN: usize = 10;
    let name = |at: usize| format!("note {at}");
    let (stores, megabytes) = megabytes_kept(|| -> Result<Vec<Store<Note>>> {
        (0..OPEN)
            .map(|at| {
                let store = Store::<Note>::new();
                store.change(|note| note.title().set(name(at)))?;
                Ok(store)
            })
            .collect()
    });
    stores?;
    report.add(place(MEMORY), "idle_bytes", megabytes, "MB");
    for kept in kept {
        progress(SCENARIO, N, &format!("memory at rest with {}", kept.system));
        let folder = tempfile::tempdir()?;
        let storage = (kept.open)(folder.path(), StorageOptions::default())?;
        for at in 0..sizes.idle_documents {
            let store = storage.open::<Note>(&name(at))?;
            store.change(|note| note.title().set(name(at)))?;
        }
        storage.close()?;
        let (held, megabytes) = megabytes_kept(|| -> Result<(Storage, Vec<Store<Note>>)> {
            let storage = (kept.open)(folder.path(), StorageOptions::default())?;
            let stores = (0..OPEN).map(|at| Ok(storage.open::<Note>(&name(at))?));
            let stores = stores.collect::<Result<Vec<_>>>()?;
            storage.flush_blocking()?;
            Ok((storage, stores))
        });
        drop(held?);
        report.add(place(kept.system), "idle_bytes", megabytes, "MB");
    }
    Ok(())
}
