//! A template for middleware of your own. It checks every change against a rule, adds metadata to
//! it, and writes a log.
//!
//! `cargo run --example plugin`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use exostate::middleware::{Done, Import, Middleware, PathRules, Proposal};
use exostate::{ChangeError, Map, Origin, State, Store};

#[derive(State, Clone, Debug, PartialEq)]
struct Account {
    owner: String,
    balances: Map<String, i64>,
}

/// Refuses a change that would make a balance negative.
struct NeverBelowZero {
    /// The user who makes the changes.
    user: String,
    /// The number of refused changes so far.
    refused: Arc<AtomicUsize>,
}

impl Middleware<Account> for NeverBelowZero {
    // Runs before a change is committed. It sees the state before and after the change. It may
    // refuse the change, or add metadata.
    fn change(&self, change: &mut Proposal<'_, Account>) -> Result<(), ChangeError> {
        let overdrawn = |(name, balance): (&String, &i64)| (*balance < 0).then(|| name.clone());
        if let Some(name) = change.new().balances.iter().find_map(overdrawn) {
            return Err(ChangeError::refuse(format!("{name} has not enough")));
        }
        if change.meta().author().is_none() {
            change.set_meta(change.meta().clone().with_author(self.user.as_str()));
        }
        Ok(())
    }

    // Runs before an update is imported. The contents are not known yet, only the size.
    fn import(&self, import: &Import) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if import.bytes > 1 << 20 && !import.trusted {
            Err("more than a megabyte at once".into())
        } else {
            Ok(())
        }
    }

    // Runs after a change or an import, whether it succeeded or not.
    fn done(&self, done: &Done<'_>) {
        if done.error.is_some() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        let author = done.meta.and_then(|meta| meta.author()).unwrap_or("somebody");
        let what = if done.origin == Origin::Remote { "an import" } else { "a change" };
        println!(
            "{what} by {author}: {}",
            done.error.map_or_else(|| "done".to_owned(), ToString::to_string)
        );
    }
}

fn main() -> Result<(), exostate::Error> {
    let refused = Arc::new(AtomicUsize::new(0));
    let store = Store::<Account>::new();
    store.change(|account| account.owner().set("Ada"))?;
    // Layers run in this order. A change that the first layer refuses does not reach the second.
    store.add_middleware(PathRules::new().deny(Account::path().owner()));
    store.add_middleware(NeverBelowZero { user: "Eve".to_owned(), refused: Arc::clone(&refused) });

    store.change(|account| account.balances().insert("Eve", 10))?;
    let pay = |amount: i64| {
        store.change(|account| {
            let left = account.balances().get("Eve").get()? - amount;
            account.balances().get("Eve").set(left)
        })
    };
    pay(7)?;
    assert!(pay(7).is_err());
    assert!(store.change(|account| account.owner().set("Eve")).is_err());
    assert_eq!((store.view().balances.get("Eve"), store.view().owner.as_str()), (Some(&3), "Ada"));
    println!("{} refused, Eve has 3 left", refused.load(Ordering::Relaxed));
    Ok(())
}
