//! One change of two stores: both, or neither.

use std::sync::{Arc, Mutex};

use exostate::middleware::Guard;
use exostate::{Automerge, ChangeError, List, Map, State, Store};

#[derive(State, Clone, Debug, PartialEq)]
struct Accounts {
    balances: Map<String, i64>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Journal {
    lines: List<String>,
    closed: bool,
}

fn pay(accounts: &Store<Accounts>, journal: &Store<Journal, Automerge>, amount: i64) -> Result<(), ChangeError> {
    accounts.change_with(journal, |accounts, journal| {
        let left = accounts.balances().get("ada").get()? - amount;
        accounts.balances().insert("ada", left)?;
        journal.lines().push(format!("ada pays {amount}"))?;
        if left < 0 { Err(ChangeError::refuse("not enough")) } else { Ok(()) }
    })
}

fn stores() -> (Store<Accounts>, Store<Journal, Automerge>) {
    let accounts = Store::<Accounts>::new();
    accounts.change(|accounts| accounts.balances().insert("ada", 10)).expect("it can be written");
    (accounts, Store::new())
}

#[test]
fn it_is_in_both_or_in_neither() -> Result<(), exostate::Error> {
    let (accounts, journal) = stores();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (list, other) = (Arc::clone(&seen), journal.clone());
    // Those who watch the one see the other as it is then.
    let _watch = accounts.watch(Accounts::path().balances(), move |_| list.lock().expect("the list").push(other.view().lines.len()));
    pay(&accounts, &journal, 7)?;
    assert!(matches!(pay(&accounts, &journal, 7), Err(ChangeError::Refused(_))));
    assert_eq!((accounts.view().balances.get("ada"), journal.view().lines.len()), (Some(&3), 1));
    assert_eq!(*seen.lock().expect("the list"), [1]);

    // What a layer of either refuses is in neither.
    journal.add_middleware(Guard::new().deny(&Journal::path().lines()));
    assert!(pay(&accounts, &journal, 1).is_err());
    let (others, free) = stores();
    others.add_middleware(Guard::new().deny(&Accounts::path().balances()));
    assert!(pay(&others, &free, 1).is_err());
    assert_eq!((accounts.view().balances.get("ada"), others.view().balances.get("ada"), free.view().lines.len()), (Some(&3), Some(&10), 0));
    assert_eq!((&accounts.reread(), &free.reread()), (&*accounts.view(), &*free.view()));
    Ok(())
}

#[test]
fn one_store_is_not_two() {
    let (accounts, journal) = stores();
    let twice = accounts.change_with(&accounts.clone(), |_, _| Ok(()));
    assert!(matches!(twice, Err(ChangeError::Nested)));
    let within = journal.change(|_| pay(&accounts, &journal, 1));
    assert!(matches!(within, Err(ChangeError::Nested)));
    assert_eq!(accounts.view().balances.get("ada"), Some(&10));
}

#[test]
fn opposite_orders_do_not_block_each_other() {
    let (accounts, journal) = stores();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..100).for_each(|_| pay(&accounts, &journal, 0).expect("it can be paid")));
            scope.spawn(|| {
                for _ in 0..100 {
                    let moved = journal.change_with(&accounts, |journal, accounts| {
                        journal.closed().set(!journal.closed().get()?)?;
                        accounts.balances().insert("eve", accounts.balances().get("ada").get()?)
                    });
                    moved.expect("it can be done");
                }
            });
        }
    });
    assert_eq!((journal.view().lines.len(), accounts.view().balances.len()), (200, 2));
}

#[test]
fn a_panic_leaves_both_as_they_were() {
    let (accounts, journal) = stores();
    let attempt = std::panic::AssertUnwindSafe(|| {
        accounts.change_with(&journal, |accounts, journal| -> Result<(), ChangeError> {
            accounts.balances().insert("ada", 0)?;
            journal.closed().set(true)?;
            panic!("within a change")
        })
    });
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert_eq!((accounts.view().balances.get("ada"), journal.view().closed), (Some(&10), false));
    pay(&accounts, &journal, 1).expect("it goes on");
}
