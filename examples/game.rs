//! A game of three players, with 60 changes a second each, over a server in memory. Each player has
//! a store, moves its ship in it, and sees the other ships move smoothly.
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
/// The number of ticks between two shots of a ship.
const RELOAD: u64 = 20;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Game {
    /// Each player writes only its own ship, so there are no conflicts.
    ships: Map<String, Ship>,
    /// All players add to the score, and every addition counts.
    score: Counter,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Ship {
    /// The time of this position, in ticks of the player's own clock. Another player can compare it
    /// only with other positions of this ship.
    tick: u64,
    x: f64,
    y: f64,
    shots: u64,
}

/// The known positions of another player's ship.
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

    /// The place where the ship is drawn. It moves from the last position but one to the last
    /// position, in the time that the ship itself needed.
    ///
    /// Positions arrive 60 times a second, but not in step with the frames: one frame gets two, the
    /// next gets none. A ship drawn at its last known position would stop and jump. So it is drawn
    /// about one tick late, and moves in every frame. Extrapolation would avoid the delay, but the
    /// ship would jump back at every turn.
    fn place(&self, now: Instant) -> (f64, f64) {
        let ticks = self.latest.tick.saturating_sub(self.earlier.tick).max(1) as f64;
        let way = ((now - self.came).as_secs_f64() / (TICK.as_secs_f64() * ticks)).min(1.0);
        let between = |from: f64, to: f64| from + (to - from) * way;
        (between(self.earlier.x, self.latest.x), between(self.earlier.y, self.latest.y))
    }
}

/// The other players' ships by their paths. The watcher writes them, and the drawing code reads
/// them.
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
                    // The first sight of a ship is not a change that the ship made in the game.
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

    /// Plays two seconds of the game. Each tick makes one change and draws one frame.
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

    /// The other ships on one line, from left to right.
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

    // Updates on their way need a moment. The time-out of one minute only ends an example that
    // hangs.
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
