//! A game of three players at 60 changes a second each, over a server in memory: each has a store
//! of its own, moves its ship in it and sees the others glide.
//!
//! `cargo run --release --example game`, or `… --example game -- --draw` to watch what Ada sees.

#![allow(clippy::disallowed_methods, reason = "a game lives by the clock")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exostate::{Counter, Map, Origin, State, Store, Subscription};
use exostate_sync::{Config, Connection, Documents, Peer, Role, Server, memory_connections};
use parking_lot::Mutex;
use tokio::time::{Instant, interval, sleep, timeout};

const TICK: Duration = Duration::from_nanos(1_000_000_000 / 60);
const TICKS: u64 = 120;
/// A ship fires at every so manieth tick.
const RELOAD: u64 = 20;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Game {
    /// Each player writes its own ship only, so nothing competes.
    ships: Map<String, Ship>,
    /// All write here, and all of it counts.
    score: Counter,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Ship {
    /// When it was here, in ticks of its own player's clock: the only time that means something to
    /// the others.
    tick: u64,
    x: f64,
    y: f64,
    shots: u64,
}

/// What a player knows of another's ship.
struct Track {
    earlier: Ship,
    latest: Ship,
    came: Instant,
    changes: u64,
    longest_gap: Duration,
}

impl Track {
    fn add(&mut self, ship: &Ship, now: Instant) {
        self.longest_gap = self.longest_gap.max(now - self.came);
        self.earlier = std::mem::replace(&mut self.latest, ship.clone());
        (self.came, self.changes) = (now, self.changes + 1);
    }

    /// Where to draw the ship: on its way from the last place but one to the last, which takes it
    /// as long as it took its player.
    ///
    /// States come 60 times a second but never just when a frame is drawn: two in one frame, none
    /// in the next. Drawn where it was last known, a ship would stand and jump. So it is drawn
    /// about a tick late, and moves in every frame. Guessing where it will be (extrapolation)
    /// would save the tick, and jump back whenever a ship turns.
    fn place(&self, now: Instant) -> (f64, f64) {
        let ticks = self.latest.tick.saturating_sub(self.earlier.tick).max(1) as f64;
        let way = ((now - self.came).as_secs_f64() / (TICK.as_secs_f64() * ticks)).min(1.0);
        let between = |from: f64, to: f64| from + (to - from) * way;
        (between(self.earlier.x, self.latest.x), between(self.earlier.y, self.latest.y))
    }
}

/// The others' ships by their paths. The watcher writes it, whoever draws reads it.
type Tracks = Arc<Mutex<BTreeMap<String, Track>>>;

struct Player {
    name: &'static str,
    store: Store<Game>,
    peer: Peer,
    tracks: Tracks,
    _watch: Subscription,
}

impl Player {
    async fn enter(name: &'static str, server: &Server) -> Result<Self> {
        let store = Store::<Game>::new();
        let tracks = Tracks::default();
        let others = Arc::clone(&tracks);
        let watch = store.watch(Game::path().ships().any(), move |ship| {
            let (Some(new), Origin::Remote) = (ship.new(), ship.origin()) else { return };
            let now = Instant::now();
            let mut others = others.lock();
            match others.get_mut(ship.path()) {
                Some(track) => track.add(new, now),
                None => {
                    // That a ship is there is no change that it made in the game.
                    let changes = u64::from(new.tick > 0);
                    let track = Track {
                        earlier: new.clone(),
                        latest: new.clone(),
                        came: now,
                        changes,
                        longest_gap: Duration::ZERO,
                    };
                    others.insert(ship.path().to_owned(), track);
                }
            }
        });
        store.change(|game| game.ships().insert(name, Ship::default()))?;
        let (here, there) = memory_connections(64);
        server.serve(there);
        let peer =
            Peer::over(&store, "game", here.open().await?, Role::Initiator, Config::default());
        peer.live().await?;
        Ok(Self { name, store, peer, tracks, _watch: watch })
    }

    /// Two seconds of the game: one change a tick, then a frame.
    async fn play(&self, phase: f64, draw: bool) -> Result<()> {
        let mut ticks = interval(TICK);
        for tick in 1..=TICKS {
            ticks.tick().await;
            let angle = phase + tick as f64 / 30.0;
            let fires = tick.is_multiple_of(RELOAD);
            self.store.change(|game| {
                let ship = game.ships().get(self.name);
                ship.tick().set(tick)?;
                ship.x().set(angle.cos())?;
                ship.y().set(angle.sin())?;
                if fires {
                    ship.shots().set(tick / RELOAD)?;
                    game.score().add(1)?;
                }
                Ok(())
            })?;
            let frame = self.frame(Instant::now());
            if draw {
                print!("\r{frame}");
                std::io::Write::flush(&mut std::io::stdout())?;
            }
        }
        Ok(())
    }

    /// The others' ships on a line: where they are from left to right.
    fn frame(&self, now: Instant) -> String {
        let mut line = vec![' '; 64];
        for (path, track) in &*self.tracks.lock() {
            let (x, _) = track.place(now);
            let column = ((x + 1.0) / 2.0 * (line.len() - 1) as f64).round() as usize;
            if let (Some(cell), Some(letter)) =
                (line.get_mut(column), path.trim_start_matches("ships/").chars().next())
            {
                *cell = letter;
            }
        }
        line.into_iter().collect()
    }

    fn report(&self) {
        let tracks = self.tracks.lock();
        let changes: u64 = tracks.values().map(|track| track.changes).sum();
        let gap = tracks.values().map(|track| track.longest_gap).max().unwrap_or_default();
        println!(
            "{}: saw {changes} changes of the others, {} were made; the longest gap was {} ms",
            self.name,
            2 * TICKS,
            gap.as_millis()
        );
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let draw = std::env::args().any(|argument| argument == "--draw");
    let server =
        Server::builder(Documents::new().with("game", Store::<Game>::new())?).bind().await?;
    let ada = Player::enter("Ada", &server).await?;
    let bob = Player::enter("Bob", &server).await?;
    let eve = Player::enter("Eve", &server).await?;
    tokio::try_join!(ada.play(0.0, draw), bob.play(2.0, false), eve.play(4.0, false))?;

    // What is in flight needs a moment; a minute is a guard against a hang, no measure.
    let players = [&ada, &bob, &eve];
    let done = |player: &&Player| {
        let game = player.store.view();
        game.ships.len() == players.len()
            && game.ships.values().all(|ship| ship.tick == TICKS)
            && game == ada.store.view()
    };
    let in_sync = timeout(Duration::from_secs(60), async {
        while !players.iter().all(done) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    in_sync.await.context("the players do not see the same game")?;
    players.iter().for_each(|player| player.report());
    let fired = (TICKS / RELOAD) as i64 * players.len() as i64;
    ensure!(ada.store.view().score.value() == fired, "a shot is missing or counted twice");
    println!("all three players see the same game: {fired} shots");
    for player in [ada, bob, eve] {
        player.peer.disconnect().await;
    }
    server.shutdown().await;
    Ok(())
}
