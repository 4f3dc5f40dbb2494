//! Replays a recorded typing session on one peer, with one change for each keystroke. Another peer
//! receives it over QUIC.
//!
//! `cargo run --release --example replay -- tests/data/recording.json.gz`
//!
//! A recording is gzipped JSON: `{startContent, endContent, txns: [{patches: [[position, deleted,
//! inserted]]}]}`. Positions are in Unicode scalar values.

#![allow(clippy::disallowed_methods, reason = "it times itself")]

use std::io::{IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use exostate::{State, Store, Text};
use exostate_sync::{Documents, Peer, Server};
use serde::Deserialize;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Document {
    text: Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recording {
    start_content: String,
    end_content: String,
    txns: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    patches: Vec<(usize, usize, String)>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let path =
        std::env::args().nth(1).context("say which recording to replay: a path to a .json.gz")?;
    let recording = read(&path).with_context(|| format!("{path} cannot be read as a recording"))?;

    let typist = Store::<Document>::new();
    typist.change(|document| document.text().push_str(&recording.start_content))?;
    let reader = Store::<Document>::new();
    let documents = Documents::new().with("text", &typist)?;
    let server = Server::bind("127.0.0.1:0".parse()?, documents).await?;
    let peer = Peer::connect(&reader, server.ticket("text")?).await?;
    peer.live().await?;

    let started = Instant::now();
    let changes = recording.txns.len();
    let typing = tokio::task::spawn_blocking({
        let typist = typist.clone();
        move || type_all(&typist, &recording).map(|()| recording)
    });
    let recording = typing.await??;
    println!("{changes} changes typed in {:.2?}", started.elapsed());
    // The time-out only ends an example that hangs.
    tokio::time::timeout(Duration::from_secs(600), async {
        while reader.version() != typist.version() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .context("the reader did not catch up")?;
    println!("and on the other peer after {:.2?}", started.elapsed());

    for (name, store) in [("typist", &typist), ("reader", &reader)] {
        ensure!(
            store.view().text.to_string() == recording.end_content,
            "the {name}'s text is not the recorded one"
        );
    }
    ensure!(typist.digest() == reader.digest(), "the digests differ");
    println!(
        "the final text is the recorded one on both peers ({} characters)",
        typist.view().text.len()
    );
    peer.disconnect().await;
    server.shutdown().await;
    Ok(())
}

fn read(path: &str) -> Result<Recording> {
    let mut json = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path)?).read_to_string(&mut json)?;
    Ok(serde_json::from_str(&json)?)
}

fn type_all(store: &Store<Document>, recording: &Recording) -> Result<()> {
    let total = recording.txns.len();
    for (index, transaction) in recording.txns.iter().enumerate() {
        store.change(|document| {
            for (at, delete, insert) in &transaction.patches {
                document.text().splice(*at..at + delete, insert)?;
            }
            Ok(())
        })?;
        if index % (total / 50).max(1) == 0 || index + 1 == total {
            progress(index + 1, total)?;
        }
    }
    Ok(())
}

/// Prints a progress bar on a terminal, and nothing in a log.
fn progress(done: usize, total: usize) -> Result<()> {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let filled = done * 40 / total.max(1);
        write!(out, "\r[{}{}] {done}/{total}", "#".repeat(filled), " ".repeat(40 - filled))?;
        if done == total {
            writeln!(out)?;
        }
        out.flush()?;
    }
    Ok(())
}
