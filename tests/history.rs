//! Promise: a history returns every state that it lists. It compares and restores states, and says
//! which replica wrote each place.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use support::one_update::OneUpdate;

use exostate::middleware::PathRules;
use exostate::{
    Automerge, Backend, ChangeError, ElementId, Error, History, HistoryError, HistoryOptions, Map,
    MovableList, Options, Origin, ReplicaId, RevisionId, State, Store, Text, UndoOptions, Yrs,
};
use proptest::prelude::*;
use support::{Card, Everything, Op, strategy};

fn same(a: &Everything, b: &Everything, what: &str) {
    if a != b {
        assert_eq!(format!("{a:?}"), format!("{b:?}"), "{what}");
    }
    assert_eq!(a.notes.runs(), b.notes.runs(), "{what}: the marks");
}

/// One step for a store with a history.
#[derive(Clone, Debug)]
enum Step {
    Change(Op),
    /// Another replica makes changes. They are imported together or one by one.
    Remote(Vec<Op>, bool),
    Undo,
    Name,
    Unname(u16),
    NameOld(u16),
    Restore(u16),
    Restart,
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => strategy::op().prop_map(Step::Change),
        4 => (strategy::ops(4), any::<bool>()).prop_map(|(ops, singly)| Step::Remote(ops, singly)),
        1 => Just(Step::Undo),
        2 => Just(Step::Name),
        1 => any::<u16>().prop_map(Step::Unname),
        1 => any::<u16>().prop_map(Step::NameOld),
        1 => any::<u16>().prop_map(Step::Restore),
        1 => Just(Step::Restart),
        1 => Just(Step::Compact),
    ]
}

/// A store with a history, and the view at every revision.
struct Kept<B: Backend> {
    store: Store<Everything, B>,
    history: History<Everything, B>,
    options: HistoryOptions,
    seen: Vec<(RevisionId, Arc<Everything>)>,
    restarts: u64,
}

impl<B: Backend> Kept<B> {
    fn new(options: HistoryOptions) -> Self {
        let store = support::store::<B>(1);
        let history = store.history(options.clone()).expect("it can be saved");
        let seen = vec![(history.latest(), store.view())];
        Self { store, history, options, seen, restarts: 0 }
    }

    fn note(&mut self) {
        let latest = self.history.latest();
        if self.seen.last().is_none_or(|(id, _)| *id < latest) {
            self.seen.push((latest, self.store.view()));
        }
    }

    fn some(&self, at: u16) -> RevisionId {
        let revisions = self.history.revisions();
        revisions[usize::from(at) % revisions.len()].id()
    }

    fn step(&mut self, others: &Store<Everything, B>, step: &Step) {
        match step {
            Step::Change(op) => support::apply(&self.store, op),
            Step::Remote(ops, singly) => {
                others.merge(&self.store).expect("it merges");
                let before = others.version();
                let mut updates = Vec::new();
                for op in ops {
                    let from = others.version();
                    support::apply(others, op);
                    updates.push(others.update_since(&from).expect("an update"));
                }
                if *singly {
                    for update in updates {
                        self.store.apply(&update).expect("it applies");
                        self.note();
                    }
                } else {
                    self.store
                        .apply_all(&others.updates_since(&before).expect("an update"))
                        .expect("it applies");
                }
            }
            Step::Undo => {
                let undo = self.store.undo_manager(UndoOptions::new());
                support::apply(&self.store, &Op { kind: 0, a: 1, b: 2, text: "undone".to_owned() });
                self.note();
                undo.undo().expect("it can be undone");
            }
            Step::Name => {
                let id = self.history.name("here").expect("it can be saved");
                assert_eq!((self.history.find("here"), self.history.latest()), (Some(id), id));
            }
            Step::Unname(at) => drop(self.history.unname(self.some(*at))),
            Step::NameOld(at) => {
                let id = self.some(*at);
                self.history.name_revision(id, "old").expect("it is there");
                assert_eq!(self.history.revision(id).expect("it is there").name(), Some("old"));
            }
            Step::Restore(at) => {
                let id = self.some(*at);
                let wanted = self.history.view_at(id).expect("it is there");
                self.history.restore(id).expect("any state can be written");
                let view = self.store.view();
                same(&view, &wanted, "restored");
                assert!(
                    view.cards
                        .iter_ids()
                        .map(|(id, _)| id)
                        .eq(wanted.cards.iter_ids().map(|(id, _)| id)),
                    "other cards"
                );
                let nodes = |view: &Everything| {
                    view.outline
                        .walk()
                        .into_iter()
                        .map(|(depth, id, _)| (depth, id))
                        .collect::<Vec<_>>()
                };
                assert_eq!(nodes(&view), nodes(&wanted));
                support::check_view(&self.store);
                others.merge(&self.store).expect("it merges");
                self.store.merge(others).expect("it merges");
                self.note();
                assert_eq!(others.view(), self.store.view());
            }
            Step::Restart => self.restart(),
            Step::Compact => {
                let named = |history: &History<_, _>| {
                    history
                        .revisions()
                        .into_iter()
                        .filter(|revision| revision.name().is_some())
                        .count()
                };
                let before = named(&self.history);
                self.history.compact().expect("it can be saved");
                let left = self.history.revisions();
                assert_eq!(named(&self.history), before, "a name is gone");
                assert!(left.len() <= before + 1, "{left:?}");
            }
        }
        self.note();
    }

    fn restart(&mut self) {
        self.restarts += 1;
        let document = self.store.save();
        let kept = self.history.save().expect("it is not within a change");
        let before = self.history.revisions();
        let id = ReplicaId::from_bits(0x1000 + self.restarts);
        self.store =
            Store::open_with(&document, Options::new().with_replica(id)).expect("it opens");
        self.history = self.store.history_from(&kept, self.options.clone()).expect("it wrote it");
        assert_eq!(self.history.revisions(), before);
    }

    fn check(&self) {
        let revisions = self.history.revisions();
        assert!(revisions.is_sorted_by(|a, b| a.id() < b.id()));
        assert_eq!(revisions.last().map(|last| last.id()), Some(self.history.latest()));
        for (id, view) in &self.seen {
            match self.history.view_at(*id) {
                Ok(found) => same(&found, view, &format!("revision {id}")),
                Err(error) => {
                    assert_eq!(error, HistoryError::Unknown { revision: *id });
                    assert!(self.history.revision(*id).is_none());
                }
            }
        }
        for revision in &revisions {
            assert!(
                self.seen.iter().any(|(id, _)| *id == revision.id()),
                "{revision:?} was never seen"
            );
        }
    }
}

fn every_revision<B: Backend>(steps: &[Step], bytes_max: usize) {
    let mut kept = Kept::<B>::new(HistoryOptions::new().with_bytes_max(bytes_max));
    let others = support::store::<B>(2);
    for step in steps {
        let named: Vec<_> = kept
            .history
            .revisions()
            .into_iter()
            .filter(|revision| revision.name().is_some())
            .collect();
        kept.step(&others, step);
        for revision in named {
            let gone = kept.history.revision(revision.id()).is_none();
            assert!(!gone || matches!(step, Step::Unname(_)), "{step:?} forgot {revision:?}");
        }
    }
    kept.check();
    support::check_view(&kept.store);
}

fn card_of(view: &Everything, id: ElementId) -> Option<&Card> {
    view.cards.iter_ids().find(|(found, _)| *found == id).map(|(_, card)| card)
}

/// For any two revisions, the diff contains exactly the differences between their views.
fn differences<B: Backend>(steps: &[Step], from: u16, to: u16) {
    let mut kept = Kept::<B>::new(HistoryOptions::new());
    let others = support::store::<B>(2);
    steps.iter().for_each(|step| kept.step(&others, step));
    let from = kept.some(from);
    let to = kept.some(to);
    let diff = kept.history.diff(from, to).expect("both are there");
    let old = kept.history.view_at(from).expect("it is there");
    let new = kept.history.view_at(to).expect("it is there");
    same(diff.old(), &old, "the first");
    same(diff.new(), &new, "the second");
    assert!(!diff.is_empty() || old == new);
    let cards = diff.at(Everything::path().cards().any());
    for (id, card) in old.cards.iter_ids().chain(new.cards.iter_ids()) {
        let was = card_of(&old, id);
        let is = card_of(&new, id);
        let found = cards.iter().find(|found| found.path.ends_with(&format!("/{id}")));
        match found {
            Some(found) => assert_eq!((found.old, found.new), (was, is)),
            None => assert_eq!(was, is, "{card:?} differs"),
        }
    }
    let title = diff.at(Everything::path().title());
    assert_eq!(old.title != new.title, title.iter().any(|title| title.old != title.new));
    let there_and_back = kept.history.diff(to, from).expect("both are there");
    assert!(diff.paths().eq(there_and_back.paths()));
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn every_revision_on_yrs(
        steps in prop::collection::vec(step(), 0..12),
        large in any::<bool>(),
    ) {
        every_revision::<Yrs>(&steps, if large { usize::MAX } else { 4_000 });
    }

    #[test]
    fn every_revision_on_automerge(
        steps in prop::collection::vec(step(), 0..12),
        large in any::<bool>(),
    ) {
        every_revision::<Automerge>(&steps, if large { usize::MAX } else { 20_000 });
    }

    #[test]
    fn differences_on_yrs(
        steps in prop::collection::vec(step(), 0..12),
        from in any::<u16>(),
        to in any::<u16>(),
    ) {
        differences::<Yrs>(&steps, from, to);
    }

    #[test]
    fn differences_on_automerge(
        steps in prop::collection::vec(step(), 0..8),
        from in any::<u16>(),
        to in any::<u16>(),
    ) {
        differences::<Automerge>(&steps, from, to);
    }
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Page {
    title: String,
    subtitle: String,
    body: Text,
    tags: Map<String, bool>,
    parts: MovableList<Part>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Part {
    heading: String,
    open: bool,
}

fn page<B: Backend>() -> (Store<Page, B>, History<Page, B>) {
    let store = Store::<Page, B>::new();
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    (store, history)
}

fn both(run: fn(), other: fn()) {
    run();
    other();
}

/// The author and the label of the last write of a place.
fn last<S: State, B: Backend>(
    history: &History<S, B>,
    path: impl exostate::AsPath<S>,
) -> Option<(String, String)> {
    let revision = history.blame(path)?.revision?;
    let meta = revision.meta()?;
    Some((meta.author()?.to_owned(), meta.label()?.to_owned()))
}

fn blame_finds_the_last_write<B: Backend>() {
    let (store, history) = page::<B>();
    assert_eq!(history.blame(Page::path().title()), None);
    let by = |author: &str, label: &str| store.transaction().author(author).label(label);
    by("Ada", "Title").run(|page| page.title().set("Plan")).expect("a change");
    let part = by("Ada", "Part").run(|page| page.parts().push(Part::default())).expect("a change");
    by("Eve", "Heading").run(|page| page.parts().get(part).heading().set("One")).expect("a change");
    by("Eve", "Subtitle").run(|page| page.subtitle().set("A trip")).expect("a change");

    let said = |author: &str, label: &str| Some((author.to_owned(), label.to_owned()));
    let check = || {
        assert_eq!(last(&history, Page::path().title()), said("Ada", "Title"));
        assert_eq!(last(&history, Page::path().subtitle()), said("Eve", "Subtitle"));
        assert_eq!(
            last(&history, Page::path().parts().get(part).heading()),
            said("Eve", "Heading")
        );
        // The part was written together with the element.
        assert_eq!(last(&history, Page::path().parts().get(part).open()), said("Ada", "Part"));
        assert_eq!(last(&history, Page::path().parts().any()), said("Eve", "Heading"));
        assert_eq!(history.blame(Page::path().tags()), None);
    };
    check();
    assert_eq!(history.touching(Page::path().parts().get(part)).len(), 2);

    // A change of another replica: the history knows the replica id and the revision of the import.
    let theirs = store.fork().expect("it opens");
    theirs.change(|page| page.title().set("Trip")).expect("a change");
    store.merge(&theirs).expect("it merges");
    let blame = history.blame(Page::path().title()).expect("it was written");
    assert_eq!(blame.replica, Some(theirs.replica()));
    assert_eq!(
        blame.revision.map(|revision| (revision.id(), revision.origin())),
        Some((history.latest(), Some(Origin::Remote)))
    );
    by("Ada", "Title").run(|page| page.title().set("Plan")).expect("a change");
    check();

    // Blame survives when revisions are compacted away, also after a restart.
    history.compact().expect("it can be saved");
    assert_eq!(history.revisions().len(), 1);
    check();
    let document = store.save();
    let kept = history.save().expect("it is not within a change");
    let reopened = Store::<Page, B>::open(&document).expect("it opens");
    let history = reopened.history_from(&kept, HistoryOptions::new()).expect("it wrote it");
    assert_eq!(last(&history, Page::path().parts().get(part).heading()), said("Eve", "Heading"));
}

/// A named older revision must not replace the revision that wrote a place last.
#[test]
fn naming_a_revision_does_not_change_blame() {
    let (store, history) = page::<Yrs>();
    let by = |author: &str, label: &str| store.transaction().author(author).label(label);
    by("Ada", "Title").run(|page| page.title().set("Plan")).expect("a change");
    history.name("first").expect("it can be saved");
    by("Eve", "Better title").run(|page| page.title().set("Trip")).expect("a change");
    by("Ada", "Subtitle").run(|page| page.subtitle().set("by train")).expect("a change");
    history.compact().expect("it can be saved");
    assert_eq!(history.revisions().len(), 2);
    assert_eq!(
        last(&history, Page::path().title()),
        Some(("Eve".to_owned(), "Better title".to_owned()))
    );
}

#[test]
fn blame_names_the_last_writer() {
    both(blame_finds_the_last_write::<Yrs>, blame_finds_the_last_write::<Automerge>);
}

/// A document from before the history, or from a long import: the replica that wrote a register is
/// still known.
fn blame_without_revision<B: Backend>() {
    let theirs = Store::<Page, B>::new();
    theirs.change(|page| page.title().set("Plan")).expect("a change");
    let store = Store::<Page, B>::new();
    store.merge(&theirs).expect("it merges");
    let history = store.history(HistoryOptions::new()).expect("it can be saved");
    let blame = history.blame(Page::path().title()).expect("it was written");
    assert_eq!((blame.revision, blame.replica), (None, Some(theirs.replica())));
    // An import that touches nearly everything is reported as a change of the whole state. A value
    // that was written here still belongs to this replica.
    store
        .transaction()
        .author("Ada")
        .label("Subtitle")
        .run(|page| page.subtitle().set("ours"))
        .expect("a change");
    theirs
        .change(|page| (0..5_000).try_for_each(|tag| page.tags().insert(tag.to_string(), true)))
        .expect("a change");
    store.merge(&theirs).expect("it merges");
    assert_eq!(
        last(&history, Page::path().subtitle()),
        Some(("Ada".to_owned(), "Subtitle".to_owned()))
    );
    let blame = history.blame(Page::path().tags().get("7".to_owned())).expect("it was written");
    assert_eq!(blame.replica, Some(theirs.replica()));
    assert_eq!(blame.revision.and_then(|revision| revision.origin()), Some(Origin::Remote));
}

#[test]
fn blame_names_the_replica_of_an_import() {
    both(blame_without_revision::<Yrs>, blame_without_revision::<Automerge>);
}

fn restores<B: Backend>() {
    let (store, history) = page::<B>();
    let theirs = store.fork().expect("it opens");
    let undo = store.undo_manager(UndoOptions::new().with_window(Duration::ZERO));
    let part = store
        .change(|page| page.parts().push(Part { heading: "One".into(), open: true }))
        .expect("a change");
    store.change(|page| page.body().push_str("All of it.")).expect("a change");
    let then = history.name("then").expect("it can be saved");
    let wanted = store.view();
    store
        .change(|page| page.parts().remove(part).and_then(|_| page.body().splice(0..3, "None")))
        .expect("a change");
    let after = store.view();

    history.restore(then).expect("any state can be written");
    assert_eq!(store.view(), wanted);
    assert_eq!(store.view().parts.id_at(0), Some(part), "it is another element");
    let revision = history.revision(history.latest()).expect("it is there");
    assert_eq!(
        (revision.origin(), revision.meta().and_then(|meta| meta.label())),
        (Some(Origin::Local), Some("Restore then"))
    );
    theirs.merge(&store).expect("it merges");
    assert_eq!(theirs.view(), wanted);
    assert_eq!(
        undo.undo().expect("it can be undone").and_then(|undone| undone.label).as_deref(),
        Some("Restore then")
    );
    assert_eq!(store.view(), after);

    // If a middleware layer refuses the restore, nothing has changed.
    store.add_middleware(PathRules::new().deny(Page::path().body()));
    let length = history.revisions().len();
    assert!(matches!(history.restore(then), Err(Error::Change(ChangeError::Refused(_)))));
    assert_eq!((store.view(), history.revisions().len()), (after, length));
}

#[test]
fn a_restore_is_a_change() {
    both(restores::<Yrs>, restores::<Automerge>);
}

fn branches<B: Backend>() {
    let (store, history) = page::<B>();
    store.change(|page| page.body().push_str("The end.")).expect("a change");
    let then = history.latest();
    store.change(|page| page.body().splice(0..3, "An")).expect("a change");
    let branch = history.branch(then).expect("it is there");
    assert_ne!(branch.replica(), store.replica());
    assert_eq!(branch.view().body, "The end.");
    branch.change(|page| page.body().push_str(" Really.")).expect("a change");
    branch.change(|page| page.title().set("Branch")).expect("a change");
    store.merge(&branch).expect("it merges");
    assert_eq!(
        (store.view().body.to_string().as_str(), store.view().title.as_str()),
        ("An end. Really.", "Branch")
    );
    branch.merge(&store).expect("it merges");
    assert_eq!((branch.view(), branch.digest()), (store.view(), store.digest()));
    assert_eq!(history.view_at(then).expect("it is there").body, "The end.");
}

#[test]
fn a_branch_merges_back() {
    both(branches::<Yrs>, branches::<Automerge>);
}

/// A deleted value can still be seen, although the document no longer has it.
#[test]
fn deleted_values_stay_in_the_history() {
    let (store, history) = page::<Yrs>();
    store.change(|page| page.body().push_str(&"long ".repeat(10_000))).expect("a change");
    let then = history.name("long").expect("it can be saved");
    store.change(|page| page.body().splice(0..50_000, "")).expect("a change");
    assert!(store.save().len() < 1_000, "the document keeps what was deleted");
    assert_eq!(history.view_at(then).expect("it is there").body.len(), 50_000);
}

fn stays_within_its_bound<B: Backend>() {
    const BYTES_MAX: usize = 100_000;
    let store = Store::<Page, B>::new();
    let history =
        store.history(HistoryOptions::new().with_bytes_max(BYTES_MAX)).expect("it can be saved");
    let mut named = Vec::new();
    for round in 0..20_u32 {
        let text: String = (0..300_u32)
            .map(|at| {
                char::from_u32(0x3400 + (round * 7_919 + at * at * 31) % 20_000).unwrap_or('x')
            })
            .collect();
        for at in 0..10 {
            store
                .change(|page| {
                    page.body()
                        .splice(0..page.body().get()?.len().min(300), &text[..text.len() - 3 * at])
                })
                .expect("a change");
        }
        if round % 10 == 0 {
            named.push((
                history.name(format!("round {round}")).expect("it can be saved"),
                store.view(),
            ));
        }
    }
    let kept: usize =
        history.revisions().iter().filter(|revision| revision.name().is_some()).count()
            * store.save().len();
    assert!(
        history.bytes() < 2 * BYTES_MAX + 4 * store.save().len() + 2 * kept,
        "{} bytes",
        history.bytes()
    );
    assert!(history.revisions().len() < 20 * 10, "nothing was forgotten");
    for (id, view) in named {
        assert_eq!(history.view_at(id).expect("named revisions stay"), view);
    }
    for revision in history.revisions().iter().step_by(7) {
        history.view_at(revision.id()).expect("what is listed is there");
    }
}

#[test]
fn a_history_stays_within_its_bound() {
    both(stays_within_its_bound::<Yrs>, stays_within_its_bound::<Automerge>);
}

/// Automatic checkpoints are made by time. The older they are, the fewer are kept.
#[test]
fn checkpoints_are_made_and_thinned() {
    let minutes = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&minutes);
    let clock =
        move || SystemTime::UNIX_EPOCH + Duration::from_secs(60 * now.load(Ordering::Relaxed));
    let store = Store::<Page>::with_options(Options::new().with_clock(clock));
    let history =
        store.history(HistoryOptions::new().with_bytes_max(20_000)).expect("it can be saved");
    for minute in 1..=1_000 {
        minutes.store(minute, Ordering::Relaxed);
        store.change(|page| page.title().set(format!("minute {minute}"))).expect("a change");
    }
    let checkpoints: Vec<u64> = history
        .revisions()
        .iter()
        .filter(|revision| revision.is_checkpoint())
        .map(|found| found.id().get())
        .collect();
    assert!(checkpoints.len() >= 20, "{checkpoints:?}");
    let oldest = checkpoints[1] - checkpoints[0];
    let newest = checkpoints[checkpoints.len() - 1] - checkpoints[checkpoints.len() - 2];
    assert!(oldest > newest && newest <= 10, "{checkpoints:?}");
    for revision in history.revisions() {
        let minute = revision.id().get() - 1;
        let title = if minute == 0 { String::new() } else { format!("minute {minute}") };
        assert_eq!(history.view_at(revision.id()).expect("it is there").title, title);
        assert_eq!(revision.time(), SystemTime::UNIX_EPOCH + Duration::from_secs(60 * minute));
    }
}

fn repaired<B: Backend>() {
    let id = || Options::new().with_replica(ReplicaId::from_bits(7));
    let ours = Store::<Page, B>::with_options(id());
    let theirs = Store::<Page, B>::with_options(id());
    let history = ours.history(HistoryOptions::new()).expect("it can be saved");
    ours.change(|page| page.title().set("plan")).expect("a change");
    let before = history.latest();
    theirs.change(|page| page.subtitle().set("theirs")).expect("a change");
    let mut repair = ours.document().repair();
    for update in theirs.updates_since(&Store::<Page, B>::new().version()).expect("updates") {
        repair.apply(&update).expect("it applies");
    }
    repair.finish().expect("it can be repaired");
    let then = history.latest();
    assert_eq!(history.revision(then).and_then(|revision| revision.origin()), Some(Origin::Repair));
    ours.change(|page| page.title().set("after")).expect("a change");
    let titles = |id| history.view_at(id).map(|page| (page.title.clone(), page.subtitle.clone()));
    assert_eq!(titles(before), Ok(("plan".into(), String::new())));
    assert_eq!(titles(then), Ok(("plan".into(), "theirs".into())));
}

#[test]
fn a_repair_is_a_revision() {
    both(repaired::<Yrs>, repaired::<Automerge>);
}

fn in_parts<B: Backend>() {
    let theirs = Store::<Page, B>::new();
    for text in ["a", "b", "c"] {
        theirs.change(|page| page.body().push_str(text)).expect("a change");
    }
    let (store, history) = page::<B>();
    let other = Store::<Page, B>::new();
    let mut seen = other.version();
    let stages: Vec<Vec<u8>> = (0..3)
        .map(|at| {
            let stage = Store::<Page, B>::new();
            stage.merge(&theirs).expect("it merges");
            stage.change(|page| page.title().set(at.to_string())).expect("a change");
            let update = stage.update_since(&seen).expect("an update");
            seen = stage.version();
            other.apply(&update).expect("it applies");
            theirs.merge(&other).expect("it merges");
            update
        })
        .collect();
    for update in &stages {
        store.document().apply_part(&[update]).expect("it applies");
    }
    let view = store.view();
    store.document().show_parts();
    assert_ne!(view, store.view());
    let shown = (history.latest(), store.view());
    store.change(|page| page.title().set("later")).expect("a change");
    assert_eq!(history.revisions().len(), 3);
    assert_eq!(history.view_at(shown.0).expect("it is there"), shown.1);
}

#[test]
fn parts_are_one_revision() {
    both(in_parts::<Yrs>, in_parts::<Automerge>);
}

fn changed_without_history<B: Backend>() {
    let (store, history) = page::<B>();
    store.change(|page| page.title().set("one")).expect("a change");
    let kept = history.save().expect("it is not within a change");
    let one = history.latest();
    store.change(|page| page.title().set("two")).expect("a change");
    // The document was saved after its history.
    let store = Store::<Page, B>::open(&store.save()).expect("it opens");
    let history = store.history_from(&kept, HistoryOptions::new()).expect("it wrote it");
    let found = history.revision(history.latest()).expect("it is there");
    assert!(found.origin().is_none() && found.is_checkpoint() && found.id() > one);
    store.change(|page| page.title().set("three")).expect("a change");
    let titles: Vec<String> = history
        .revisions()
        .iter()
        .map(|revision| history.view_at(revision.id()).expect("it is there").title.clone())
        .collect();
    assert_eq!(titles, ["", "one", "two", "three"]);
}

#[test]
fn a_document_changed_without_its_history() {
    both(changed_without_history::<Yrs>, changed_without_history::<Automerge>);
}

#[test]
fn bytes_of_something_else_are_refused() {
    let (store, history) = page::<Yrs>();
    store.change(|page| page.title().set("one")).expect("a change");
    let kept = history.save().expect("it is not within a change");
    for at in 0..kept.len() {
        let mut damaged = kept.clone();
        damaged[at] ^= 1;
        assert!(
            matches!(
                store.history_from(&damaged, HistoryOptions::new()),
                Err(HistoryError::Damaged { .. })
            ),
            "byte {at}"
        );
        assert!(store.history_from(&kept[..at], HistoryOptions::new()).is_err());
    }
    let elsewhere = Store::<Page, Automerge>::new();
    let error =
        elsewhere.history_from(&kept, HistoryOptions::new()).expect_err("another backend's");
    assert_eq!(error.to_string(), "this is no history: one of the backend yrs");
    let stacks = store.undo_manager(UndoOptions::new()).save();
    assert!(store.history_from(&stacks, HistoryOptions::new()).is_err());
}

#[test]
fn within_a_change() {
    let (store, history) = page::<Yrs>();
    store.change(|page| page.title().set("one")).expect("a change");
    let first = history.revisions()[0].id();
    let done = store.change(|page| {
        page.title().set("two")?;
        assert_eq!(history.view_at(first).map(|page| page.title.clone()), Ok(String::new()));
        assert_eq!(
            history.view_at(history.latest()).map(|page| page.title.clone()),
            Ok("one".to_owned())
        );
        assert_eq!(history.name("now"), Err(HistoryError::Nested));
        assert_eq!(history.compact(), Err(HistoryError::Nested));
        assert_eq!(history.save(), Err(HistoryError::Nested));
        assert!(matches!(store.history(HistoryOptions::new()), Err(HistoryError::Nested)));
        assert!(matches!(history.restore(first), Err(Error::Change(ChangeError::Nested))));
        Ok(())
    });
    done.expect("a change");
    assert_eq!(history.revisions().len(), 3);
}

#[test]
fn a_revision_name_does_not_replace_another() {
    let (store, history) = page::<Yrs>();
    store.change(|page| page.title().set("one")).expect("a change");
    let first = history.name("first").expect("it is saved");
    let second = history.name("second").expect("it is saved");
    assert!(first < second);
    for id in [first, second] {
        assert_eq!(history.view_at(id).expect("it is there").title, "one");
    }
    assert_eq!(
        (history.find("first"), history.find("second"), history.find("third")),
        (Some(first), Some(second), None)
    );
    assert!(history.unname(first) && !history.unname(first));
    history.compact().expect("it is saved");
    assert_eq!(
        history.revisions().iter().map(|revision| revision.id()).collect::<Vec<_>>(),
        [second]
    );
    let unknown = RevisionId::from_number(99).expect("it is not 0");
    assert_eq!(history.view_at(unknown), Err(HistoryError::Unknown { revision: unknown }));
}

/// Nothing is recorded after the last handle is dropped. Two histories of one store do not disturb
/// each other.
#[test]
fn a_history_ends_with_its_handles() {
    let (store, history) = page::<Yrs>();
    let other = store.history(HistoryOptions::new()).expect("it can be saved");
    store.change(|page| page.title().set("one")).expect("a change");
    let clone = history.clone();
    drop(history);
    other.compact().expect("it can be saved");
    store.change(|page| page.title().set("two")).expect("a change");
    assert_eq!((clone.revisions().len(), other.revisions().len()), (3, 2));
}
