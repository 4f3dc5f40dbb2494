use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use super::*;
use crate::state::{Node, Path};
use crate::{Automerge, Map, Text, Yrs};

type Texts<B> = Store<Map<u8, Text>, B>;

fn texts<B: Backend>() -> Texts<B> {
    let store = Texts::<B>::new();
    store.change(|texts| texts.insert(1, Text::from("one"))).expect("it can be written");
    store
}

/// The document of the last store fails: the change is reverted in the others, and no view has
/// shown it.
fn run<B: Backend, C: Backend>() {
    let first = texts::<B>();
    let second = texts::<C>();
    let third = texts::<B>();
    let joint = first.and(&second).and(&third);
    let undo = first.undo_manager(crate::UndoOptions::new());
    let history = second.history(crate::HistoryOptions::new()).expect("a history");
    let views = joint.view();
    let digests = (first.digest(), second.digest(), third.digest());
    let told = Arc::new(AtomicUsize::new(0));
    let updates = Arc::clone(&told);
    let calls = Arc::clone(&told);
    let _listen = first.on_update(move |_| _ = updates.fetch_add(1, Ordering::Relaxed));
    let _other = second.on_update(move |_| _ = calls.fetch_add(1, Ordering::Relaxed));

    let mut starts: Vec<BegunChange> =
        members(&joint).iter().map(|member| member.begin()).collect();
    let mut steps = turns(&members(&joint)).expect("no other turn");
    stage::<Joint<Joint<Texts<B>, Texts<C>>, Texts<B>>, ()>(
        &steps,
        &mut starts,
        |((first, second), third)| {
            first.get(1_u8).push_str(" more")?;
            second.insert(2, Text::from("two"))?;
            second.remove(1_u8)?;
            third.insert(3, Text::from("three"))
        },
    )
    .expect("it can be staged");
    // A step that fails replaces the third store.
    steps[2] = Box::new(Fails);
    assert!(matches!(write(&mut steps, &mut starts), Err(ChangeError::Refused(_))));
    drop(steps);
    end::<()>(&members(&joint), &starts, &Ok(Ok(()))).expect("nobody panics");

    assert_eq!((joint.view(), (first.digest(), second.digest(), third.digest())), (views, digests));
    assert_eq!((&first.reread(), &second.reread()), (&*first.view(), &*second.view()));
    // There is nothing to undo either, and no revision shows the change.
    assert_eq!(undo.undo_len(), 0);
    for revision in history.revisions() {
        assert_eq!(history.view_at(revision.id()).expect("the state then"), second.view());
    }
    assert_eq!(told.load(Ordering::Relaxed), 4, "peers need what was written and the way back");
    let other = Texts::<B>::new();
    let another = Texts::<C>::new();
    other.merge(&first).expect("it merges");
    another.merge(&second).expect("it merges");
    assert_eq!((other.view(), another.view()), (first.view(), second.view()));
}

/// The revert also restores values that do not fit the struct.
fn violations_come_back<B: Backend>() {
    type Wrong<B> = Store<Map<u8, String>, B>;
    type Ages<B> = Store<Map<u8, u8>, B>;
    let wrong = Wrong::<B>::new();
    wrong.change(|ages| ages.insert(1, "seven".to_owned())).expect("it can be written");
    let ages = Ages::<B>::open(&wrong.save()).expect("a document");
    let texts = texts::<B>();
    let before = ages.violations();
    assert_eq!(before.len(), 1);
    let joint = ages.and(&texts);
    let mut starts: Vec<BegunChange> =
        members(&joint).iter().map(|member| member.begin()).collect();
    let mut steps = turns(&members(&joint)).expect("no other turn");
    stage::<Joint<Ages<B>, Texts<B>>, ()>(&steps, &mut starts, |(ages, texts)| {
        ages.insert(1, 7)?;
        texts.insert(3, Text::from("three"))
    })
    .expect("it can be staged");
    steps[1] = Box::new(Fails);
    assert!(write(&mut steps, &mut starts).is_err());
    drop(steps);
    end::<()>(&members(&joint), &starts, &Ok(Ok(()))).expect("nobody panics");
    assert_eq!(ages.violations(), before);
    assert_eq!(ages.reread(), *ages.view());
}

#[test]
fn a_revert_restores_violations() {
    violations_come_back::<Yrs>();
    violations_come_back::<Automerge>();
}

/// A step whose document fails.
struct Fails;

impl Step for Fails {
    fn begin_change(&mut self, _: &mut BegunChange) -> Result<(), ChangeError> {
        Ok(())
    }
    fn state_bytes(&self) -> [u8; 16] {
        [0; 16]
    }
    fn stage_base<'t>(&'t self) -> Box<dyn parts::StageBase + 't> {
        unreachable!("it is staged already")
    }
    fn reserve(&self) -> Result<(), ChangeError> {
        Ok(())
    }
    fn write(&mut self, _: &mut BegunChange) -> Result<(), ChangeError> {
        Err(ChangeError::refuse("the document fails"))
    }
    fn revert(&mut self) {}
    fn record(&mut self) {}
    fn show(&mut self) {}
    fn end<'a>(self: Box<Self>) -> Box<dyn AnyGuard + 'a>
    where
        Self: 'a,
    {
        self
    }
}

#[test]
fn stores_already_written_are_rolled_back() {
    run::<Yrs, Automerge>();
    run::<Automerge, Yrs>();
}

/// Work that takes as long as the document is large is done before views are held: a thread that
/// reads a view does not wait for it.
#[test]
fn histories_are_written_before_views_are_held() {
    let first = texts::<Yrs>();
    let second = texts::<Automerge>();
    let joint = first.and(&second);
    let history = first.history(crate::HistoryOptions::new()).expect("a history");
    let before = history.revisions().len();
    std::thread::scope(|scope| {
        let held = [joint.first.hold_view(), joint.second.hold_view()];
        let changing = scope
            .spawn(|| joint.change(|(first, second)| first.remove(1_u8).and(second.remove(1_u8))));
        while history.revisions().len() == before {
            std::thread::yield_now();
        }
        assert_eq!((first.view().len(), second.view().len()), (1, 1));
        drop(held);
        changing.join().expect("nobody panics").expect("it can be written");
    });
    assert_eq!((first.view().len(), second.view().len()), (0, 0));
}

/// A thread gets a notice while a watch begins, and looks late: it finds a change that came after
/// the watch began. That change is told.
#[test]
fn a_watch_reports_all_changes_after_its_start() {
    for at in 0..100 {
        let one = texts::<Yrs>();
        let other = texts::<Yrs>();
        // Views are held in this order, so a thread that waits for the first one holds none.
        let (low, high) = if one.address() < other.address() { (one, other) } else { (other, one) };
        // A watch of so many stores takes a while to begin everywhere.
        let four = low.and(&low).and(&low.and(&low));
        let many = four.and(&four).and(&four.and(&four));
        let joint = high.and(&many.and(&many));
        let told = Arc::new(AtomicUsize::new(0));
        let over = AtomicBool::new(false);
        let barrier = Barrier::new(3);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                while !over.load(Ordering::Relaxed) {
                    high.change(|texts| texts.insert(1, Text::from("again")))
                        .expect("it can be written");
                }
            });
            scope.spawn(|| {
                let _late = low.hold_view();
                barrier.wait();
                (0..500)
                    .take_while(|_| !over.load(Ordering::Relaxed))
                    .for_each(|_| std::thread::yield_now());
            });
            let count = Arc::clone(&told);
            barrier.wait();
            // The watch begins at a different moment of the other threads in each round.
            (0..at * 50).for_each(|_| std::hint::spin_loop());
            joint
                .watch(move |patch| _ = count.fetch_max(patch.new().0.len(), Ordering::Relaxed))
                .forever();
            high.change(|texts| texts.insert(2, Text::from("after"))).expect("it can be written");
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(told.load(Ordering::Relaxed), 2, "a change after the watch began is not told");
    }
}

/// A selector reads the newest view, and that may be the first part of a joint change.
#[test]
fn a_selector_notifies_only_after_all_views_are_shown() {
    let first = texts::<Yrs>();
    let second = texts::<Yrs>();
    let barrier = Arc::new(Barrier::new(2));
    let over = Arc::new(AtomicBool::new(false));
    let early = Arc::new(AtomicUsize::new(0));
    let pause = Arc::clone(&barrier);
    // The thread that delivers waits until the next view is shown.
    let once = AtomicBool::new(true);
    let _pause =
        first.watch(Node::<Path<Map<u8, Text>>, Map<u8, Text>>::new(Path::root()), move |_| {
            if once.swap(false, Ordering::SeqCst) {
                pause.wait();
                pause.wait();
            }
        });
    let told = Arc::clone(&over);
    let count = Arc::clone(&early);
    let selector = first.select(|texts| texts.value().map(Map::len));
    let _watch = selector.watch(move |_| {
        _ = count.fetch_add(usize::from(!told.load(Ordering::SeqCst)), Ordering::SeqCst)
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            first.change(|texts| texts.insert(2, Text::from("before"))).expect("it can be written")
        });
        barrier.wait();
        let held = [first.hold_view(), second.hold_view()];
        first.change(|texts| texts.insert(3, Text::from("half"))).expect("it can be written");
        barrier.wait();
        (0..1000).for_each(|_| std::thread::yield_now());
        over.store(true, Ordering::SeqCst);
        drop(held);
    });
    assert_eq!(early.load(Ordering::SeqCst), 0);
}
