//! `#[derive(State)]` for [exostate](https://docs.rs/exostate): how a struct or an enum is kept in
//! a document.
//!
//! There are three steps, each in modules of its own:
//! 1. `attributes` parses `#[state(…)]`.
//! 2. `model` checks the whole input and collects every error with its place.
//! 3. `structs`, `enums` and `node` write code that calls exostate's runtime.
//!
//! The generated code names the runtime by full paths below `::exostate::__private`, and it
//! contains no decisions of its own.

mod attributes;
mod case;
mod enums;
mod model;
mod node;
mod structs;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use model::{Body, Input};

/// Makes a struct or an enum a state type.
///
/// A struct `Board` gets `BoardNode`, the accessor of a board at a place. It has a method per
/// field, with the field's visibility (the fields of a tuple struct are `field_0`, `field_1`, …).
/// It dereferences to exostate's `Node`, so it also has `value`, `set` and `reconcile`. If a field
/// (or an enum's variant) has one of these names, the method of the field wins; `(*node).value()`
/// then calls the method of `Node`.
///
/// An enum `Shape` must name the variant of a place that was never written: mark it with
/// `#[default]` or, if it has fields, with `#[state(default)]`. If any variant has fields, the enum
/// gets `ShapeNode`, with a method per such variant, in snake case. The method returns
/// `ShapeNodeCircle`, which has a method per field. For a newtype variant like `Square(f64)` it
/// returns the accessor of the field.
///
/// A tuple struct with one field (a newtype) is transparent: in the document it has the form of its
/// field.
///
/// # Attributes
///
/// | where | attribute | meaning |
/// |---|---|---|
/// | field, variant | `rename = "name"` | its name in the document; letters, digits, `_` and `-` |
/// | field | `default`, `default = expr` | the value of a field that was never written: that of `Default`, or the expression; without this attribute, `State::initial()` |
/// | field | `skip` | not in the document: `Default` when a value is read, kept when it changes, no accessor |
/// | variant | `default` | the variant of an enum that was never written |
/// | struct, enum, variant | `rename_all = "camelCase"` | the case of all names in it that have no `rename`, as in serde |
/// | struct | `transparent` | has the form of its one field (that is not skipped) in the document |
/// | struct, enum | `node = Name` | the accessor's name, if `BoardNode` is already in use |
/// | struct, enum | `name = "Board"` | the name that a document remembers as that of its state type, if not the type's own in Rust (without type parameters) |
/// | struct, enum | `bound = "T: State"` | the bounds of the implementation, instead of `State` for every type parameter |
/// | struct, enum | `crate = "path"` | the path of exostate, if it is not `::exostate` |
#[proc_macro_derive(State, attributes(state, default))]
pub fn derive_state(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand(input.into()).into()
}

fn expand(input: TokenStream) -> TokenStream {
    let parsed: DeriveInput = match syn::parse2(input) {
        Ok(parsed) => parsed,
        Err(error) => return error.into_compile_error(),
    };
    let (input, error) = Input::check(&parsed);
    let errors = error.map(syn::Error::into_compile_error);
    // A type with errors still gets an implementation as a stub. Otherwise each use of the type
    // would cause one more error.
    let code = match &input.body {
        _ if input.has_lifetimes => TokenStream::new(),
        Body::Struct(fields) => structs::derive(&input, fields),
        Body::Transparent { inner, skipped } => structs::derive_transparent(&input, inner, skipped),
        Body::Enum { variants, default } => enums::derive(&input, variants, *default),
    };
    quote!(#errors #code)
}
