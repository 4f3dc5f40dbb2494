//! Two sessions over a hostile line, which changes, cuts, repeats, drops and forges frames. Nothing
//! may panic, and views must equal their documents. If no frame was forged or damaged, a merge must
//! bring the replicas in sync.
#![no_main]

mod input;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbitrary::Arbitrary;
use exostate::{Automerge, Backend, Document, Store, Yrs};
use exostate_sync::{Config, Replica, Role, Session};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    Edit(bool, input::Edit),
    /// Delivers up to `count` frames. The first one may be damaged.
    Carry {
        left: bool,
        count: u8,
        damage: Option<(u16, u8)>,
        cut: u8,
    },
    Drop(bool),
    Repeat(bool),
    MadeUp(bool, Vec<u8>),
    Wait(u16),
}

struct Side<B: Backend> {
    store: Store<support::Everything, B>,
    document: Document<B>,
    session: Session,
    updates: Arc<Mutex<Vec<Vec<u8>>>>,
    _listener: exostate_sync::UpdateSubscription,
    last: Vec<u8>,
}

impl<B: Backend> Side<B> {
    fn new(id: u64, role: Role) -> Self {
        let store = support::store::<B>(id);
        let document = store.document();
        let updates = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&updates);
        let listener = Replica::on_update(
            &document,
            Box::new(move |update, origin| {
                if origin == exostate_sync::Origin::Local {
                    sink.lock().expect("no panic").push(update.to_vec());
                }
            }),
        );
        let session = Session::new(Config::default(), role, "fuzz", &document, Duration::ZERO)
            .with_participants(Arc::default());
        Self { store, document, session, updates, _listener: listener, last: Vec::new() }
    }

    fn take(&mut self, frame: &[u8], now: Duration) {
        self.session.handle_bytes(now, frame, &self.document);
        self.settle();
    }

    fn settle(&mut self) {
        let updates = std::mem::take(&mut *self.updates.lock().expect("no panic"));
        updates
            .iter()
            .for_each(|update| self.session.handle_update(update, exostate_sync::Origin::Local));
        self.session.settle(&self.document);
        while self.session.poll_event().is_some() {}
    }
}

fn run<B: Backend>(steps: &[Step]) {
    let mut sides = [Side::<B>::new(1, Role::Initiator), Side::<B>::new(2, Role::Responder)];
    let mut now = Duration::ZERO;
    for step in steps {
        match step {
            Step::Edit(left, edit) => {
                let side = &mut sides[usize::from(*left)];
                support::apply(&side.store, &edit.op());
                side.settle();
            }
            Step::Carry { left, count, damage, cut } => {
                for index in 0..(*count % 8) {
                    let Some(mut frame) = sides[usize::from(*left)].session.poll_transmit(now)
                    else {
                        break;
                    };
                    if let (0, Some((at, value))) = (index, damage) {
                        let len = frame.len();
                        frame[usize::from(*at) % len] = *value;
                        frame.truncate(len - usize::from(*cut) % len.min(4));
                    }
                    sides[usize::from(*left)].last.clone_from(&frame);
                    sides[usize::from(!*left)].take(&frame, now);
                }
            }
            Step::Drop(left) => drop(sides[usize::from(*left)].session.poll_transmit(now)),
            Step::Repeat(left) => {
                let frame = sides[usize::from(*left)].last.clone();
                sides[usize::from(!*left)].take(&frame, now);
            }
            Step::MadeUp(left, bytes) => sides[usize::from(*left)].take(bytes, now),
            Step::Wait(millis) => {
                now += Duration::from_millis(u64::from(*millis));
                for side in &mut sides {
                    side.session.handle_timeout(now, &side.document);
                    side.settle();
                }
            }
        }
    }
    for side in &sides {
        support::check_view(&side.store);
    }
    let honest =
        |step: &Step| !matches!(step, Step::MadeUp(..) | Step::Carry { damage: Some(_), .. });
    if !steps.iter().all(honest) {
        // A changed op that was applied has the id of the original op and other content. So the
        // replicas may differ, and their digests show it.
        return;
    }
    // Frames may have been lost or repeated. A merge must still bring the two replicas in sync.
    let [left, right] = &sides;
    left.store.merge(&right.store).expect("an honest update");
    right.store.merge(&left.store).expect("an honest update");
    assert_eq!(left.store.version(), right.store.version());
    assert_eq!(left.store.digest(), right.store.digest());
}

fuzz_target!(|steps: Vec<Step>| {
    let steps = &steps[..steps.len().min(40)];
    run::<Yrs>(steps);
    run::<Automerge>(steps);
});
