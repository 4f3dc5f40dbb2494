//! Two processes edit one board over a network, on loopback. Both edit at once, one goes offline,
//! both continue to edit, and the first one returns.
//!
//! `cargo run --release --example peers`, or with another transport than QUIC `… peers -- --over
//! websocket`
//!
//! The program starts itself twice: as `host`, which serves the board and prints a ticket, and as
//! `guest`, which connects with the ticket. It sends commands to both, one on each line.

use std::io::IsTerminal;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use exostate::{Counter, MovableList, State, Store, Text};
use exostate_sync::{Documents, Peer, Server};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

#[derive(State, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
    notes: Text,
    cards: MovableList<Card>,
    votes: Counter,
}

#[derive(State, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
struct Card {
    text: String,
    done: bool,
}

/// The output of a process: its view, and the digest of its document.
#[derive(Serialize, Deserialize, PartialEq)]
struct Shown {
    board: Board,
    digest: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => conduct("quic").await,
        ["--over", transport] => conduct(transport).await,
        ["host", transport] => host(transport).await,
        ["guest", ticket] => guest(ticket).await,
        _ => bail!(
            "run it without arguments, or with --over quic, websocket, websocket-tls \
             or webtransport"
        ),
    }
}

/// Runs in the first process. It starts the other two, and sends them commands.
async fn conduct(transport: &str) -> Result<()> {
    let mut host = Process::start(&["host", transport]).await?;
    let ticket = host.read().await?;
    println!("the host serves {ticket}");
    let mut guest = Process::start(&["guest", &ticket]).await?;
    println!("the guest is {}", guest.read().await?);

    println!("both edit at once");
    together(&mut host, &mut guest, "edit online").await?;
    guest.ask("offline").await?;
    println!("the guest is offline; both edit on");
    together(&mut host, &mut guest, "edit offline").await?;
    guest.ask("online").await?;
    println!("the guest is back");

    // Updates on their way need a moment. The time-out of one minute only ends an example that
    // hangs.
    let views = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let ours = host.ask("show").await?;
            let theirs = guest.ask("show").await?;
            if ours == theirs {
                return Ok::<_, anyhow::Error>((ours, theirs));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (ours, theirs) = views.await.context("the views did not become equal")??;
    let [host_shows, guest_shows] =
        [&ours, &theirs].map(|line| serde_json::from_str::<Shown>(line));
    let host_shows = host_shows?;
    let guest_shows = guest_shows?;
    print_side_by_side(&host_shows, &guest_shows);
    ensure!(host_shows.board.cards.len() == 40, "a card is missing or doubled");
    println!(
        "both views are equal: each of the 40 changes is there once, \
         also the 20 made while the guest was offline"
    );
    guest.stop().await?;
    host.stop().await
}

/// Prints both views in two columns. A terminal shows equal lines in green and different ones in
/// red.
fn print_side_by_side(host: &Shown, guest: &Shown) {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    println!("\n{:8}{:34}guest", "", "host");
    for ((name, ours), (_, theirs)) in rows(host).into_iter().zip(rows(guest)) {
        let [before, after] = match (colours, ours == theirs) {
            (false, _) => ["", ""],
            (true, true) => ["\x1b[32m", "\x1b[0m"],
            (true, false) => ["\x1b[31m", "\x1b[0m"],
        };
        println!("{name:8}{before}{ours:34}{theirs}{after}");
    }
    println!();
}

/// A view in short lines, each with a name.
fn rows(shown: &Shown) -> Vec<(&'static str, String)> {
    let Board { title, notes, cards, votes } = &shown.board;
    let mut rows = vec![
        ("title", title.clone()),
        ("votes", votes.to_string()),
        ("notes", start_of(&notes.to_string())),
    ];
    rows.push(("cards", format!("{}, of which the first are", cards.len())));
    rows.extend(cards.iter().take(3).map(|card| ("", card.text.clone())));
    rows.push(("digest", start_of(&shown.digest)));
    rows
}

/// The first characters of a text.
fn start_of(text: &str) -> String {
    const SHOWN: usize = 24;
    let start: String = text.chars().take(SHOWN).collect();
    if start.len() < text.len() { format!("{start}…") } else { start }
}

async fn together(host: &mut Process, guest: &mut Process, command: &str) -> Result<()> {
    tokio::try_join!(host.ask(command), guest.ask(command))?;
    Ok(())
}

/// A process that takes commands.
struct Process {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let commands = child.stdin.take().context("no input")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, commands, answers })
    }

    async fn read(&mut self) -> Result<String> {
        self.answers.next_line().await?.context("the process ended early")
    }

    async fn ask(&mut self, command: &str) -> Result<String> {
        self.commands.write_all(format!("{command}\n").as_bytes()).await?;
        self.read().await
    }

    async fn stop(mut self) -> Result<()> {
        drop(self.commands);
        ensure!(self.child.wait().await?.success(), "a process failed");
        Ok(())
    }
}

async fn host(transport: &str) -> Result<()> {
    let store = Store::<Board>::new();
    let server = Server::builder(Documents::new().with("roadmap", &store)?);
    let addr = "127.0.0.1:0".parse()?;
    let server = match transport {
        "quic" => server.quic(addr),
        "websocket" => server.websocket(addr),
        "websocket-tls" => server.websocket_tls(addr),
        "webtransport" => server.webtransport(addr),
        other => bail!("no transport {other}"),
    };
    let server = server.bind().await?;
    println!("{}", server.ticket("roadmap")?);
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(command) = commands.next_line().await? {
        println!("{}", obey(&store, "host", &command).await?);
    }
    server.shutdown().await;
    Ok(())
}

async fn guest(ticket: &str) -> Result<()> {
    let store = Store::<Board>::new();
    let mut peer = Some(connect(&store, ticket).await?);
    println!("connected");
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(command) = commands.next_line().await? {
        match command.as_str() {
            "offline" => {
                if let Some(peer) = peer.take() {
                    peer.disconnect().await;
                }
                println!("ok");
            }
            "online" => {
                peer = Some(connect(&store, ticket).await?);
                println!("ok");
            }
            command => println!("{}", obey(&store, "guest", command).await?),
        }
    }
    if let Some(peer) = peer {
        peer.disconnect().await;
    }
    Ok(())
}

async fn connect(store: &Store<Board>, ticket: &str) -> Result<Peer> {
    let peer = Peer::connect(store, ticket).await?;
    peer.live().await?;
    Ok(peer)
}

/// Runs a command. Both kinds of process use this.
async fn obey(store: &Store<Board>, who: &str, command: &str) -> Result<String> {
    let Some(when) = command.strip_prefix("edit ") else {
        let shown =
            Shown { board: Board::clone(&store.view()), digest: store.digest().to_string() };
        return Ok(serde_json::to_string(&shown)?);
    };
    for number in 0..10 {
        store.change(|board| {
            board.title().set(format!("{who} {when} {number}"))?;
            board.notes().push_str(&format!("{who}{number} "))?;
            board.votes().add(1)?;
            let card = board
                .cards()
                .insert(0, Card { text: format!("{who}'s card {number}, {when}"), done: false })?;
            board.cards().get(card).done().set(true)
        })?;
        // A pause, so that edits of the other process arrive in between.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok("ok".to_owned())
}
