//! The checked input: everything that the generated code needs, and every error in it.

use std::collections::BTreeMap;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Expr, ExprLit, Fields, GenericArgument, GenericParam, Generics,
    Lit, LitStr, Member, Meta, MetaNameValue, PathArguments, Token, Type, Visibility,
};

use crate::attributes::{Attributes, Errors, Target};
use crate::case::Case;
use crate::node::snake_ident;

/// The maximal number of characters in the name of a state type. An error about the name shows that
/// many characters.
const TYPE_NAME_CHARS_MAX: usize = 64;

/// A struct or an enum that can be a state type.
pub struct Input {
    /// Its name.
    pub ident: Ident,
    /// The name that a document remembers.
    pub name: String,
    /// Its visibility, which its accessors share.
    pub vis: Visibility,
    /// Its generics, without defaults and with the bounds of the implementation.
    pub generics: Generics,
    /// The name of its accessor.
    pub node: Ident,
    /// The text of its doc comments.
    pub docs: String,
    /// A name for the accessor's type parameter. It has no other meaning in the input.
    pub place: Ident,
    /// The path of the module with everything that the generated code calls.
    pub runtime: Runtime,
    /// Its fields or variants.
    pub body: Body,
    /// Whether there are errors in it. If so, the generated code has signatures only.
    pub is_stub: bool,
    /// Whether it has lifetimes. A type with lifetimes cannot be a state type.
    pub has_lifetimes: bool,
}

/// The content of a state type.
pub enum Body {
    /// A struct's fields.
    Struct(Vec<Field>),
    /// A struct that has the form of one of its fields in the document.
    Transparent {
        /// The field.
        inner: Box<Field>,
        /// The other fields, which are skipped.
        skipped: Vec<Field>,
    },
    /// An enum's variants.
    Enum {
        /// All variants; there is at least one.
        variants: Vec<Variant>,
        /// The index of the variant for a place that was never written.
        default: usize,
    },
}

/// A variant of an enum.
pub struct Variant {
    /// Its name in Rust.
    pub ident: Ident,
    /// Its doc comments.
    pub docs: Vec<Attribute>,
    /// The note of `#[deprecated]`.
    pub deprecated: Option<String>,
    /// Its name in the document.
    pub name: String,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Whether it has one unnamed field.
    pub newtype: bool,
}

/// A field of a struct or a variant.
pub struct Field {
    /// How Rust names it: an identifier or an index.
    pub member: Member,
    /// Its visibility, which its accessor shares.
    pub vis: Visibility,
    /// Its type, with `Self` written out.
    pub ty: TokenStream,
    /// Its type as a state type: `<T as State>`, or, for a type that holds others,
    /// `<T as Holds<…>>`, which has the same items. All tokens have the span of the type. So
    /// a type that is no state type causes one error, not ten.
    pub state: TokenStream,
    /// Its doc comments.
    pub docs: Vec<Attribute>,
    /// The note of `#[deprecated]`.
    pub deprecated: Option<String>,
    /// Its name in the document.
    pub name: String,
    /// Whether it is kept out of the document.
    pub skip: bool,
    /// Its value at a place that was never written, if it differs from the type's own initial
    /// value: an expression.
    pub default: Option<TokenStream>,
    /// The place of the field.
    pub renamed: Option<Span>,
    /// The place of its type.
    pub span: Span,
    /// Where its type is.
    pub type_span: Span,
    /// The place of its `default` attribute.
    pub default_span: Option<Span>,
}

impl Variant {
    /// Whether any of its fields is in the document.
    pub fn has_data(&self) -> bool {
        self.fields.iter().any(|field| !field.skip)
    }
}

impl Input {
    /// Checks the input of the derive. If there are errors, the returned input is still usable for
    /// a stub.
    pub fn check(input: &DeriveInput) -> (Self, Option<syn::Error>) {
        let mut errors = Errors::default();
        let target =
            if matches!(input.data, Data::Enum(_)) { Target::Enum } else { Target::Struct };
        let attributes = Attributes::parse(&input.attrs, target, &mut errors);
        let (_, arguments, _) = input.generics.split_for_impl();
        let ident = &input.ident;
        let runtime = Runtime::new(attributes.runtime.as_ref());
        let of = Context {
            runtime: &runtime,
            itself: quote!(#ident #arguments),
            rename_all: attributes.rename_all,
        };
        let body = match &input.data {
            Data::Struct(data) => {
                check_struct(&data.fields, &attributes, ident.span(), &of, &mut errors)
            }
            Data::Enum(data) => check_enum(data, ident.span(), &of, &mut errors),
            Data::Union(data) => {
                errors.at(
                    data.union_token.span,
                    "a union cannot be a state type: nothing says which field holds",
                );
                Body::Struct(Vec::new())
            }
        };
        let generics = check_generics(&input.generics, &attributes, &runtime, &mut errors);
        let name = check_name(attributes.name.as_ref(), ident, &mut errors);
        let node = attributes.node.unwrap_or_else(|| format_ident!("{}Node", ident.unraw()));
        let place = if mentions(input.to_token_stream(), "P") { "__P" } else { "P" };
        let place = Ident::new(place, Span::call_site());
        let ident = ident.clone();
        let vis = input.vis.clone();
        let errors = errors.finish();
        let has_lifetimes = input.generics.lifetimes().next().is_some();
        (
            Self {
                ident,
                name,
                vis,
                generics,
                node,
                docs: text_of_docs(&input.attrs),
                place,
                runtime,
                body,
                is_stub: errors.is_some(),
                has_lifetimes,
            },
            errors,
        )
    }
}

/// The path of the module with everything that the generated code calls.
pub struct Runtime {
    path: TokenStream,
    /// Whether the user wrote the path. Errors in such a path are reported where the path stands.
    is_users: bool,
}

impl Runtime {
    fn new(path: Option<&syn::Path>) -> Self {
        match path {
            Some(path) => {
                Self { path: quote_spanned!(path.span()=> #path::__private), is_users: true }
            }
            None => Self { path: quote!(::exostate::__private), is_users: false },
        }
    }

    /// The path with the span of another place, so that an expression that begins with the path
    /// begins at that place.
    pub fn at(&self, place: Span) -> TokenStream {
        if self.is_users { self.path.clone() } else { respan(&self.path, place) }
    }
}

impl ToTokens for Runtime {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.path.to_tokens(tokens);
    }
}

/// The derive's own tokens with the span of another place. Tokens inside groups keep their spans.
pub fn respan(tokens: &TokenStream, place: Span) -> TokenStream {
    let moved = tokens.clone().into_iter().map(|mut token| {
        token.set_span(place);
        token
    });
    moved.collect()
}

/// The name that a document remembers. It must be one word, because the register holds more after
/// the name.
fn check_name(given: Option<&LitStr>, ident: &Ident, errors: &mut Errors) -> String {
    let Some(given) = given else { return ident.unraw().to_string() };
    let name = given.value();
    let allowed = |letter: char| letter.is_alphanumeric() || "_-.:".contains(letter);
    if !(1..=TYPE_NAME_CHARS_MAX).contains(&name.chars().count()) || !name.chars().all(allowed) {
        let message = format!(
            "the name {name:?} of a state type: 1 to {TYPE_NAME_CHARS_MAX} letters, digits, \
             `_`, `-`, `.` and `:` (set it with `name = \"…\"`)"
        );
        errors.at(given.span(), message);
    }
    name
}

/// The data that all fields of one input share.
struct Context<'a> {
    runtime: &'a Runtime,
    /// The type itself, for `Self` in the types of its fields.
    itself: TokenStream,
    rename_all: Option<Case>,
}

fn check_generics(
    generics: &Generics,
    attributes: &Attributes,
    runtime: &Runtime,
    errors: &mut Errors,
) -> Generics {
    let mut checked = generics.clone();
    for lifetime in generics.lifetimes() {
        let message = "a state type owns its data: no lifetimes \
                       (`String` instead of `&str`, `Arc<T>` instead of `&T`)";
        errors.at(lifetime.lifetime.span(), message);
    }
    for parameter in &mut checked.params {
        match parameter {
            GenericParam::Type(parameter) => (parameter.eq_token, parameter.default) = (None, None),
            GenericParam::Const(parameter) => {
                (parameter.eq_token, parameter.default) = (None, None)
            }
            GenericParam::Lifetime(_) => {}
        }
    }
    let clause = checked.make_where_clause();
    match &attributes.bound {
        Some(bounds) => clause.predicates.extend(bounds.iter().cloned()),
        None => clause.predicates.extend(generics.type_params().map(
            |parameter| -> syn::WherePredicate {
                let ident = &parameter.ident;
                syn::parse_quote!(#ident: #runtime::State)
            },
        )),
    }
    checked
}

fn check_struct(
    fields: &Fields,
    attributes: &Attributes,
    span: Span,
    of: &Context<'_>,
    errors: &mut Errors,
) -> Body {
    let named = matches!(fields, Fields::Named(_));
    let is_newtype = !named && fields.len() == 1;
    let mut fields = check_fields(fields, of.rename_all, of, errors);
    let live: Vec<usize> =
        fields.iter().enumerate().filter(|(_, field)| !field.skip).map(|(at, _)| at).collect();
    match (attributes.transparent, live.as_slice()) {
        (Some(_), [one]) | (None, [one]) if attributes.transparent.is_some() || is_newtype => {
            if let Some(rename) = fields.get(*one).and_then(|field| field.renamed) {
                errors.at(rename, "the field of a transparent struct has no name in the document");
            }
            let inner = Box::new(fields.remove(*one));
            Body::Transparent { inner, skipped: fields }
        }
        (Some(_), _) => {
            let message = format!(
                "`transparent` needs exactly one field that is not skipped; there are {}",
                live.len()
            );
            errors.at(attributes.transparent.unwrap_or(span), message);
            Body::Struct(fields)
        }
        (None, _) => Body::Struct(fields),
    }
}

fn check_enum(data: &syn::DataEnum, span: Span, of: &Context<'_>, errors: &mut Errors) -> Body {
    if data.variants.is_empty() {
        errors.at(span, "an enum without variants has no values to keep");
        return Body::Struct(Vec::new());
    }
    let (mut variants, mut names, mut default) = (Vec::new(), Names::new("variants"), None);
    for (at, variant) in data.variants.iter().enumerate() {
        let attributes = Attributes::parse(&variant.attrs, Target::Variant, errors);
        let plain = variant.ident.unraw().to_string();
        let name = names.check(
            &plain,
            attributes.rename.as_ref(),
            of.rename_all,
            variant.ident.span(),
            errors,
        );
        match (attributes.default, default) {
            (Some((second, _)), Some(_)) => {
                errors.at(second, "only one variant can be the default")
            }
            (Some(_), None) => default = Some(at),
            (None, _) => {}
        }
        let fields = check_fields(&variant.fields, attributes.rename_all, of, errors);
        let newtype = fields.len() == 1 && matches!(variant.fields, Fields::Unnamed(_));
        variants.push(Variant {
            ident: variant.ident.clone(),
            docs: docs(&variant.attrs),
            deprecated: deprecated(&variant.attrs),
            name,
            fields,
            newtype,
        });
    }
    check_accessors(&variants, errors);
    if default.is_none() {
        errors.at(
            span,
            "mark the variant that stands where nothing was written: `#[default]`, \
             or `#[state(default)]` if it has fields",
        );
    }
    Body::Enum { variants, default: default.unwrap_or(0) }
}

/// Checks that the accessors of variants with fields, in snake case, have different names.
fn check_accessors(variants: &[Variant], errors: &mut Errors) {
    let mut taken: BTreeMap<String, &Ident> = BTreeMap::new();
    for variant in variants.iter().filter(|variant| variant.has_data()) {
        let accessor = snake_ident(&variant.ident).to_string();
        if let Some(first) = taken.get(&accessor) {
            let message = format!(
                "the accessor of `{}` would be called `{accessor}`, as that of `{first}`: \
                 rename a variant",
                variant.ident
            );
            errors.at(variant.ident.span(), message);
        } else {
            taken.insert(accessor, &variant.ident);
        }
    }
}

fn check_fields(
    fields: &Fields,
    rename_all: Option<Case>,
    of: &Context<'_>,
    errors: &mut Errors,
) -> Vec<Field> {
    let mut names = Names::new("fields");
    let mut checked = Vec::new();
    for (member, field) in fields.members().zip(fields) {
        let attributes = Attributes::parse(&field.attrs, Target::Field, errors);
        let span = field.ident.as_ref().map_or_else(|| field.ty.span(), Ident::span);
        if attributes.skip.is_some() {
            if let Some(rename) = &attributes.rename {
                errors.at(rename.span(), "a field that is skipped has no name in the document");
            }
            if let Some((place, Some(_))) = &attributes.default {
                errors.at(*place, "a field that is skipped is always made by `Default`");
            }
        }
        let (plain, case) = match &member {
            Member::Named(ident) => (ident.unraw().to_string(), rename_all),
            Member::Unnamed(index) => (index.index.to_string(), None),
        };
        let skip = attributes.skip.is_some();
        if !skip && inside_option(&field.ty).and_then(inside_option).is_some() {
            errors.at(
                field.ty.span(),
                "an `Option` in an `Option`: the document has one form of nothing; \
                 write an enum that names the cases",
            );
        }
        let name = if skip {
            String::new()
        } else {
            names.check(&plain, attributes.rename.as_ref(), case, span, errors)
        };
        let ty = replace_self(field.ty.to_token_stream(), &of.itself);
        let default_span = attributes.default.as_ref().map(|(span, _)| *span);
        let default = attributes.default.map(|(_, value)| default_value(value, &ty));
        let renamed = attributes.rename.map(|rename| rename.span());
        let vis = field.vis.clone();
        let docs = docs(&field.attrs);
        let type_span = field.ty.span();
        let state = state(&field.ty, of);
        checked.push(Field {
            member,
            vis,
            ty,
            state,
            docs,
            deprecated: deprecated(&field.attrs),
            name,
            skip,
            default,
            renamed,
            span,
            type_span,
            default_span,
        });
    }
    checked
}

/// The types that hold others, by their names in exostate.
const HOLDERS: [&str; 6] = ["List", "MovableList", "Map", "Set", "Tree", "Option"];

/// The type that `ty` holds, if `ty` has the name of one of exostate's types that hold others: the
/// last of its type parameters.
fn held(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last =
        path.path.segments.last().filter(|last| HOLDERS.iter().any(|name| last.ident == name))?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().rev().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// A type as a state type.
fn state(ty: &Type, of: &Context<'_>) -> TokenStream {
    let at = ty.span();
    let itself = moved(replace_self(ty.to_token_stream(), &of.itself), at);
    let runtime = of.runtime.at(at);
    match held(ty).map(|held| moved(replace_self(held.to_token_stream(), &of.itself), at)) {
        Some(held) => quote_spanned!(at=> <#itself as #runtime::Holds<#held>>),
        None => quote_spanned!(at=> <#itself as #runtime::State>),
    }
}

/// A user's tokens, all with the span of one place but with their own meaning. The compiler reports
/// an error that it finds several times at one place only once.
fn moved(tokens: TokenStream, to: Span) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        let span = to.resolved_at(token.span());
        if let TokenTree::Group(group) = &token {
            token = proc_macro2::Group::new(group.delimiter(), moved(group.stream(), to)).into();
        }
        token.set_span(span);
        token
    });
    moved.collect()
}

/// The `T` of an `Option<T>`, as the user wrote it.
fn inside_option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
        }
        _ => None,
    }
}

/// The default value of a field. A string literal is converted to the field's type, so that
/// `default = "untitled"` works.
fn default_value(value: Option<Expr>, ty: &TokenStream) -> TokenStream {
    match value {
        None => quote!(<#ty as ::core::default::Default>::default()),
        Some(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) => {
            quote!(<#ty as ::core::convert::From<_>>::from(#text))
        }
        Some(value) => quote!(#value),
    }
}

/// The text of doc comments.
pub fn text_of_docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => text(&pair.value),
        _ => None,
    });
    let lines: Vec<String> =
        lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned()).collect();
    lines.join("\n").trim().to_owned()
}

/// The note of `#[deprecated]`, empty if it has none.
fn deprecated(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("deprecated"))?;
    let note = match &attribute.meta {
        Meta::Path(_) => None,
        Meta::NameValue(pair) => text(&pair.value),
        Meta::List(list) => {
            let pairs = Punctuated::<MetaNameValue, Token![,]>::parse_terminated;
            let pairs = list.parse_args_with(pairs).ok()?;
            pairs.iter().find(|pair| pair.path.is_ident("note")).and_then(|pair| text(&pair.value))
        }
    };
    Some(note.unwrap_or_default())
}

/// The text of a string literal.
fn text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

fn docs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).cloned().collect()
}

/// The names in the document so far, of an enum's variants or of the fields of one struct or
/// variant.
struct Names {
    of: &'static str,
    taken: BTreeMap<String, Span>,
}

impl Names {
    fn new(of: &'static str) -> Self {
        Self { of, taken: BTreeMap::new() }
    }

    /// Checks a name and returns the name in the document.
    fn check(
        &mut self,
        plain: &str,
        rename: Option<&LitStr>,
        case: Option<Case>,
        span: Span,
        errors: &mut Errors,
    ) -> String {
        let name = match (rename, case) {
            (Some(rename), _) => rename.value(),
            (None, Some(case)) => case.apply(plain),
            (None, None) => plain.to_owned(),
        };
        let span = rename.map_or(span, LitStr::span);
        let allowed =
            |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        if name.is_empty() || !name.chars().all(allowed) {
            errors.at(
                span,
                format!(
                    "the name {name:?} in the document: only ASCII letters, digits, `_` and `-` \
                     (set one with `rename = \"…\"`)"
                ),
            );
        } else if self.taken.insert(name.clone(), span).is_some() {
            errors.at(span, format!("two {} have the name {name:?} in the document", self.of));
        }
        name
    }
}

/// Whether an identifier occurs anywhere in the tokens.
fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

/// Replaces `Self` by the type, because accessors are methods of another type.
fn replace_self(tokens: TokenStream, itself: &TokenStream) -> TokenStream {
    let replaced = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(ident) if ident == "Self" => itself.clone(),
        TokenTree::Group(group) => {
            let mut inner =
                proc_macro2::Group::new(group.delimiter(), replace_self(group.stream(), itself));
            inner.set_span(group.span());
            TokenTree::Group(inner).into()
        }
        other => other.into(),
    });
    replaced.collect()
}
