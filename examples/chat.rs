//! A chat of three participants in one process. Messages are a list, which is kept. Presence is not
//! kept: it shows the participants, and who is typing.
//!
//! `cargo run --release --example chat`

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exostate::{MovableList, State, Store};
use exostate_sync::{
    Config, Connection, Documents, Peer, Presence, PresenceWatch, Role, Server, memory_connections,
};
use serde::{Deserialize, Serialize};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Chat {
    messages: MovableList<Message>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Message {
    from: String,
    text: String,
}

/// The presence of each participant.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Writer {
    name: String,
    typing: bool,
}

/// A participant of the chat.
struct Person {
    name: &'static str,
    store: Store<Chat>,
    peer: Peer,
    presence: Presence<Writer>,
    changes: PresenceWatch<Writer>,
}

impl Person {
    async fn enter(name: &'static str, server: &Server) -> Result<Self> {
        let store = Store::<Chat>::new();
        let (here, there) = memory_connections(8);
        server.serve(there);
        let peer =
            Peer::over(&store, "chat", here.open().await?, Role::Initiator, Config::default());
        peer.live().await?;
        let presence = peer.presence::<Writer>();
        let changes = presence.watch();
        let person = Self { name, store, peer, presence, changes };
        person.show(false)?;
        Ok(person)
    }

    fn show(&self, typing: bool) -> Result<()> {
        Ok(self.presence.set(&Writer { name: self.name.to_owned(), typing })?)
    }

    async fn say(&self, text: &str) -> Result<()> {
        self.show(true)?;
        self.store.change(|chat| {
            chat.messages()
                .push(Message { from: self.name.to_owned(), text: text.to_owned() })
                .map(drop)
        })?;
        self.show(false)?;
        Ok(self.peer.flush().await?)
    }

    /// Prints the presence of the others until a participant shows the wanted state or leaves.
    async fn see(&mut self, wanted: Option<(&str, bool)>) -> Result<()> {
        loop {
            let change = self.changes.next().await.context("the chat is over")?;
            let what = match &change.state {
                Some(Writer { name, typing: true }) => format!("{name} is typing"),
                Some(Writer { name, typing: false }) if change.joined => format!("{name} is there"),
                Some(Writer { name, typing: false }) => format!("{name} is reading"),
                None => "someone has left".to_owned(),
            };
            println!("  ({} sees: {what})", self.name);
            if change.state.as_ref().map(|writer| (writer.name.as_str(), writer.typing)) == wanted {
                return Ok(());
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let server =
        Server::builder(Documents::new().with("chat", Store::<Chat>::new())?).bind().await?;
    let mut ada = Person::enter("Ada", &server).await?;
    let bob = Person::enter("Bob", &server).await?;
    ada.see(Some(("Bob", false))).await?;
    bob.show(true)?;
    ada.see(Some(("Bob", true))).await?;
    bob.say("hello").await?;
    ada.say("hello, Bob").await?;

    // A participant that joins later gets all messages.
    let eve = Person::enter("Eve", &server).await?;
    ada.see(Some(("Eve", false))).await?;
    eve.say("what did I miss?").await?;
    println!("Bob leaves");
    bob.peer.disconnect().await;
    ada.see(None).await?;
    ada.say("Bob is gone already").await?;

    // Messages on their way need a moment. The time-out of one minute only ends an example that
    // hangs.
    let same = tokio::time::timeout(Duration::from_secs(60), async {
        while ada.store.view() != eve.store.view() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    same.await.context("the chats did not become equal")?;
    for message in &ada.store.view().messages {
        println!("{}: {}", message.from, message.text);
    }
    ensure!(eve.store.view().messages.len() == 4, "a message is missing or doubled");
    println!("Ada and Eve read the same");
    server.shutdown().await;
    Ok(())
}
