use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{Automerge, Map, Text, Yrs};

type Texts<B> = Store<Map<u8, Text>, B>;

fn texts<B: Backend>() -> Texts<B> {
    let store = Texts::<B>::new();
    store.change(|texts| texts.insert(1, Text::from("one"))).expect("it can be written");
    store
}

/// The document of the last store fails: what is in those before it is taken back, and nobody has seen it.
fn run<B: Backend, C: Backend>() {
    let (first, second, third) = (texts::<B>(), texts::<C>(), texts::<B>());
    let joint = first.and(&second).and(&third);
    let (views, digests) = (joint.view(), (first.digest(), second.digest(), third.digest()));
    let told = Arc::new(AtomicUsize::new(0));
    let (updates, calls) = (Arc::clone(&told), Arc::clone(&told));
    let _listen = first.on_update(move |_| _ = updates.fetch_add(1, Ordering::Relaxed));
    let _other = second.on_update(move |_| _ = calls.fetch_add(1, Ordering::Relaxed));

    let mut starts: Vec<Start> = members(&joint).iter().map(|member| member.begin()).collect();
    let mut turns = Stores::turns(&joint);
    stage::<Joint<Joint<Texts<B>, Texts<C>>, Texts<B>>, ()>(&turns, &mut starts, |((first, second), third)| {
        first.get(1_u8).push_str(" more")?;
        second.insert(2, Text::from("two"))?;
        second.remove(1_u8)?;
        third.insert(3, Text::from("three"))
    })
    .expect("it can be staged");
    // The third one has no turn: its document is the one that fails.
    let mut all = steps::<Joint<Joint<Texts<B>, Texts<C>>, Texts<B>>>(&mut turns);
    all[2] = Box::leak(Box::new(Fails));
    assert!(matches!(write(&mut all, &mut starts), Err(ChangeError::Refused(_))));
    drop(turns);
    end::<()>(&members(&joint), &starts, &Ok(Ok(()))).expect("nobody panics");

    assert_eq!((joint.view(), (first.digest(), second.digest(), third.digest())), (views, digests));
    assert_eq!((&first.reread(), &second.reread()), (&*first.view(), &*second.view()));
    assert_eq!(told.load(Ordering::Relaxed), 4, "peers need what was written and the way back");
    let (other, another) = (Texts::<B>::new(), Texts::<C>::new());
    other.merge(&first).expect("it merges");
    another.merge(&second).expect("it merges");
    assert_eq!((other.view(), another.view()), (first.view(), second.view()));
}

/// A step whose document fails.
struct Fails;

impl Step for Fails {
    fn enter(&mut self, _: &mut Start) -> Result<(), ChangeError> {
        Ok(())
    }
    fn stand(&self) -> [u8; 16] {
        [0; 16]
    }
    fn write(&mut self, _: &mut Start) -> Result<(), ChangeError> {
        Err(ChangeError::refuse("the document fails"))
    }
    fn take_back(&mut self, _: &Start) {}
    fn show(&mut self, _: &Start) {}
}

#[test]
fn what_was_written_is_taken_back() {
    run::<Yrs, Automerge>();
    run::<Automerge, Yrs>();
}
