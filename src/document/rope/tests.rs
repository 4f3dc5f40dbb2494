//! Tests the rope against a model: a plain vector of marked chars.

use std::sync::Arc;

use proptest::prelude::*;

use super::diff::Edit;
use super::node::{LEAF_BYTES_MAX, Node};
use super::{Marks, Rope, marks};
use crate::document::Value;

type Model = Vec<(char, Option<Arc<Marks>>)>;

/// Checks the invariants of a subtree and returns the number of its leaves.
fn check_node(node: &Node) -> usize {
    match node {
        Node::Leaf(leaf) => {
            assert!((1..=LEAF_BYTES_MAX).contains(&leaf.text.len()));
            assert_eq!(leaf.size, super::Size::of(&leaf.text));
            assert!(leaf.marks().is_none_or(
                |marks| !marks.is_empty() && !marks.values().any(|value| *value == Value::Null)
            ));
            1
        }
        Node::Branch(branch) => {
            assert!(branch.is_balanced());
            assert_eq!(branch.height, 1 + branch.left.height().max(branch.right.height()));
            assert_eq!(branch.size, branch.left.size() + branch.right.size());
            assert_eq!(branch.marked, branch.left.marked() || branch.right.marked());
            check_node(&branch.left) + check_node(&branch.right)
        }
    }
}

fn check(rope: &Rope, model: &Model) {
    if let Some(root) = &rope.root {
        let leaves = check_node(root) as f64;
        assert!(f64::from(root.height()) <= 1.45 * (leaves + 2.0).log2());
    }
    let text: String = model.iter().map(|(char, _)| char).collect();
    assert_eq!(rope.to_string(), text);
    assert_eq!(format!("{rope:?}"), format!("{text:?}"));
    assert_eq!((rope.len_bytes(), rope.len_chars()), (text.len(), model.len()));
    assert_eq!(rope.len_utf16(), text.encode_utf16().count());
    assert_eq!(rope.is_empty(), model.is_empty());
    assert_eq!(rope.has_marks(), model.iter().any(|(_, marks)| marks.is_some()));
    let marked: Model = rope
        .chunks()
        .flat_map(|(text, marks)| text.chars().map(move |char| (char, marks.cloned())))
        .collect();
    assert_same(&marked, model);
    let rebuilt = rebuild(model);
    assert_eq!(*rope, rebuilt);
    assert_eq!(rope.digest(), rebuilt.digest());
    assert_eq!(*rope, rebuilt);
    let runs = rope.runs();
    assert!(runs.windows(2).all(|pair| !marks::same(pair[0].1.as_ref(), pair[1].1.as_ref())));
    assert_eq!(Rope::from_runs(runs), *rope);
}

fn assert_same(left: &Model, right: &Model) {
    assert_eq!(left.len(), right.len());
    assert!(
        left.iter().zip(right).all(|(a, b)| a.0 == b.0 && marks::same(a.1.as_ref(), b.1.as_ref()))
    );
}

/// A rope with the content of the model, cut differently into leaves.
fn rebuild(model: &Model) -> Rope {
    Rope::from_runs(model.iter().map(|(char, marks)| (char.to_string(), marks.clone())))
}

fn check_positions(rope: &Rope, model: &Model, seed: usize) {
    let chars = if model.is_empty() { 0 } else { seed % (model.len() + 3) };
    let mut byte = 0;
    let mut utf16 = 0;
    for (char, _) in model.iter().take(chars) {
        byte += char.len_utf8();
        utf16 += char.len_utf16();
    }
    let expected = chars.min(model.len());
    assert_eq!(rope.char_to_byte(chars), byte);
    assert_eq!(rope.char_to_utf16(chars), utf16);
    assert_eq!(rope.char_at(chars), model.get(chars).map(|(char, _)| *char));
    let marks = model.get(chars).and_then(|(_, marks)| marks.as_ref());
    assert!(marks::same(rope.marks_at(chars), marks));
    for inside in 0..model.get(chars).map_or(3, |(char, _)| char.len_utf8()) {
        assert_eq!(rope.byte_to_char(byte + inside), expected);
    }
    for inside in 0..model.get(chars).map_or(3, |(char, _)| char.len_utf16()) {
        assert_eq!(rope.utf16_to_char(utf16 + inside), expected);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, String, Option<Arc<Marks>>),
    Delete(usize, usize),
    Splice(usize, usize, String),
    Mark(usize, usize, Arc<str>, Value),
    Replace(String),
    Keep,
}

fn apply(step: &Step, rope: &mut Rope, model: &mut Model) {
    // The positions include some that are a little past the end.
    let place = |number: usize, model: &Model| number % (model.len() + 3);
    let clamped = |at: usize, model: &Model| at.min(model.len());
    match step {
        Step::Insert(at, text, new_marks) => {
            let at = place(*at, model);
            rope.insert(at, text, new_marks.clone());
            let at = clamped(at, model);
            model.splice(
                at..at,
                text.chars().map(|char| (char, marks::canonical(new_marks.clone()))),
            );
        }
        Step::Delete(start, length) => {
            let start = place(*start, model);
            rope.delete(start..start + length);
            let range = clamped(start, model)..clamped(start + length, model);
            model.drain(range);
        }
        Step::Splice(start, length, text) => {
            let start = place(*start, model);
            rope.splice(start, *length, text);
            let range = clamped(start, model)..clamped(start + length, model);
            let like =
                if range.is_empty() { range.start.checked_sub(1) } else { Some(range.start) };
            let inherited = like.and_then(|like| model[like].1.clone());
            model.splice(range, text.chars().map(|char| (char, inherited.clone())));
        }
        Step::Mark(start, length, name, value) => {
            let start = place(*start, model);
            rope.mark(start..start + length, name, value);
            let range = clamped(start, model)..clamped(start + length, model);
            for (_, marks) in &mut model[range] {
                *marks = marks::with(marks.as_ref(), name, value);
            }
        }
        Step::Replace(text) => {
            *rope = Rope::from(text.as_str());
            *model = text.chars().map(|char| (char, None)).collect();
        }
        Step::Keep => {}
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{0,3}",
        4 => "[aß€😀\\x00\u{10FFFF}]{1,12}",
        2 => "[a-zäöü]{50,400}",
        1 => ("[aß€😀]{20,60}", 1..60usize).prop_map(|(text, times)| text.repeat(times)),
        1 => (1..6000usize).prop_map(|length| "x".repeat(length)),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Bool(true)),
        Just(Value::Float(f64::NAN)),
        Just(Value::Str(Arc::from("link"))),
    ]
}

fn any_name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just(Arc::from("bold")), Just(Arc::from("link"))]
}

fn any_marks() -> impl Strategy<Value = Option<Arc<Marks>>> {
    proptest::option::of(
        proptest::collection::btree_map(any_name(), any_value(), 0..3).prop_map(Arc::new),
    )
}

fn any_length() -> impl Strategy<Value = usize> {
    prop_oneof![0..4usize, 0..200usize, 0..5000usize]
}

fn any_step() -> impl Strategy<Value = Step> {
    let at = any::<u16>().prop_map(usize::from);
    prop_oneof![
        6 => (at.clone(), any_text(), any_marks())
            .prop_map(|(at, text, marks)| Step::Insert(at, text, marks)),
        4 => (at.clone(), any_length()).prop_map(|(at, length)| Step::Delete(at, length)),
        4 => (at.clone(), any_length(), any_text())
            .prop_map(|(at, length, text)| Step::Splice(at, length, text)),
        4 => (at, any_length(), any_name(), any_value())
            .prop_map(|(at, length, name, value)| Step::Mark(at, length, name, value)),
        1 => any_text().prop_map(Step::Replace),
        3 => Just(Step::Keep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 1000 }))]

    #[test]
    fn edits_agree_with_a_plain_vector(
        steps in proptest::collection::vec((any_step(), any::<u16>()), 1..40),
    ) {
        let mut rope = Rope::new();
        let mut model = Model::new();
        let mut kept: Vec<(Rope, Model)> = Vec::new();
        for (step, seed) in &steps {
            let before = rope.clone();
            let model_before = model.clone();
            let digest = before.digest();
            apply(step, &mut rope, &mut model);
            check(&rope, &model);
            check_positions(&rope, &model, usize::from(*seed));
            let same = model.len() == model_before.len()
                && model
                    .iter()
                    .zip(&model_before)
                    .all(|(a, b)| a.0 == b.0 && marks::same(a.1.as_ref(), b.1.as_ref()));
            prop_assert_eq!(same, rope == before);
            prop_assert_eq!(same, rope.digest() == digest);
            let start = usize::from(*seed) / 2;
            let end = usize::from(*seed);
            let slice: String = model.iter().take(end).skip(start).map(|(char, _)| char).collect();
            prop_assert_eq!(rope.slice(start..end), slice);
            let head = model.iter().zip(&model_before).take_while(|(a, b)| a.0 == b.0).count();
            let rest = model[head..].iter().rev();
            let rest_before = model_before[head..].iter().rev();
            let tail = rest.zip(rest_before).take_while(|(a, b)| a.0 == b.0).count();
            prop_assert_eq!(rope.common_ends(&before), (head, tail));
            if matches!(step, Step::Keep) {
                kept.push((rope.clone(), model.clone()));
            }
        }
        for (rope, model) in &kept {
            check(rope, model);
        }
    }

    #[test]
    fn a_diff_is_the_edit_it_reports(
        base in any_text(),
        more in any_text(),
        at in any::<u16>(),
        length in any_length(),
        new in any_text(),
    ) {
        let mut rope = Rope::from([base.as_str(), &more, &base].concat().as_str());
        for whole in [false, true] {
            let mut edited = rope.clone();
            if whole {
                edited = Rope::from(new.as_str());
            } else {
                edited.splice(usize::from(at) % (rope.len_chars() + 1), length, &new);
            }
            let mut replayed = rope.clone();
            let before = rope.clone();
            let edit = rope.diff_apply(&edited.to_string());
            prop_assert_eq!(&rope, &edited);
            prop_assert_eq!(edit.is_none(), before == edited);
            if let Some(Edit { at, deleted, inserted }) = edit {
                replayed.splice(at, deleted, &inserted);
                prop_assert_eq!(&replayed, &edited);
                let first = (before.char_at(at).filter(|_| deleted > 0), inserted.chars().next());
                prop_assert!(first.0.is_none() || first.0 != first.1);
            }
        }
    }
}

#[test]
fn typing_and_erasing_keep_the_tree_small() {
    let mut rope = Rope::new();
    for index in 0..20_000 {
        rope.insert(index, "ß", None);
    }
    let root = rope.root.as_ref().expect("there is text");
    assert!(check_node(root) <= 100);
    // Erase all but every hundredth char, one by one.
    for index in 0..200 {
        for _ in 0..99 {
            rope.delete(index..index + 1);
        }
    }
    assert_eq!(rope.len_chars(), 200);
    assert!(check_node(rope.root.as_ref().expect("there is text")) <= 8);
}

#[test]
fn marking_and_unmarking_leaves_no_extra_chunks() {
    let mut rope = Rope::from("0123456789".repeat(1000).as_str());
    let plain = rope.clone();
    let bold: Arc<str> = Arc::from("bold");
    for round in 0..200 {
        let start = round * 37 % 9000;
        rope.mark(start..start + 300, &bold, &Value::Bool(true));
        assert!(rope != plain && rope.digest() != plain.digest());
        rope.mark(0..usize::MAX, &bold, &Value::Null);
        assert_eq!(rope, plain);
        assert_eq!(rope.digest(), plain.digest());
    }
    assert!(check_node(rope.root.as_ref().expect("there is text")) <= 40);
}

#[test]
fn unedited_chunks_stay_shared() {
    let old = Rope::from("word ".repeat(20_000).as_str());
    let mut new = old.clone();
    let changed = [&old.slice(0..50_000), "!", &old.slice(50_000..usize::MAX)].concat();
    assert_eq!(
        new.diff_apply(&changed),
        Some(Edit { at: 50_000, deleted: 0, inserted: "!".to_owned() })
    );
    let addresses = |rope: &Rope| {
        rope.chunks().map(|(text, _)| text.as_ptr()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(addresses(&new).difference(&addresses(&old)).count() <= 2);
    assert_eq!(new.diff_apply(&changed), None);
}

#[test]
fn regular_texts_have_different_digests() {
    // A hash modulo a power of two cannot distinguish the Thue-Morse sequence from its complement.
    let word = |flip: u32| {
        (0..4096u32)
            .map(|n| if (n.count_ones() + flip).is_multiple_of(2) { 'a' } else { 'b' })
            .collect::<String>()
    };
    let texts = [word(0), word(1), "\0".to_owned(), "\0\0".to_owned(), String::new()];
    let digests: std::collections::BTreeSet<_> =
        texts.iter().map(|text| Rope::from(text.as_str()).digest()).collect();
    assert_eq!(digests.len(), texts.len());
}

#[test]
#[allow(clippy::reversed_empty_ranges)]
fn positions_out_of_range_are_clamped() {
    let mut rope = Rope::from("a😀");
    rope.delete(usize::MAX - 1..usize::MAX);
    rope.delete(2..1);
    rope.mark(5..2, &Arc::from("bold"), &Value::Bool(true));
    rope.splice(usize::MAX, usize::MAX, "b");
    rope.insert(usize::MAX, "c", None);
    assert_eq!(rope.to_string(), "a😀bc");
    assert_eq!((rope.char_at(usize::MAX), rope.marks_at(usize::MAX)), (None, None));
    assert_eq!(
        (rope.char_to_utf16(usize::MAX), rope.utf16_to_char(2), rope.byte_to_char(usize::MAX)),
        (5, 1, 4)
    );
    assert_eq!(rope.slice(3..1), "");
}
