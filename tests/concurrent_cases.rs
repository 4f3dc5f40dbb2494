//! The concurrent cases of `docs/merging.md`, one by one, on both backends.

mod support;

use exostate::{Automerge, Backend, Counter, Store, Text, Uuid, Yrs};
use support::{Card, Column, Everything, Item, Person, Pet, Settings, Shape};

type Replica<B> = Store<Everything, B>;

/// Two replicas with a common beginning, and the changes that each makes before they merge.
fn meet<B: Backend>(
    common: impl Fn(&Replica<B>),
    ours: impl Fn(&Replica<B>),
    theirs: impl Fn(&Replica<B>),
) -> Replica<B> {
    let here = support::store::<B>(1);
    common(&here);
    let there = here.fork().expect("a fork");
    ours(&here);
    theirs(&there);
    here.merge(&there).expect("an honest update");
    there.merge(&here).expect("an honest update");
    assert_eq!(here.view(), there.view());
    assert_eq!(here.digest(), there.digest());
    assert_eq!(here.version(), there.version());
    support::check_view(&here);
    support::check_view(&there);
    here
}

/// Runs a case on both backends. Each replica takes each of the two roles, because a backend may
/// decide by their ids.
macro_rules! case {
    ($name:ident, $common:expr, $ours:expr, $theirs:expr, |$merged:ident| $check:expr) => {
        #[test]
        fn $name() {
            fn run<B: Backend>() {
                let common = |store: &Replica<B>| {
                    store.change(|state| ($common)(&state)).expect("it can be written")
                };
                let ours = |store: &Replica<B>| {
                    store.change(|state| ($ours)(&state)).expect("it can be written")
                };
                let theirs = |store: &Replica<B>| {
                    store.change(|state| ($theirs)(&state)).expect("it can be written")
                };
                for merged in [meet::<B>(common, ours, theirs), meet::<B>(common, theirs, ours)] {
                    let $merged = merged.view();
                    $check
                }
            }
            run::<Yrs>();
            run::<Automerge>();
        }
    };
}

type State<'a> = <Everything as exostate::State>::Node<exostate::Edit<'a>>;
type Done = Result<(), exostate::ChangeError>;

fn card(text: &str) -> Card {
    Card { text: text.to_owned(), done: false, body: Text::new(), labels: exostate::Set::new() }
}

fn person(name: &str) -> Person {
    Person {
        name: name.to_owned(),
        age: 0,
        likes: Counter::new(0),
        bio: Text::new(),
        pets: exostate::Map::new(),
    }
}

fn nothing(_: &State<'_>) -> Done {
    Ok(())
}

fn first_card(state: &State<'_>) -> exostate::ElementId {
    state.cards().value().expect("the cards").id_at(0).expect("a card")
}

fn node(state: &State<'_>, label: &str) -> exostate::ElementId {
    let tree = state.outline().value().expect("the tree");
    tree.walk().into_iter().find(|(_, _, item)| item.label == label).expect("the node").1
}

case!(
    two_values_of_a_register_compete,
    nothing,
    |s: &State<'_>| s.title().set("a"),
    |s: &State<'_>| s.title().set("b"),
    |view| assert!(view.title == "a" || view.title == "b")
);

case!(
    two_fields_of_a_struct_merge,
    nothing,
    |s: &State<'_>| s.settings().theme().set("dark"),
    |s: &State<'_>| s.settings().size().set(7),
    |view| assert_eq!((view.settings.theme.as_str(), view.settings.size), ("dark", 7))
);

case!(
    an_option_filled_twice_is_one_struct,
    nothing,
    |s: &State<'_>| s.maybe().set(Settings {
        theme: "dark".into(),
        size: 0,
        flags: exostate::Map::new()
    }),
    |s: &State<'_>| s.maybe().set(Settings {
        theme: String::new(),
        size: 7,
        flags: exostate::Map::new()
    }),
    |view| assert_eq!(
        view.maybe.as_ref().map(|found| (found.theme.as_str(), found.size)),
        Some(("dark", 7))
    )
);

case!(
    emptying_an_option_wins_over_an_edit_of_the_inside,
    |s: &State<'_>| s.maybe().set(Settings {
        theme: "old".into(),
        size: 1,
        flags: exostate::Map::new()
    }),
    |s: &State<'_>| s.maybe().set(None),
    |s: &State<'_>| s.maybe().some().theme().set("new"),
    |view| assert_eq!(view.maybe, None)
);

case!(
    a_variant_switched_twice_is_one_of_them,
    nothing,
    |s: &State<'_>| s.shape().reconcile(&Shape::Circle { radius: 2.0 }),
    |s: &State<'_>| s.shape().reconcile(&Shape::Label("x".into(), Text::from("y"))),
    |view| assert!(
        view.shape == Shape::Circle { radius: 2.0 }
            || view.shape == Shape::Label("x".into(), Text::from("y"))
    )
);

case!(
    a_switch_beside_an_edit_of_the_old_variant,
    |s: &State<'_>| s.shape().reconcile(&Shape::Circle { radius: 1.0 }),
    |s: &State<'_>| s.shape().reconcile(&Shape::Nothing),
    |s: &State<'_>| s.shape().circle().radius().set(5.0),
    |view| assert_eq!(view.shape, Shape::Nothing)
);

case!(
    two_insertions_into_a_text_both_stay,
    |s: &State<'_>| s.notes().push_str("<>"),
    |s: &State<'_>| s.notes().insert(1, "ab"),
    |s: &State<'_>| s.notes().insert(1, "cd"),
    |view| assert!(view.notes == "<abcd>" || view.notes == "<cdab>")
);

case!(
    typing_within_a_deleted_stretch_stays,
    |s: &State<'_>| s.notes().push_str("abcdef"),
    |s: &State<'_>| s.notes().delete(1..5),
    |s: &State<'_>| s.notes().insert(3, "X"),
    |view| assert_eq!(view.notes, "aXf")
);

case!(
    typing_at_the_end_of_a_mark_is_marked_and_at_its_start_not,
    |s: &State<'_>| {
        s.notes().push_str("abc")?;
        s.notes().mark(1..2, "bold", true)
    },
    |s: &State<'_>| s.notes().insert(2, "X"),
    |s: &State<'_>| s.notes().insert(1, "Y"),
    |view| {
        assert_eq!(view.notes, "aYbXc");
        let marked: Vec<bool> = (0..5).map(|at| view.notes.marks_at(at).is_some()).collect();
        assert_eq!(marked, [false, false, true, true, false]);
    }
);

case!(
    two_insertions_into_a_list_both_stay,
    |s: &State<'_>| {
        s.numbers().push(0)?;
        s.numbers().push(9)
    },
    |s: &State<'_>| s.numbers().insert(1, 1),
    |s: &State<'_>| s.numbers().insert(1, 2),
    |view| {
        let found: Vec<i64> = view.numbers.iter().copied().collect();
        assert!(found == [0, 1, 2, 9] || found == [0, 2, 1, 9], "{found:?}");
    }
);

case!(
    one_element_of_a_list_replaced_twice_stays_twice,
    |s: &State<'_>| s.numbers().push(0),
    |s: &State<'_>| s.numbers().set(0, 1),
    |s: &State<'_>| s.numbers().set(0, 2),
    |view| {
        let mut found: Vec<i64> = view.numbers.iter().copied().collect();
        found.sort_unstable();
        assert_eq!(found, [1, 2]);
    }
);

fn three_cards(state: &State<'_>) -> Done {
    ["a", "b", "c"].iter().try_for_each(|text| state.cards().push(card(text)).map(drop))
}

case!(
    one_element_moved_twice_is_there_once,
    three_cards,
    |s: &State<'_>| s.cards().move_to(first_card(s), 1),
    |s: &State<'_>| s.cards().move_to(first_card(s), 2),
    |view| {
        let found: Vec<&str> = view.cards.iter().map(|card| card.text.as_str()).collect();
        assert!(found == ["b", "a", "c"] || found == ["b", "c", "a"], "{found:?}");
    }
);

case!(
    removal_wins_over_a_move,
    three_cards,
    |s: &State<'_>| s.cards().remove(first_card(s)).map(drop),
    |s: &State<'_>| s.cards().move_to(first_card(s), 2),
    |view| assert_eq!(
        view.cards.iter().map(|card| card.text.as_str()).collect::<Vec<_>>(),
        ["b", "c"]
    )
);

case!(
    removal_wins_over_an_edit_of_an_element,
    three_cards,
    |s: &State<'_>| s.cards().remove(first_card(s)).map(drop),
    |s: &State<'_>| s.cards().get(first_card(s)).body().push_str("x"),
    |view| assert_eq!(view.cards.len(), 2)
);

case!(
    an_edit_and_a_move_of_one_element_merge,
    three_cards,
    |s: &State<'_>| s.cards().get(first_card(s)).text().set("A"),
    |s: &State<'_>| s.cards().move_to(first_card(s), 2),
    |view| assert_eq!(
        view.cards.iter().map(|card| card.text.as_str()).collect::<Vec<_>>(),
        ["b", "c", "A"]
    )
);

case!(
    one_key_set_twice_competes,
    nothing,
    |s: &State<'_>| s.scores().insert(1, 10),
    |s: &State<'_>| s.scores().insert(1, 20),
    |view| assert!(
        view.scores.len() == 1 && [10, 20].contains(view.scores.get(&1).expect("the key"))
    )
);

case!(
    one_key_made_twice_is_one_record,
    nothing,
    |s: &State<'_>| {
        s.people().insert("ada", person("Ada"))?;
        s.people().get("ada").bio().push_str("x")
    },
    |s: &State<'_>| {
        s.people().insert("ada", person(""))?;
        s.people().get("ada").age().set(36u32)?;
        s.people().get("ada").bio().push_str("y")
    },
    |view| {
        let ada = view.people.get("ada").expect("the record");
        assert_eq!((ada.name.as_str(), ada.age), ("Ada", 36));
        assert!(ada.bio == "xy" || ada.bio == "yx");
    }
);

case!(
    removal_of_a_record_wins_over_an_edit,
    |s: &State<'_>| s.people().insert("ada", person("Ada")),
    |s: &State<'_>| s.people().remove("ada").map(drop),
    |s: &State<'_>| {
        s.people().get("ada").age().set(36u32)?;
        s.people().get("ada").pets().insert("rex", Pet { kind: "dog".into(), legs: 4 })
    },
    |view| assert!(view.people.is_empty())
);

#[test]
fn an_edit_of_a_removed_record_does_not_come_back_with_the_key() {
    fn run<B: Backend>() {
        let common = |store: &Replica<B>| {
            store
                .change(|state| state.people().insert("ada", person("Ada")))
                .expect("it can be written")
        };
        let removed = |store: &Replica<B>| {
            assert!(store.change(|state| state.people().remove("ada")).expect("it can be removed"))
        };
        let edited = |store: &Replica<B>| {
            let edit = store.change(|state| {
                state.people().get("ada").age().set(36u32)?;
                state.people().get("ada").bio().push_str("ghost")
            });
            edit.expect("it can be written");
        };
        for merged in [meet::<B>(common, removed, edited), meet::<B>(common, edited, removed)] {
            assert!(merged.view().people.is_empty());
            merged
                .change(|state| state.people().insert("ada", person("Another")))
                .expect("it can be written");
            assert_eq!(
                merged.view().people.get("ada"),
                Some(&person("Another")),
                "the edit came back"
            );
            support::check_view(&merged);
        }
    }
    run::<Yrs>();
    run::<Automerge>();
}

case!(
    an_addition_that_the_remover_did_not_see_wins,
    |s: &State<'_>| s.tags().insert("x").map(drop),
    |s: &State<'_>| s.tags().remove("x").map(drop),
    |s: &State<'_>| s.tags().insert("x").map(drop),
    |view| assert!(view.tags.contains("x"))
);

case!(
    an_element_added_twice_is_in_once,
    nothing,
    |s: &State<'_>| s.tags().insert("x").map(drop),
    |s: &State<'_>| s.tags().insert("x").map(drop),
    |view| assert_eq!(view.tags.len(), 1)
);

case!(
    two_additions_to_a_counter_both_count,
    |s: &State<'_>| s.votes().add(1),
    |s: &State<'_>| s.votes().add(2),
    |s: &State<'_>| s.votes().add(-10),
    |view| assert_eq!(view.votes, -7)
);

fn two_nodes(state: &State<'_>) -> Done {
    ["a", "b"].iter().try_for_each(|label| {
        state.outline().push(None, Item { label: (*label).to_owned() }).map(drop)
    })
}

case!(
    two_moves_never_make_a_cycle,
    two_nodes,
    |s: &State<'_>| s.outline().move_to(node(s, "a"), Some(node(s, "b")), 0),
    |s: &State<'_>| s.outline().move_to(node(s, "b"), Some(node(s, "a")), 0),
    |view| {
        let shape: Vec<(usize, &str)> = view
            .outline
            .walk()
            .into_iter()
            .map(|(depth, _, item)| (depth, item.label.as_str()))
            .collect();
        assert_eq!(shape, [(0, "a"), (1, "b")], "the node with the smaller id is the root");
    }
);

case!(
    a_node_moved_into_a_removed_one_stands_at_the_root,
    two_nodes,
    |s: &State<'_>| s.outline().move_to(node(s, "a"), Some(node(s, "b")), 0),
    |s: &State<'_>| s.outline().remove(node(s, "b")).map(drop),
    |view| assert_eq!(
        view.outline
            .walk()
            .into_iter()
            .map(|(depth, _, item)| (depth, item.label.as_str()))
            .collect::<Vec<_>>(),
        [(0, "a")]
    )
);

case!(
    removal_of_a_node_wins_over_its_move,
    two_nodes,
    |s: &State<'_>| s.outline().move_to(node(s, "a"), Some(node(s, "b")), 0),
    |s: &State<'_>| s.outline().remove(node(s, "a")).map(drop),
    |view| assert_eq!(view.outline.len(), 1)
);

case!(
    a_value_written_again_as_it_was_does_not_compete,
    |s: &State<'_>| s.title().set("old"),
    |s: &State<'_>| s.title().set("old"),
    |s: &State<'_>| s.title().set("new"),
    |view| assert_eq!(view.title, "new")
);

case!(
    a_plain_option_filled_and_emptied_competes,
    |s: &State<'_>| s.owner().set(Some(Uuid::from_u128(1))),
    |s: &State<'_>| s.owner().set(Some(Uuid::from_u128(2))),
    |s: &State<'_>| s.owner().set(None),
    |view| assert!([None, Some(Uuid::from_u128(2))].contains(&view.owner))
);

fn settings(theme: &str, size: i32) -> Settings {
    Settings { theme: theme.into(), size, flags: exostate::Map::new() }
}

case!(
    emptying_an_option_wins_over_filling_it_with_another_struct,
    |s: &State<'_>| s.maybe().set(settings("old", 1)),
    |s: &State<'_>| s.maybe().set(settings("new", 2)),
    |s: &State<'_>| s.maybe().set(None),
    |view| assert_eq!(view.maybe, None)
);

case!(
    two_fields_of_one_variant_merge,
    |s: &State<'_>| s.shape().reconcile(&Shape::Label("old".into(), Text::from("-"))),
    |s: &State<'_>| s.shape().reconcile(&Shape::Label("new".into(), Text::from("-"))),
    |s: &State<'_>| s.shape().reconcile(&Shape::Label("old".into(), Text::from("-more"))),
    |view| assert_eq!(view.shape, Shape::Label("new".into(), Text::from("-more")))
);

case!(
    marks_of_different_values_compete_where_both_stand,
    |s: &State<'_>| s.notes().push_str("abc"),
    |s: &State<'_>| s.notes().mark(0..2, "colour", "red"),
    |s: &State<'_>| s.notes().mark(1..3, "colour", "blue"),
    |view| {
        let colour = |at| view.notes.marks_at(at).and_then(|marks| marks.get("colour").cloned());
        let red = Some(exostate::Value::from("red"));
        let blue = Some(exostate::Value::from("blue"));
        assert_eq!(colour(0), red);
        assert!(colour(1) == red || colour(1) == blue);
        // On yrs the end of one mark also ends another mark with the same name.
        assert!(colour(2) == blue || (B::NAME == "yrs" && colour(2).is_none()));
    }
);

case!(
    a_mark_set_and_cleared_competes,
    |s: &State<'_>| {
        s.notes().push_str("ab")?;
        s.notes().mark(0..2, "bold", true)
    },
    |s: &State<'_>| s.notes().unmark(0..2, "bold"),
    |s: &State<'_>| s.notes().mark(0..2, "bold", 2),
    |view| {
        let bold = |at| view.notes.marks_at(at).and_then(|marks| marks.get("bold").cloned());
        assert!(
            bold(0) == bold(1) && [None, Some(exostate::Value::from(2))].contains(&bold(0)),
            "{:?}",
            bold(0)
        );
    }
);

case!(
    deletion_wins_over_a_mark,
    |s: &State<'_>| s.notes().push_str("abc"),
    |s: &State<'_>| s.notes().delete(0..2),
    |s: &State<'_>| s.notes().mark(1..3, "bold", true),
    |view| assert_eq!(
        (view.notes.to_string().as_str(), view.notes.marks_at(0).is_some()),
        ("c", true)
    )
);

case!(
    an_element_of_a_list_set_and_removed_is_the_new_one,
    |s: &State<'_>| s.numbers().extend([0, 1, 2]),
    |s: &State<'_>| s.numbers().set(1, 7),
    |s: &State<'_>| s.numbers().remove(1),
    |view| assert_eq!(view.numbers.iter().copied().collect::<Vec<_>>(), [0, 7, 2])
);

case!(
    two_elements_inserted_at_one_place_of_a_movable_list_both_stay,
    three_cards,
    |s: &State<'_>| s.cards().insert(1, card("x")).map(drop),
    |s: &State<'_>| s.cards().insert(1, card("y")).map(drop),
    |view| {
        let found: Vec<&str> = view.cards.iter().map(|card| card.text.as_str()).collect();
        assert!(
            found == ["a", "x", "y", "b", "c"] || found == ["a", "y", "x", "b", "c"],
            "{found:?}"
        );
    }
);

case!(
    a_value_of_a_map_removed_and_set_is_there,
    |s: &State<'_>| s.scores().insert(1, 10),
    |s: &State<'_>| s.scores().remove(1).map(drop),
    |s: &State<'_>| s.scores().insert(1, 20),
    |view| assert_eq!(view.scores.get(&1), Some(&20))
);

case!(
    removal_of_a_record_wins_over_another_in_its_place,
    |s: &State<'_>| s.people().insert("ada", person("Ada")),
    |s: &State<'_>| s.people().remove("ada").map(drop),
    |s: &State<'_>| s.people().insert("ada", person("Another")),
    |view| assert!(view.people.is_empty())
);

#[test]
fn a_record_removed_and_made_anew_stays_beside_a_removal() {
    fn run<B: Backend>() {
        let common = |store: &Replica<B>| {
            store
                .change(|state| state.people().insert("ada", person("Ada")))
                .expect("it can be written")
        };
        let removed = |store: &Replica<B>| {
            assert!(store.change(|state| state.people().remove("ada")).expect("it can be removed"))
        };
        let anew = |store: &Replica<B>| {
            removed(store);
            store
                .change(|state| state.people().insert("ada", person("Another")))
                .expect("it can be written");
        };
        for merged in [meet::<B>(common, removed, anew), meet::<B>(common, anew, removed)] {
            assert_eq!(merged.view().people.get("ada"), Some(&person("Another")));
        }
    }
    run::<Yrs>();
    run::<Automerge>();
}

case!(
    removal_of_a_record_wins_over_an_addition_to_its_counter_and_typing_in_its_text,
    |s: &State<'_>| s.people().insert("ada", person("Ada")),
    |s: &State<'_>| s.people().remove("ada").map(drop),
    |s: &State<'_>| {
        s.people().get("ada").likes().add(5)?;
        s.people().get("ada").bio().push_str("x")
    },
    |view| assert!(view.people.is_empty())
);

case!(
    an_element_removed_twice_is_out,
    |s: &State<'_>| s.tags().insert("x").map(drop),
    |s: &State<'_>| s.tags().remove("x").map(drop),
    |s: &State<'_>| s.tags().remove("x").map(drop),
    |view| assert!(view.tags.is_empty())
);

fn shape_of(view: &Everything) -> Vec<(usize, &str)> {
    view.outline.walk().into_iter().map(|(depth, _, item)| (depth, item.label.as_str())).collect()
}

fn three_nodes(state: &State<'_>) -> Done {
    ["a", "b", "c"].iter().try_for_each(|label| {
        state.outline().push(None, Item { label: (*label).to_owned() }).map(drop)
    })
}

case!(
    one_node_moved_twice_is_in_one_of_both_places,
    three_nodes,
    |s: &State<'_>| s.outline().move_to(node(s, "a"), Some(node(s, "b")), 0),
    |s: &State<'_>| s.outline().move_to(node(s, "a"), Some(node(s, "c")), 0),
    |view| {
        let found = shape_of(&view);
        assert!(
            found == [(0, "b"), (1, "a"), (0, "c")] || found == [(0, "b"), (0, "c"), (1, "a")],
            "{found:?}"
        );
    }
);

case!(
    removal_of_a_node_wins_over_an_edit,
    two_nodes,
    |s: &State<'_>| s.outline().get(node(s, "a")).label().set("A"),
    |s: &State<'_>| s.outline().remove(node(s, "a")).map(drop),
    |view| assert_eq!(shape_of(&view), [(0, "b")])
);

case!(
    an_edit_and_a_move_of_one_node_merge,
    two_nodes,
    |s: &State<'_>| s.outline().get(node(s, "a")).label().set("A"),
    |s: &State<'_>| s.outline().move_to(node(s, "a"), Some(node(s, "b")), 0),
    |view| assert_eq!(shape_of(&view), [(0, "b"), (1, "A")])
);

case!(
    a_child_made_below_a_removed_node_stands_at_the_root,
    two_nodes,
    |s: &State<'_>| s.outline().remove(node(s, "b")).map(drop),
    |s: &State<'_>| s
        .outline()
        .push(Some(node(s, "b")), Item { label: "child".to_owned() })
        .map(drop),
    |view| assert_eq!(shape_of(&view), [(0, "a"), (0, "child")])
);

case!(
    two_children_made_at_one_place_both_stay,
    two_nodes,
    |s: &State<'_>| s.outline().push(Some(node(s, "b")), Item { label: "x".to_owned() }).map(drop),
    |s: &State<'_>| s.outline().push(Some(node(s, "b")), Item { label: "y".to_owned() }).map(drop),
    |view| {
        let found = shape_of(&view);
        let one = [(0, "a"), (0, "b"), (1, "x"), (1, "y")];
        assert!(found == one || found == [one[0], one[1], one[3], one[2]], "{found:?}");
    }
);

case!(
    a_value_of_a_serde_type_written_again_as_it_was_does_not_compete,
    |s: &State<'_>| s.pair().set((1, "old".to_owned())),
    |s: &State<'_>| s.pair().set((1, "old".to_owned())),
    |s: &State<'_>| s.pair().set((2, "new".to_owned())),
    |view| assert_eq!(*view.pair, (2, "new".to_owned()))
);

case!(
    a_written_variant_switched_twice_is_one_of_both,
    |s: &State<'_>| s.shape().reconcile(&Shape::Circle { radius: 1.0 }),
    |s: &State<'_>| s.shape().reconcile(&Shape::Nothing),
    |s: &State<'_>| s.shape().reconcile(&Shape::Label("x".into(), Text::from("y"))),
    |view| assert!(
        view.shape == Shape::Nothing || view.shape == Shape::Label("x".into(), Text::from("y"))
    )
);

case!(
    two_switches_to_one_variant_merge_field_by_field,
    nothing,
    |s: &State<'_>| s.shape().reconcile(&Shape::Label("x".into(), Text::from("a"))),
    |s: &State<'_>| s.shape().reconcile(&Shape::Label(String::new(), Text::from("b"))),
    |view| assert!(
        view.shape == Shape::Label("x".into(), Text::from("ab"))
            || view.shape == Shape::Label("x".into(), Text::from("ba"))
    )
);

#[test]
fn an_edit_of_an_unwritten_default_variant_conflicts_with_a_switch() {
    #[derive(exostate::State, Clone, Debug, PartialEq)]
    struct Machine {
        mode: Mode,
    }
    #[derive(exostate::State, Clone, Debug, PartialEq)]
    enum Mode {
        #[state(default)]
        Idle {
            since: i64,
        },
        Busy,
    }
    fn run<B: Backend>() {
        let here = Store::<Machine, B>::new();
        let there = Store::<Machine, B>::new();
        here.change(|machine| machine.mode().idle().since().set(7)).expect("it can be written");
        there.change(|machine| machine.mode().reconcile(&Mode::Busy)).expect("it can be written");
        here.merge(&there).expect("an honest update");
        there.merge(&here).expect("an honest update");
        assert_eq!((here.view(), here.digest()), (there.view(), there.digest()));
        assert!([Mode::Idle { since: 7 }, Mode::Busy].contains(&here.view().mode));
    }
    run::<Yrs>();
    run::<Automerge>();
}

/// Columns "todo", "doing" and "done", with cards a and b in the first and c in the second.
fn a_board(s: &State<'_>) -> Done {
    let column =
        |title: &str| s.board().push_group(Column { title: title.to_owned(), limit: None });
    let (todo, doing, _) = (column("todo")?, column("doing")?, column("done")?);
    s.board().push(todo, card("a"))?;
    s.board().push(todo, card("b"))?;
    s.board().push(doing, card("c")).map(drop)
}

fn column(s: &State<'_>, title: &str) -> exostate::ElementId {
    let board = s.board().value().expect("the board");
    board.groups().iter_ids().find(|(_, column)| column.title == title).expect("the column").0
}

fn item(s: &State<'_>, text: &str) -> exostate::ElementId {
    let board = s.board().value().expect("the board");
    let items = board.iter().flat_map(|(_, _, items)| items.iter_ids());
    items.chain(board.ungrouped()).find(|(_, card)| card.text == text).expect("the card").0
}

/// The columns with their cards, and the ungrouped cards, as text.
fn board_of(view: &Everything) -> String {
    let row = |title: &str, cards: Vec<&str>| format!("{title}[{}]", cards.join(" "));
    let columns = view.board.iter().map(|(_, column, cards)| {
        row(&column.title, cards.iter().map(|card| card.text.as_str()).collect())
    });
    let ungrouped: Vec<&str> = view.board.ungrouped().map(|(_, card)| card.text.as_str()).collect();
    let rest = (!ungrouped.is_empty()).then(|| row("", ungrouped));
    columns.chain(rest).collect::<Vec<_>>().join(" ")
}

fn move_item(text: &'static str, title: &'static str) -> impl Fn(&State<'_>) -> Done {
    move |s| s.board().move_to(item(s, text), column(s, title), 0)
}

fn remove_column(title: &'static str) -> impl Fn(&State<'_>) -> Done {
    move |s| s.board().remove_group(column(s, title)).map(drop)
}

case!(
    an_item_moved_to_two_groups_is_in_one_of_them,
    a_board,
    move_item("a", "doing"),
    move_item("a", "done"),
    |view| {
        let found = board_of(&view);
        assert!(
            found == "todo[b] doing[a c] done[]" || found == "todo[b] doing[c] done[a]",
            "{found}"
        );
    }
);

case!(
    an_item_moved_within_its_group_and_to_another_is_there_once,
    a_board,
    |s: &State<'_>| s.board().move_to(item(s, "a"), column(s, "todo"), 1),
    move_item("a", "done"),
    |view| {
        let found = board_of(&view);
        assert!(
            found == "todo[b a] doing[c] done[]" || found == "todo[b] doing[c] done[a]",
            "{found}"
        );
    }
);

case!(
    two_items_moved_to_one_place_are_both_there,
    a_board,
    move_item("a", "done"),
    move_item("c", "done"),
    |view| {
        let found = board_of(&view);
        assert!(
            found == "todo[b] doing[] done[a c]" || found == "todo[b] doing[] done[c a]",
            "{found}"
        );
    }
);

case!(
    two_items_made_at_one_place_are_both_there,
    a_board,
    push_card("x"),
    push_card("y"),
    |view| {
        let found = board_of(&view);
        assert!(
            found == "todo[a b] doing[c] done[x y]" || found == "todo[a b] doing[c] done[y x]",
            "{found}"
        );
    }
);

fn push_card(text: &'static str) -> impl Fn(&State<'_>) -> Done {
    move |s| s.board().push(column(s, "done"), card(text)).map(drop)
}

case!(
    an_item_edited_and_moved,
    a_board,
    |s: &State<'_>| s.board().get(item(s, "a")).done().set(true),
    move_item("a", "done"),
    |view| {
        assert_eq!(board_of(&view), "todo[b] doing[c] done[a]");
        let (_, moved) = view
            .board
            .iter()
            .flat_map(|(_, _, cards)| cards.iter_ids())
            .find(|(_, card)| card.text == "a")
            .expect("the card");
        assert!(moved.done);
    }
);

case!(
    an_item_moved_and_removed,
    a_board,
    |s: &State<'_>| s.board().remove(item(s, "a")).map(drop),
    move_item("a", "done"),
    |view| {
        assert_eq!(board_of(&view), "todo[b] doing[c] done[]");
    }
);

case!(
    an_item_moved_into_a_group_that_is_removed_is_ungrouped,
    a_board,
    move_item("c", "todo"),
    remove_column("todo"),
    |view| {
        assert_eq!(board_of(&view), "doing[] done[] [c]");
    }
);

case!(
    an_item_made_in_a_group_that_is_removed_is_ungrouped,
    a_board,
    push_card("new"),
    remove_column("done"),
    |view| {
        assert_eq!(board_of(&view), "todo[a b] doing[c] [new]");
    }
);

case!(
    an_item_moved_out_of_a_group_that_is_removed_with_it,
    a_board,
    move_item("a", "done"),
    remove_column("todo"),
    |view| {
        assert_eq!(board_of(&view), "doing[c] done[]");
    }
);

case!(
    an_item_edited_whose_group_is_removed,
    a_board,
    |s: &State<'_>| s.board().get(item(s, "a")).body().push_str("more"),
    remove_column("todo"),
    |view| assert_eq!(board_of(&view), "doing[c] done[]")
);

fn move_column(title: &'static str, index: usize) -> impl Fn(&State<'_>) -> Done {
    move |s| s.board().move_group(column(s, title), index)
}

case!(
    a_group_moved_twice_is_in_one_of_both_places_with_its_items,
    a_board,
    move_column("todo", 1),
    move_column("todo", 2),
    |view| {
        let found = board_of(&view);
        assert!(
            found == "doing[c] todo[a b] done[]" || found == "doing[c] done[] todo[a b]",
            "{found}"
        );
    }
);

case!(a_group_moved_and_removed, a_board, move_column("todo", 2), remove_column("todo"), |view| {
    assert_eq!(board_of(&view), "doing[c] done[]");
});

case!(
    a_group_moved_while_an_item_is_moved_into_it,
    a_board,
    move_column("todo", 2),
    move_item("c", "todo"),
    |view| {
        assert_eq!(board_of(&view), "doing[] done[] todo[c a b]");
    }
);

case!(
    a_group_edited_and_removed,
    a_board,
    |s: &State<'_>| s.board().group(column(s, "todo")).title().set("later"),
    remove_column("todo"),
    |view| assert_eq!(board_of(&view), "doing[c] done[]")
);

case!(a_group_removed_twice, a_board, remove_column("todo"), remove_column("todo"), |view| {
    assert_eq!(board_of(&view), "doing[c] done[]");
});

case!(
    another_record_in_place_of_an_old_one_merges_with_an_edit,
    |s: &State<'_>| s.people().insert("ada", person("Ada")),
    |s: &State<'_>| s.people().insert("ada", person("Another")),
    |s: &State<'_>| s.people().get("ada").age().set(36u32),
    |view| assert_eq!(
        view.people.get("ada").map(|ada| (ada.name.as_str(), ada.age)),
        Some(("Another", 36))
    )
);

#[test]
fn an_edit_of_a_record_that_was_made_anew_is_a_field_of_the_new_one() {
    fn run<B: Backend>() {
        let common = |store: &Replica<B>| {
            store
                .change(|state| state.people().insert("ada", person("Ada")))
                .expect("it can be written")
        };
        let anew = |store: &Replica<B>| {
            assert!(store.change(|state| state.people().remove("ada")).expect("it can be removed"));
            store
                .change(|state| state.people().insert("ada", person("Another")))
                .expect("it can be written");
        };
        let edited = |store: &Replica<B>| {
            store
                .change(|state| state.people().get("ada").age().set(36u32))
                .expect("it can be written")
        };
        for merged in [meet::<B>(common, anew, edited), meet::<B>(common, edited, anew)] {
            assert_eq!(
                merged.view().people.get("ada").map(|ada| (ada.name.as_str(), ada.age)),
                Some(("Another", 36))
            );
        }
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn an_element_that_its_remover_had_added_anew_may_be_out_on_yrs() {
    fn run<B: Backend>() {
        let add = |store: &Replica<B>| {
            store.change(|state| state.tags().insert("x").map(drop)).expect("it can be written")
        };
        let removed = |store: &Replica<B>| {
            add(store);
            assert!(store.change(|state| state.tags().remove("x")).expect("it can be removed"));
        };
        for merged in [meet::<B>(add, add, removed), meet::<B>(add, removed, add)] {
            assert!(merged.view().tags.contains("x") || B::NAME == "yrs");
        }
    }
    run::<Yrs>();
    run::<Automerge>();
}

case!(
    what_one_change_removes_and_makes_anew_as_it_was_does_not_compete,
    |s: &State<'_>| {
        s.people().insert("ada", person("Ada"))?;
        s.scores().insert(1, 10)
    },
    |s: &State<'_>| {
        s.people().remove("ada")?;
        s.scores().remove(1)?;
        s.people().insert("ada", person("Ada"))?;
        s.scores().insert(1, 10)
    },
    |s: &State<'_>| {
        s.people().remove("ada")?;
        s.scores().remove(1).map(drop)
    },
    |view| assert!(view.people.is_empty() && view.scores.is_empty())
);
