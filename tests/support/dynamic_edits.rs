//! The edits of `support::edit` on a state whose type is a schema: each with the same ops.

use exostate::dynamic::ScalarValue;
use exostate::{ChangeError, Dynamic, Edit, Node, Uuid};
use serde_json::json;

use super::{KINDS, Op, key, pick, range};

type State<'e> = Node<Edit<'e>, Dynamic>;

/// Stages one edit.
pub fn edit(state: &State<'_>, op: &Op) -> Result<(), ChangeError> {
    match op.kind % KINDS {
        0..=8 => edit_registers(state, op),
        9..=14 => edit_text(state, op),
        15..=21 => edit_collections(state, op),
        22..=26 => edit_cards(state, op),
        27..=31 => edit_people(state, op),
        32..=37 => edit_tree_and_variants(state, op),
        _ => edit_board(state, op),
    }
}

fn edit_registers(state: &State<'_>, op: &Op) -> Result<(), ChangeError> {
    match op.kind % KINDS {
        0 => state.at("title").set(&op.text),
        1 => state
            .at("count")
            .set([0, -1, i64::MAX, i64::MIN, 1 << 40, i64::from(op.b)][usize::from(op.a) % 6]),
        2 => state
            .at("big")
            .set([0, u64::MAX, 1 << 63, (1 << 63) - 1, u64::from(op.b)][usize::from(op.a) % 5]),
        3 => state
            .at("ratio")
            .set([0.0, -0.0, 0.5, 1e300, 3.0, -9_223_372_036_854_775_808.0][usize::from(op.a) % 6]),
        4 => state.at("flag").set(op.a.is_multiple_of(2)),
        5 => state.at("data").set(op.text.as_bytes()),
        6 if op.a.is_multiple_of(3) => state.at("owner").set(None::<Uuid>),
        6 => state.at("owner").set(Uuid::from_u128(u128::from(op.b)).to_string()),
        7 => state.at("when").set(jiff::Timestamp::from_second(i64::from(op.b)).ok()),
        _ => state.at("pair").set((op.text.len() as u8, &op.text)),
    }
}

fn edit_text(state: &State<'_>, op: &Op) -> Result<(), ChangeError> {
    let notes = state.at("notes").as_text()?;
    let len = notes.get()?.len();
    match op.kind % KINDS {
        9 | 10 => notes.insert(usize::from(op.a) % (len + 1), &op.text),
        11 => notes.delete(range(len, op)),
        12 => notes.splice(range(len, op), &op.text),
        13 => notes.mark(range(len, op), ["bold", "link"][usize::from(op.b) % 2], op.text.clone()),
        _ => notes.unmark(range(len, op), ["bold", "link"][usize::from(op.b) % 2]),
    }
}

fn edit_collections(state: &State<'_>, op: &Op) -> Result<(), ChangeError> {
    let numbers = state.at("numbers").as_list()?;
    let len = numbers.get()?.len();
    let score = (i32::from(op.a) % 4 - 2).to_string();
    match op.kind % KINDS {
        15 => state.at("tags").insert_item(&key(op)).map(drop),
        16 => state.at("tags").remove(&key(op)).map(drop),
        17 => numbers.insert(usize::from(op.a) % (len + 1), ScalarValue::from(i64::from(op.b))),
        18 if len > 0 => numbers.remove(usize::from(op.a) % len),
        19 if len > 0 => numbers.set(usize::from(op.a) % len, ScalarValue::from(i64::from(op.b))),
        20 => state.at("votes").add(i64::from(op.b) - 100),
        21 if op.b.is_multiple_of(3) => state.at("scores").remove(&score).map(drop),
        21 => state.at("scores").insert(&score, op.b),
        _ => Ok(()),
    }
}

fn edit_cards(state: &State<'_>, op: &Op) -> Result<(), ChangeError> {
    let cards = state.at("cards").as_movable_list()?;
    let ids: Vec<_> = cards.value()?.iter_ids().map(|(id, _)| id).collect();
    let Some(id) = pick(&ids, op.a).filter(|_| op.kind % KINDS > 22) else {
        let card = json!({
            "text": op.text, "done": op.b.is_multiple_of(2), "body": "body", "labels": [],
        });
        let names = state.at("names").as_movable_list()?;
        let name = state.at("names").element(&op.text)?;
        names.insert(usize::from(op.a) % (names.len()? + 1), name)?;
        let card = state.at("cards").element(card)?;
        return cards.insert(usize::from(op.b) % (ids.len() + 1), card).map(drop);
    };
    let card = cards.get(id);
    match op.kind % KINDS {
        23 => cards.move_to(id, usize::from(op.b) % ids.len()),
        24 if op.b.is_multiple_of(3) => state.at("cards").remove(&id.to_string()).map(drop),
        24 => card.at("done").set(op.b.is_multiple_of(2)),
        25 => card.at("text").set(&op.text),
        _ => {
            card.at("labels").insert_item(&op.text)?;
            card.at("body").as_text()?.push_str(&op.text)
        }
    }
}

fn edit_people(state: &State<'_>, op: &Op) -> Result<(), ChangeError> {
    let people = state.at("people");
    let person = people.child(&key(op));
    let is_there = people.as_map()?.contains_key(people.key(&key(op))?)?;
    if !is_there || op.kind % KINDS == 27 {
        let new = json!({
            "name": op.text, "age": op.b, "likes": 1, "bio": "hello",
            "pets": { "rex": { "kind": "dog", "legs": 4 } },
        });
        return people.insert(&key(op), new);
    }
    match op.kind % KINDS {
        28 if op.b.is_multiple_of(2) => people.remove(&key(op)).map(drop),
        28 => person.at("age").set(op.b),
        29 => person.at("bio").as_text()?.push_str(&op.text),
        30 if op.b.is_multiple_of(2) => person.at("pets").remove("rex").map(drop),
        30 => person.at("pets").insert(&op.text, json!({ "kind": "cat", "legs": 3 })),
        _ => person.at("likes").add(1),
    }
}

fn edit_tree_and_variants(state: &State<'_>, op: &Op) -> Result<(), ChangeError> {
    let outline = state.at("outline").as_tree()?;
    let tree = outline.value()?;
    let ids: Vec<_> = tree.walk().into_iter().map(|(_, id, _)| id).collect();
    match op.kind % KINDS {
        32 => {
            let item = state.at("outline").element(json!({ "label": op.text }))?;
            let parent = pick(&ids, op.a).filter(|_| !op.b.is_multiple_of(3));
            outline.push(parent, item).map(drop)
        }
        33 => {
            let (Some(id), parent) =
                (pick(&ids, op.a), pick(&ids, op.b).filter(|_| !op.b.is_multiple_of(4)))
            else {
                return Ok(());
            };
            drop(outline.move_to(id, parent, 0));
            Ok(())
        }
        34 => match pick(&ids, op.a) {
            Some(id) if op.b.is_multiple_of(3) => outline.remove(id).map(drop),
            Some(id) => outline.get(id).at("label").set(&op.text),
            None => Ok(()),
        },
        35 => state.at("shape").reconcile_json(match op.a % 3 {
            0 => json!("Nothing"),
            1 => json!({ "Circle": { "radius": f64::from(op.b) } }),
            _ => json!({ "Label": [op.text, "label"] }),
        }),
        36 => {
            state.at("settings/theme").set(&op.text)?;
            let flag = (op.b % 3).to_string();
            state.at("settings/flags").insert(&flag, op.a.is_multiple_of(2))
        }
        _ if op.a.is_multiple_of(3) => state.at("maybe").set(()),
        _ => state.at("maybe").set(json!({ "theme": op.text, "size": op.b, "flags": {} })),
    }
}

fn edit_board(state: &State<'_>, op: &Op) -> Result<(), ChangeError> {
    let place = state.at("board");
    let board = place.as_groups()?;
    let whole = board.value()?;
    let groups: Vec<_> = whole.groups().iter_ids().map(|(id, _)| id).collect();
    let grouped = whole.iter().flat_map(|(_, _, items)| items.iter_ids());
    let items: Vec<_> = grouped.chain(whole.ungrouped()).map(|(id, _)| id).collect();
    let column = || {
        let limit = Some(op.b).filter(|limit| limit % 2 == 0);
        place.group_element(json!({ "title": op.text, "limit": limit }))
    };
    let card =
        || place.element(json!({ "text": op.text, "done": false, "body": "body", "labels": [] }));
    let (Some(group), kind) = (pick(&groups, op.b), op.kind % KINDS) else {
        return board.push_group(column()?).map(drop);
    };
    let len = whole.items(group).len();
    match (kind, pick(&items, op.a)) {
        (38, _) => board.insert_group(usize::from(op.a) % (groups.len() + 1), column()?).map(drop),
        (39, _) | (_, None) => {
            board.insert(group, usize::from(op.a) % (len + 1), card()?).map(drop)
        }
        (40, Some(item)) => {
            let others = len - usize::from(whole.group_of(item) == Some(group));
            board.move_to(item, group, usize::from(op.a) % (others + 1))
        }
        (41, Some(item)) if op.b.is_multiple_of(3) => board.remove(item).map(drop),
        (41, Some(item)) => board.get(item).at("body").as_text()?.push_str(&op.text),
        (42, _) if op.a.is_multiple_of(3) => board.remove_group(group).map(drop),
        (42, _) => board.move_group(group, usize::from(op.a) % groups.len()),
        (_, item) => {
            board.group(group).at("title").set(&op.text)?;
            state.at("chosen").set(item.filter(|_| op.b.is_multiple_of(2)))
        }
    }
}
