use proptest::prelude::*;

use super::{BRANCH, LEAF, Node, Vector};

/// An edit. Its indices are taken modulo the length plus one.
#[derive(Clone, Debug)]
enum Step {
    Insert(usize),
    Append(usize),
    Remove(usize, usize),
    Set(usize),
    Splice(usize, usize, usize),
    Keep,
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..100_000_usize;
    prop_oneof![
        4 => index.clone().prop_map(Step::Insert),
        1 => (1..300_usize).prop_map(Step::Append),
        3 => (index.clone(), 1..200_usize).prop_map(|(at, count)| Step::Remove(at, count)),
        2 => index.clone().prop_map(Step::Set),
        2 => (index, 0..90_usize, 0..90_usize)
            .prop_map(|(at, delete, insert)| Step::Splice(at, delete, insert)),
        1 => Just(Step::Keep),
    ]
}

/// Checks the invariants of a node. Returns its depth.
fn check<T>(node: &Node<T>) -> usize {
    match node {
        Node::Leaf(items) => {
            assert!((1..=LEAF).contains(&items.len()), "a leaf has {} elements", items.len());
            assert!(items.capacity() <= LEAF, "a leaf has room for {}", items.capacity());
            0
        }
        Node::Branch(children) => {
            assert!((1..=BRANCH).contains(&children.len()));
            assert!(children.capacity() <= BRANCH);
            assert!(children.iter().all(|child| child.len == child.node.len()));
            let mut depths = children.iter().map(|child| check(&child.node));
            let first = depths.next().expect("a child");
            assert!(depths.all(|depth| depth == first), "the leaves differ in depth");
            first + 1
        }
    }
}

fn same(vector: &Vector<usize>, model: &[usize]) {
    let depth = vector.root.as_ref().map_or(0, |root| check(root));
    assert!(depth <= 3, "{} elements at depth {depth}", model.len());
    let mut nodes = Vec::new();
    vector.root.iter().for_each(|root| leaves(root, &mut nodes));
    // Two neighbours that fit into one leaf are joined, but not those of different branches.
    let most = 2 + model.len() / (LEAF / 4);
    assert!(nodes.len() <= most, "{} elements in {} leaves", model.len(), nodes.len());
    assert_eq!((vector.len(), vector.is_empty()), (model.len(), model.is_empty()));
    assert!(vector.iter().eq(model), "{:?} is not {model:?}", vector.iter().collect::<Vec<_>>());
    assert!(vector.iter().rev().eq(model.iter().rev()));
    assert_eq!(vector.get(model.len()), None);
}

fn apply(vector: &mut Vector<usize>, model: &mut Vec<usize>, step: &Step, next: &mut usize) {
    let mut new = |count: usize| {
        *next += count;
        *next - count..*next
    };
    match *step {
        Step::Insert(at) => {
            let at = at % (model.len() + 1);
            let value = new(1).start;
            vector.insert(at, value);
            model.insert(at, value);
        }
        Step::Append(count) => new(count).for_each(|value| {
            vector.push(value);
            model.push(value);
        }),
        Step::Remove(at, count) => {
            for _ in 0..count {
                let at = at % (model.len() + 1);
                assert_eq!(vector.remove(at), (at < model.len()).then(|| model.remove(at)));
            }
        }
        Step::Set(at) => {
            let at = at % (model.len() + 1);
            let value = new(1).start;
            assert_eq!(vector.get_mut(at).is_some(), at < model.len());
            if let (Some(slot), Some(same)) = (vector.get_mut(at), model.get_mut(at)) {
                (*slot, *same) = (value, value);
            }
        }
        Step::Splice(at, delete, insert) => {
            let at = at % (model.len() + 1);
            let delete = delete.min(model.len() - at);
            let insert = new(insert);
            vector.splice(at, delete, insert.clone());
            model.splice(at..at + delete, insert);
        }
        Step::Keep => {}
    }
}

proptest! {
    #[test]
    fn a_vector_does_what_a_vec_does(
        len in 0..5_000_usize,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut model: Vec<usize> = (0..len).collect();
        let mut vector: Vector<usize> = model.iter().copied().collect();
        let (mut next, mut kept) = (len, Vec::new());
        for step in &steps {
            kept.push((vector.clone(), model.clone()));
            apply(&mut vector, &mut model, step, &mut next);
            same(&vector, &model);
            let (before, before_model) = kept.last().expect("just added");
            let (head, tail) = before.common_ends(&vector);
            prop_assert_eq!(&before_model[..head], &model[..head]);
            prop_assert_eq!(
                &before_model[before_model.len() - tail..],
                &model[model.len() - tail..]
            );
            prop_assert!(head == model.len().min(before_model.len()) || before_model[head] != model[head]);
            prop_assert_eq!(*before == vector, *before_model == model);
        }
        for (vector, model) in &kept {
            same(vector, model);
        }
    }

    /// Both ends of one iterator, with skips.
    #[test]
    fn an_iterator_meets_in_the_middle(
        len in 0..700_usize,
        steps in prop::collection::vec((any::<bool>(), 0..150_usize), 1..40),
    ) {
        let model: Vec<usize> = (0..len).collect();
        let vector: Vector<usize> = model.iter().copied().collect();
        let (mut ours, mut theirs) = (vector.iter(), model.iter());
        for (front, count) in steps {
            if front {
                prop_assert_eq!(ours.nth(count), theirs.nth(count));
            } else {
                prop_assert_eq!(ours.next_back(), theirs.next_back());
                prop_assert_eq!(ours.next(), theirs.next());
            }
            prop_assert_eq!(ours.len(), theirs.len());
        }
        prop_assert!(ours.eq(theirs));
    }

    #[test]
    fn a_search_finds_what_a_search_in_a_slice_finds(
        model in prop::collection::btree_set(0..2_000_u32, 0..900),
        wanted in 0..2_000_u32,
    ) {
        let model: Vec<u32> = model.into_iter().collect();
        let vector: Vector<u32> = model.iter().copied().collect();
        let found = vector.binary_search_by(|value| value.cmp(&wanted));
        prop_assert_eq!(found, model.binary_search(&wanted));
    }
}

#[test]
fn indices_beyond_the_end_are_harmless() {
    let mut vector: Vector<u32> = (0..100).collect();
    assert_eq!((vector.remove(100), vector.get_mut(usize::MAX)), (None, None));
    vector.insert(usize::MAX, 100);
    vector.splice(usize::MAX, usize::MAX, [101].into_iter());
    vector.splice(90, usize::MAX, std::iter::empty());
    assert!(vector.iter().copied().eq(0..90));
}

#[test]
fn a_vector_that_only_grows_has_full_nodes() {
    let mut vector = Vector::new();
    (0..LEAF * BRANCH).for_each(|value| vector.push(value));
    let Some(Node::Branch(children)) = vector.root.as_deref() else { panic!("one branch") };
    assert_eq!(children.len(), BRANCH);
}

fn leaves<'a, T>(node: &'a Node<T>, into: &mut Vec<&'a [T]>) {
    match node {
        Node::Leaf(items) => into.push(items),
        Node::Branch(children) => children.iter().for_each(|child| leaves(&child.node, into)),
    }
}

#[test]
fn an_edit_copies_its_leaf_only() {
    let before: Vector<usize> = (0..100 * LEAF).collect();
    let mut after = before.clone();
    assert!(before.ptr_eq(&after));
    after.insert(1_000, 7);
    assert!(!before.ptr_eq(&after));
    let [mut old, mut new] = [Vec::new(), Vec::new()];
    leaves(before.root.as_ref().expect("a root"), &mut old);
    leaves(after.root.as_ref().expect("a root"), &mut new);
    let copied = new.iter().filter(|leaf| !old.iter().any(|old| std::ptr::eq(*old, **leaf)));
    assert_eq!((old.len(), copied.count()), (100, 2), "the full leaf was split in two");
}
