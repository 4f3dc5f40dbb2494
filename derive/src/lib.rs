//! `#[derive(State)]` for [exostate](https://docs.rs/exostate): how a struct or an enum is kept in a document.
//!
//! Three steps, each in modules of its own: `attributes` parses what stands in `#[state(…)]`,
//! `model` checks the whole input and collects every error with its place, and `structs`, `enums`
//! and `node` write code that calls exostate's runtime. The code names that runtime by full paths
//! below `::exostate::__private` and decides nothing itself.

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
/// A struct `Board` gets `BoardNode`, the accessor of a board at a place: a method per field, with
/// the field's visibility (the fields of a tuple struct are `field_0`, `field_1`, …). It
/// dereferences to exostate's `Node`, so `value`, `set` and `reconcile` are there too; a field (or
/// an enum's variant) of the same name wins, and `(*node).value()` reaches the other.
///
/// An enum `Shape` must say which variant stands where nothing was written: mark it `#[default]`
/// or, if it has fields, `#[state(default)]`. Where a variant has fields, the enum gets
/// `ShapeNode`: a method per such variant, in snake case. It gives `ShapeNodeCircle` with a method
/// per field, or the field's own accessor where the variant is a newtype like `Square(f64)`.
///
/// A tuple struct with one field (a newtype) is transparent: it stands in the document as its field
/// would.
///
/// # Attributes
///
/// | where | attribute | meaning |
/// |---|---|---|
/// | field, variant | `rename = "name"` | its name in the document; letters, digits, `_` and `-` |
/// | field | `default`, `default = expr` | the value where nothing was written: that of `Default`, or an expression; else `State::initial()` |
/// | field | `skip` | not in the document: `Default` when a value is read, kept when it changes, no accessor |
/// | variant | `default` | the variant where nothing was written |
/// | struct, enum, variant | `rename_all = "camelCase"` | the case of all names in it that have no `rename`, as in serde |
/// | struct | `transparent` | stands in the document as its one field (that is not skipped) would |
/// | struct, enum | `node = Name` | the accessor's name, where `BoardNode` is taken |
/// | struct, enum | `name = "Board"` | the name that a document remembers as that of its state type, if not the type's own in Rust (without type parameters) |
/// | struct, enum | `bound = "T: State"` | the bounds of the implementation, instead of `State` for every type parameter |
/// | struct, enum | `crate = "path"` | where exostate is found, if not at `::exostate` |
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
    // A type with errors is a state type all the same, in name: else each use of it would be one
    // more error.
    let code = match &input.body {
        _ if input.has_lifetimes => TokenStream::new(),
        Body::Struct(fields) => structs::derive(&input, fields),
        Body::Transparent { inner, skipped } => structs::derive_transparent(&input, inner, skipped),
        Body::Enum { variants, default } => enums::derive(&input, variants, *default),
    };
    quote!(#errors #code)
}
