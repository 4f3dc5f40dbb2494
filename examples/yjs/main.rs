//! One page in two engines: this process has it as a struct, and a Node process has it as a Yjs
//! document. Both edit it.
//!
//! Run `npm ci --prefix examples/yjs` once, then `cargo run --release --example yjs`.

use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use exostate::{List, State, Store, Text};
use exostate_sync::{Documents, Presence, Scheme, Server};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Page {
    title: String,
    notes: Text,
    tags: List<String>,
}

/// The same page, in the JSON that the Node side prints.
#[derive(Deserialize, Debug, PartialEq)]
struct Shown {
    title: String,
    notes: String,
    tags: Vec<String>,
}

/// The presence of each participant. Yjs calls it the awareness state.
#[derive(Serialize, Deserialize)]
struct Writer {
    name: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let store = Store::<Page>::new();
    store.change(|page| {
        page.title().set("Shopping")?;
        page.notes().push_str("To buy:\n")
    })?;
    // Yjs clients connect over WebSocket. Peers of this crate may join over any transport at the
    // same time.
    let documents = Documents::new().with("page", &store)?;
    let server = Server::builder(documents).websocket("127.0.0.1:0".parse()?).yjs().bind().await?;
    let addr = server.local_addr(Scheme::WebSocket).context("the server does not listen")?;
    let node = edit_in_node(&format!("ws://{addr}"), "page")?;

    // The time-out of one minute only ends an example that hangs.
    let done = tokio::time::timeout(Duration::from_secs(60), together(&store, &server, node));
    done.await.context("the Node side did not come, or stopped half-way")??;
    server.shutdown().await;
    Ok(())
}

/// Starts the Node side.
fn edit_in_node(url: &str, room: &str) -> Result<Child> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/yjs");
    if !folder.join("node_modules").is_dir() {
        bail!("the Node side lacks its packages: npm ci --prefix examples/yjs");
    }
    let mut node = Command::new("node");
    node.arg(folder.join("editor.mjs"))
        .args([url, room])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    node.spawn().context("`node` cannot be started: this example needs Node.js 20 or later")
}

async fn together(store: &Store<Page>, server: &Server, node: Child) -> Result<()> {
    let presence = server.presence::<Writer>("page")?;
    let mut output = pin!(node.wait_with_output());
    // If Node ends before it has edited, the wait for its edit would never end.
    let output = tokio::select! {
        biased;
        edited = edit(store, &presence) => {
            edited?;
            output.await?
        }
        ended = &mut output => ended?,
    };
    ensure!(
        output.status.success(),
        "the Node side failed ({}); if it lacks packages: npm ci --prefix examples/yjs",
        output.status
    );
    let theirs: Shown = serde_json::from_slice(&output.stdout)
        .context("the Node side said something else than what it shows")?;
    let view = store.view();
    let ours = Shown {
        title: view.title.clone(),
        notes: view.notes.to_string(),
        tags: view.tags.iter().cloned().collect(),
    };
    println!("{}\n{}{}", ours.title, ours.notes, ours.tags.join(", "));
    ensure!(ours == theirs, "the two sides differ: {ours:?} and {theirs:?}");
    println!("both sides show the same page");
    Ok(())
}

/// The work of this side: it shows itself, waits for the edits of Node, and answers.
async fn edit(store: &Store<Page>, presence: &Presence<Writer>) -> Result<()> {
    let mut others = presence.watch();
    presence.set(&Writer { name: "Rita, in Rust".to_owned() })?;
    let came = others.next().await.and_then(|change| change.state).context("nobody came")?;
    println!("Rust sees: {}", came.name);

    // Text typed in Node arrives in the struct.
    let (told, mut news) = tokio::sync::mpsc::unbounded_channel();
    let _watch = store.watch(Page::path().tags(), move |_| {
        // The send fails only if the receiver has gone.
        let _ = told.send(());
    });
    while store.view().tags.is_empty() {
        news.recv().await.context("the store is gone")?;
    }
    println!("Rust reads: {}", store.view().title);
    store.change(|page| {
        page.notes().push_str("- bread\n")?;
        page.tags().push("bakery")
    })?;
    Ok(())
}
