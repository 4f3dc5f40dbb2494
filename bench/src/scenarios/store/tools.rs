//! Tools that only exostate has among these systems: watchers of single fields, selectors and undo.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exostate::{Backend, HistoryOptions, State as _, Store, Subscription, UndoOptions};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{BATCH, Lane, STEPS, WARM_UP, timed_when_warm};
use crate::peers::exostate::{Cards as _, MapState, capture};
use crate::report::Place;
use crate::work::cards::BoardWork;

/// A store, and changes to the points of random cards. The cards are the same in every lane.
struct Points<B: Backend> {
    store: Store<MapState, B>,
    work: Rc<BoardWork>,
    random: SmallRng,
    /// The next value. No value is used twice, so that every change has an effect.
    next: i64,
    /// Receives the updates, as a connection would.
    _updates: Subscription,
}

impl<B: Backend> Points<B> {
    fn new(store: Store<MapState, B>, work: &Rc<BoardWork>) -> Self {
        let (_, updates) = capture(&store);
        Self {
            store,
            work: Rc::clone(work),
            random: SmallRng::seed_from_u64(7),
            next: 1_000_000,
            _updates: updates,
        }
    }

    /// A store with all cards of the work.
    fn filled(work: &Rc<BoardWork>) -> Result<Self> {
        let store = Store::new();
        store.reconcile(&MapState::build(&work.cards))?;
        Ok(Self::new(store, work))
    }

    /// A random card among the first `among`.
    fn pick(&mut self, among: usize) -> String {
        self.work.cards[self.random.random_range(0..among)].id.clone()
    }

    fn set(&mut self, card: &str) -> Result<()> {
        self.next += 1;
        Ok(self.store.change(|state| state.cards().get(card).points().set(self.next))?)
    }

    fn points(&self, card: &str) -> Result<i64> {
        Ok(self.store.view().cards.get(card).context("no such card")?.points)
    }

    fn watch(&self, card: &str, told: &Arc<AtomicUsize>) -> Subscription {
        let told = Arc::clone(told);
        self.store.watch(MapState::path().cards().get(card).points(), move |points| {
            told.fetch_add(usize::from(points.new() != points.old()), Ordering::Relaxed);
        })
    }
}

/// A change of a watched card: with one watcher in all, and with a watcher on every card.
pub fn watchers<B: Backend>(work: &Rc<BoardWork>, place: Place) -> Result<Vec<Lane<'static>>> {
    let cards = work.cards.len();
    let told = Arc::new(AtomicUsize::new(0));
    let mut points = Points::<B>::filled(work)?;
    let one = Lane::new(place, "watchers_1", move |samples| {
        for step in 0..WARM_UP + STEPS {
            let card = points.pick(cards);
            let before = told.load(Ordering::Relaxed);
            let watch = points.watch(&card, &told);
            timed_when_warm(step, samples, || points.set(&card))?;
            drop(watch);
            ensure!(told.load(Ordering::Relaxed) == before + 1, "the watcher was not told once");
        }
        Ok(())
    });

    let told = Arc::new(AtomicUsize::new(0));
    let mut points = Points::<B>::filled(work)?;
    let watches: Vec<Subscription> =
        work.cards.iter().map(|card| points.watch(&card.id, &told)).collect();
    let many = Lane::new(place, "watchers_10000", move |samples| {
        let _watches = &watches;
        for step in 0..WARM_UP + STEPS {
            let card = points.pick(cards);
            let before = told.load(Ordering::Relaxed);
            timed_when_warm(step, samples, || points.set(&card))?;
            ensure!(
                told.load(Ordering::Relaxed) == before + 1,
                "not just the one watcher was told once"
            );
        }
        Ok(())
    });
    Ok(vec![one, many])
}

/// A change without selectors, and one with many watched selectors. Only one of those reads the
/// changed field.
pub fn selectors<B: Backend>(
    work: &Rc<BoardWork>,
    place: Place,
    count: usize,
) -> Result<Vec<Lane<'static>>> {
    let mut points = Points::<B>::filled(work)?;
    let none = Lane::new(place, "select_0", move |samples| {
        for step in 0..WARM_UP + STEPS {
            let card = points.pick(count);
            timed_when_warm(step, samples, || points.set(&card))?;
        }
        Ok(())
    });

    let mut points = Points::<B>::filled(work)?;
    let computed = Arc::new(AtomicUsize::new(0));
    let told = Arc::new(AtomicUsize::new(0));
    let watch = |card: &crate::work::cards::Card| {
        let id = card.id.clone();
        let computed = Arc::clone(&computed);
        let told = Arc::clone(&told);
        let selector = points.store.select(move |state| {
            computed.fetch_add(1, Ordering::Relaxed);
            state.cards().get(id.as_str()).points().value().map(|points| points / 2)
        });
        // A subscription keeps its selector.
        selector.watch(move |_| {
            told.fetch_add(1, Ordering::Relaxed);
        })
    };
    let watches: Vec<Subscription> = work.cards.iter().take(count).map(watch).collect();
    ensure!(computed.load(Ordering::Relaxed) == count, "a selector was not computed once");
    let many = Lane::new(place, "select_1000", move |samples| {
        let _watches = &watches;
        for step in 0..WARM_UP + STEPS {
            let card = points.pick(count);
            // The selector returns half of the points. Two steps make sure that the result changes.
            points.next += 1;
            let before = [&computed, &told].map(|counter| counter.load(Ordering::Relaxed) + 1);
            timed_when_warm(step, samples, || points.set(&card))?;
            let after = [&computed, &told].map(|counter| counter.load(Ordering::Relaxed));
            ensure!(after == before, "computed and told: {after:?}, expected {before:?}");
        }
        Ok(())
    });
    Ok(vec![none, many])
}

/// Many changes one by one and as one change. A watched selector computes the sum of the points of
/// all cards.
pub fn batches<B: Backend>(work: &Rc<BoardWork>, place: Place) -> Result<Vec<Lane<'static>>> {
    let lane = |metric, at_once: bool| -> Result<Lane<'static>> {
        let cards = work.cards.len();
        let told = Arc::new(AtomicUsize::new(0));
        let mut points = Points::<B>::filled(work)?;
        let sum = points.store.select(|state| -> i64 {
            state.cards().value().map_or(0, |cards| cards.values().map(|card| card.points).sum())
        });
        let count = Arc::clone(&told);
        let watch = sum.watch(move |_| _ = count.fetch_add(1, Ordering::Relaxed));
        Ok(Lane::new(place, metric, move |samples| {
            let _watch = &watch;
            let changed: Vec<(String, i64)> = (0..BATCH)
                .map(|_| {
                    points.next += 1;
                    (points.pick(cards), points.next)
                })
                .collect();
            let before = told.load(Ordering::Relaxed);
            samples.time(|| match at_once {
                true => Ok(points.store.batch(|batch| {
                    changed.iter().try_for_each(|(card, next)| {
                        batch.change(|state| state.cards().get(card.as_str()).points().set(*next))
                    })
                })?),
                false => Ok(changed.iter().try_for_each(|(card, next)| {
                    points
                        .store
                        .change(|state| state.cards().get(card.as_str()).points().set(*next))
                })?),
            })?;
            let told = told.load(Ordering::Relaxed) - before;
            let expected = if at_once { 1 } else { BATCH };
            ensure!(told == expected, "told {told} times, expected {expected}");
            let total: i64 = points.store.view().cards.values().map(|card| card.points).sum();
            ensure!(*sum.get() == total, "the sum is not that of the cards");
            Ok(())
        }))
    };
    Ok(vec![lane("single_1000_selected", false)?, lane("batch_1000_selected", true)?])
}

/// A change in a large document without undo, and an undo in the same document.
pub fn undo<B: Backend>(
    saved: &[u8],
    work: &Rc<BoardWork>,
    place: Place,
) -> Result<Vec<Lane<'static>>> {
    let cards = work.cards.len();
    let mut points = Points::new(Store::<MapState, B>::open(saved)?, work);
    let change = Lane::new(place, "change_100000", move |samples| {
        for step in 0..WARM_UP + STEPS {
            let card = points.pick(cards);
            timed_when_warm(step, samples, || points.set(&card))?;
        }
        Ok(())
    });

    let mut points = Points::new(Store::<MapState, B>::open(saved)?, work);
    let manager = points.store.undo_manager(UndoOptions::new().with_window(Duration::ZERO));
    let undo = Lane::new(place, "undo", move |samples| {
        let mut changed = Vec::new();
        // All changes are made before the undo steps, so that undo finds the caches as a change
        // does.
        for _ in 0..WARM_UP + STEPS {
            let card = points.pick(cards);
            changed.push((points.points(&card)?, card.clone()));
            points.set(&card)?;
        }
        for (step, (before, card)) in changed.into_iter().rev().enumerate() {
            let undone = timed_when_warm(step, samples, || Ok(manager.undo()?))?;
            ensure!(
                undone.is_some() && points.points(&card)? == before,
                "card {card} is not as it was"
            );
        }
        Ok(())
    });
    Ok(vec![change, undo])
}

/// The state at a checkpoint, after later changes to the document.
pub fn view_at<B: Backend>(
    saved: &[u8],
    work: &Rc<BoardWork>,
    place: Place,
) -> Result<Vec<Lane<'static>>> {
    let mut points = Points::new(Store::<MapState, B>::open(saved)?, work);
    let history = points.store.history(HistoryOptions::new())?;
    let id = history.name("then")?;
    let view = points.store.view();
    points.set(&work.cards[0].id)?;
    Ok(vec![Lane::new(place, "view_at", move |samples| {
        let _store = &points;
        let found = samples.time(|| Ok(history.view_at(id)?))?;
        ensure!(found == view && found != points.store.view(), "it is not what it was");
        Ok(())
    })])
}
