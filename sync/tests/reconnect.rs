//! The cost of a reconnection when nothing is missing: one round trip and less than 1 KiB each way.
//! It does not depend on the size of the document, or on the number of replicas that wrote to it.

use exostate::{Automerge, Backend, Counter, Document, State, Store, Yrs};
use exostate_sync::{Config, Role, Session};
use std::time::Duration;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
    votes: Counter,
}

/// Two equal stores of one document. `writers` replicas have each written to it twice.
fn written_by<B: Backend>(writers: usize) -> (Store<Board, B>, Store<Board, B>) {
    let [one, other] = [(); 2].map(|()| Store::<Board, B>::new());
    for number in 0..writers {
        let writer = Store::<Board, B>::new();
        writer.merge(&one).expect("an honest update");
        writer
            .change(|board| {
                board.votes().add(1).and_then(|()| board.title().set(format!("{number}")))
            })
            .expect("it can be written");
        one.merge(&writer).expect("an honest update");
    }
    other.merge(&one).expect("an honest update");
    (one, other)
}

/// Connects two stores until both sessions are live and neither has a frame to send. Returns the
/// bytes sent in each direction, and the number of flights.
fn come_back<B: Backend>(one: &Store<Board, B>, other: &Store<Board, B>) -> ([usize; 2], usize) {
    let now = Duration::ZERO;
    let session = |document: &Document<B>, role| {
        Session::new(Config::default(), role, "board", document, now)
    };
    let (one, other) = (one.document(), other.document());
    let mut sides =
        [(session(&one, Role::Initiator), &one), (session(&other, Role::Responder), &other)];
    let mut bytes = [0; 2];
    let mut flights = 0;
    loop {
        // Both sessions send in the same flight, and their frames arrive together.
        let said = sides.each_mut().map(|(session, _)| {
            std::iter::from_fn(|| session.poll_transmit(now)).collect::<Vec<_>>()
        });
        if said.iter().all(Vec::is_empty) {
            assert!(sides.iter().all(|(session, _)| session.is_live()));
            return (bytes, flights);
        }
        flights += 1;
        for (from, frames) in said.iter().enumerate() {
            bytes[from] += frames.iter().map(Vec::len).sum::<usize>();
            let (session, document) = &mut sides[1 - from];
            frames.iter().for_each(|frame| session.handle_bytes(now, frame, *document));
            session.settle(*document);
        }
    }
}

fn costs_little<B: Backend>(writers: usize) {
    let (one, other) = written_by::<B>(writers);
    let (bytes, flights) = come_back(&one, &other);
    // One flight carries the hellos, the next one carries the digests.
    assert!(flights <= 2, "{flights} flights");
    assert!(bytes.iter().all(|bytes| *bytes < 1024), "{bytes:?} bytes with {writers} writers");
    let (few, fellow) = written_by::<B>(1);
    assert_eq!(bytes, come_back(&few, &fellow).0, "it does not depend on how many wrote");
}

#[test]
fn coming_back_costs_little_on_yrs() {
    costs_little::<Yrs>(200);
}

#[test]
fn coming_back_costs_little_on_automerge() {
    costs_little::<Automerge>(100);
}
