//! Three peers over QUIC, each connected to both others, without a server. One peer leaves, the
//! others continue, and the first one returns.
//!
//! `cargo run --release --example mesh`

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exostate::{Counter, State, Store, Text};
use exostate_sync::{Documents, Identity, Peer, Room, Scheme, Server, Ticket};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    notes: Text,
    votes: Counter,
}

/// One of the three peers. It listens, and connects to the peers that started before it.
struct Node {
    name: &'static str,
    store: Store<Board>,
    /// One room for all its connections: the served document and the joined ones are the same.
    room: Room,
    server: Server,
    peers: Vec<Peer>,
}

impl Node {
    async fn start(name: &'static str, others: &[&Node]) -> Result<Self> {
        let store = Store::<Board>::new();
        let room = Room::new(&store);
        let server =
            Server::bind("127.0.0.1:0".parse()?, Documents::new().with("board", &room)?).await?;
        let peers = others
            .iter()
            .map(|other| Ok(Peer::join(&room, other.ticket()?)?))
            .collect::<Result<_>>()?;
        room.presence().set(&name.to_owned())?;
        Ok(Self { name, store, room, server, peers })
    }

    fn ticket(&self) -> Result<Ticket> {
        Ok(self.server.ticket("board")?)
    }

    fn edit(&self) -> Result<()> {
        self.store.change(|board| {
            board.notes().push_str(&format!("{} was here. ", self.name))?;
            board.votes().add(1)
        })?;
        Ok(())
    }

    /// The names of the visible participants, and its own name.
    fn people(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.room.presence::<String>().others().into_iter().map(|other| other.state).collect();
        names.push(self.name.to_owned());
        names.sort();
        names
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let ada = Node::start("Ada", &[]).await?;
    let bob = Node::start("Bob", &[&ada]).await?;
    let eve = Node::start("Eve", &[&ada, &bob]).await?;
    for node in [&ada, &bob, &eve] {
        node.edit()?;
    }
    in_sync("three are there", &[&ada, &bob, &eve], 3).await?;

    println!("Ada's process ends; Bob and Eve go on");
    let addr = ada.server.local_addr(Scheme::Quic).context("it listens")?;
    let identity = copy(ada.server.identity());
    let saved = ada.store.save();
    ada.server.shutdown().await;
    drop((ada.room, ada.peers));
    bob.edit()?;
    eve.edit()?;
    in_sync("two are left", &[&bob, &eve], 5).await?;

    println!("Ada comes back at the same address, with what she had saved and a new edit");
    let store = Store::<Board>::open(&saved)?;
    let room = Room::new(&store);
    let documents = Documents::new().with("board", &room)?;
    let server = Server::builder(documents).identity(identity).quic(addr).bind().await?;
    room.presence().set(&"Ada".to_owned())?;
    let ada = Node { name: "Ada", store, room, server, peers: Vec::new() };
    ada.edit()?;
    in_sync("three are there again", &[&ada, &bob, &eve], 6).await?;
    println!("all three boards are equal");
    for node in [ada, bob, eve] {
        node.server.shutdown().await;
    }
    Ok(())
}

fn copy(identity: &Identity) -> Identity {
    Identity::from_der(identity.certificate_der().to_vec(), identity.key_der().to_vec())
}

/// Waits until all nodes have the same board with `votes` votes, and see each other.
async fn in_sync(when: &str, nodes: &[&Node], votes: i64) -> Result<()> {
    let names: Vec<String> = nodes.iter().map(|node| node.name.to_owned()).collect();
    let same = |node: &&Node| {
        node.store.view().votes.value() == votes
            && node.store.view() == nodes[0].store.view()
            && node.people() == names
    };
    // The time-out of one minute only ends an example that hangs.
    let waiting = tokio::time::timeout(Duration::from_secs(60), async {
        while !nodes.iter().all(same) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waiting.await.with_context(|| format!("{when}: the boards did not become equal"))?;
    println!(
        "{when}: {} see {:?}, {votes} votes",
        names.join(", "),
        nodes[0].store.view().notes.to_string()
    );
    ensure!(
        nodes.iter().all(|node| node.store.digest() == nodes[0].store.digest()),
        "the digests differ"
    );
    Ok(())
}
