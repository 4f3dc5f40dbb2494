//! Parses `#[state(…)]` and checks that each key is allowed at its place. [`crate::model`] checks
//! for contradictions between attributes.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Token, WherePredicate, token};

use crate::case::Case;

/// The errors so far, each with its place. They are reported together.
#[derive(Default)]
pub struct Errors(Option<syn::Error>);

impl Errors {
    /// Notes an error.
    pub fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    /// Notes an error at a place.
    pub fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.add(syn::Error::new(span, message));
    }

    /// All errors together, if there are any.
    pub fn finish(self) -> Option<syn::Error> {
        self.0
    }
}

/// The item on which an attribute stands.
#[derive(Clone, Copy, PartialEq)]
pub enum Target {
    /// On a struct.
    Struct,
    /// On an enum.
    Enum,
    /// On a variant.
    Variant,
    /// On a field.
    Field,
}

/// Every key, and the items on which it may stand.
const KNOWN: [(&str, &[Target]); 9] = [
    ("crate", &[Target::Struct, Target::Enum]),
    ("node", &[Target::Struct, Target::Enum]),
    ("name", &[Target::Struct, Target::Enum]),
    ("bound", &[Target::Struct, Target::Enum]),
    ("rename_all", &[Target::Struct, Target::Enum, Target::Variant]),
    ("transparent", &[Target::Struct]),
    ("rename", &[Target::Variant, Target::Field]),
    ("default", &[Target::Variant, Target::Field]),
    ("skip", &[Target::Field]),
];

impl Target {
    fn with_article(self) -> &'static str {
        match self {
            Self::Struct => "a struct",
            Self::Enum => "an enum",
            Self::Variant => "a variant",
            Self::Field => "a field",
        }
    }
}

/// The attributes of one struct, enum, variant or field. Spans are those of the keys.
#[derive(Default)]
pub struct Attributes {
    /// `crate = "path"`
    pub runtime: Option<syn::Path>,
    /// `node = Name`
    pub node: Option<Ident>,
    /// `name = "Board"`
    pub name: Option<LitStr>,
    /// `bound = "T: State"`
    pub bound: Option<Punctuated<WherePredicate, Token![,]>>,
    /// `rename_all = "camelCase"`
    pub rename_all: Option<Case>,
    /// `transparent`
    pub transparent: Option<Span>,
    /// `rename = "name"`
    pub rename: Option<LitStr>,
    /// `default` or `default = expr`
    pub default: Option<(Span, Option<Expr>)>,
    /// `skip`
    pub skip: Option<Span>,
}

impl Attributes {
    /// Parses all `#[state(…)]` attributes, and a variant's `#[default]`.
    pub fn parse(attributes: &[Attribute], target: Target, errors: &mut Errors) -> Self {
        let mut parsed = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("state")) {
            let entries =
                match attribute.parse_args_with(Punctuated::<Entry, Token![,]>::parse_terminated) {
                    Ok(entries) => entries,
                    Err(error) => {
                        errors.add(error);
                        continue;
                    }
                };
            for entry in entries {
                let key = entry.key.to_string();
                let result = if seen.contains(&key) {
                    Err(syn::Error::new(entry.key.span(), format!("`{key}` stands here twice")))
                } else {
                    seen.push(key);
                    parsed.set(entry, target)
                };
                result.unwrap_or_else(|error| errors.add(error));
            }
        }
        let mark = attributes.iter().find(
            |attribute| matches!(&attribute.meta, Meta::Path(path) if path.is_ident("default")),
        );
        if let Some(mark) = mark {
            let span = mark.path().span();
            match target {
                Target::Variant => drop(parsed.default.get_or_insert((span, None))),
                Target::Field => errors
                    .at(span, "`#[default]` marks a variant; on a field write `#[state(default)]`"),
                Target::Struct | Target::Enum => errors.at(span, "`#[default]` marks a variant"),
            }
        }
        parsed
    }

    fn set(&mut self, entry: Entry, target: Target) -> syn::Result<()> {
        let span = entry.key.span();
        let key = entry.key.to_string();
        check_place(&key, target, span)?;
        match key.as_str() {
            "crate" => {
                self.runtime = Some(
                    entry
                        .parsed("a path, as in `crate = \"crate::engine\"`", |text| text.parse())?,
                )
            }
            "node" => self.node = Some(entry.ident()?),
            "name" => self.name = Some(entry.string()?),
            "bound" => {
                let what = "bounds, as in `bound = \"T: State, U: Clone\"`";
                self.bound =
                    Some(entry.parsed(what, |text| text.parse_with(Punctuated::parse_terminated))?);
            }
            "rename_all" => self.rename_all = Some(entry.case()?),
            "rename" => self.rename = Some(entry.string()?),
            "default" if target == Target::Field => self.default = Some((span, entry.value)),
            "default" => {
                // Set even if the entry is invalid. Otherwise a second, wrong error would say that
                // there is no default.
                self.default = Some((span, None));
                entry.flag()?;
            }
            "transparent" => self.transparent = Some(entry.flag()?),
            _ => self.skip = Some(entry.flag()?),
        }
        Ok(())
    }
}

fn check_place(key: &str, target: Target, span: Span) -> syn::Result<()> {
    let message = match KNOWN.iter().find(|(known, _)| *known == key) {
        Some((_, places)) if places.contains(&target) => return Ok(()),
        Some((_, places)) => {
            let places: Vec<_> = places.iter().map(|place| place.with_article()).collect();
            let places = match places.as_slice() {
                [rest @ .., before, last] => {
                    [rest, &[format!("{before} or {last}").as_str()]].concat().join(", ")
                }
                one => one.concat(),
            };
            format!("`{key}` belongs on {places}, not on {}", target.with_article())
        }
        None => {
            let here = KNOWN.iter().filter(|(_, places)| places.contains(&target));
            let here: Vec<_> = here.map(|(known, _)| format!("`{known}`")).collect();
            format!(
                "unknown attribute `{key}`; {} can have {}",
                target.with_article(),
                here.join(", ")
            )
        }
    };
    Err(syn::Error::new(span, message))
}

/// `key` or `key = value`.
struct Entry {
    key: Ident,
    value: Option<Expr>,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(Ident::peek_any) {
            return Err(
                input.error("expected a key, as in `#[state(skip)]` or `#[state(rename = \"…\")]`")
            );
        }
        let key = Ident::parse_any(input)?;
        if input.peek(token::Paren) {
            return Err(input.error(format!("write it as `{key}` or `{key} = …`")));
        }
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(ungrouped(input.parse()?)),
            None => None,
        };
        Ok(Self { key, value })
    }
}

/// Unwraps an expression. An expression that a macro passed on comes in an invisible group.
fn ungrouped(mut value: Expr) -> Expr {
    while let Expr::Group(group) = value {
        value = *group.expr;
    }
    value
}

impl Entry {
    fn flag(&self) -> syn::Result<Span> {
        match self.value {
            None => Ok(self.key.span()),
            Some(_) => {
                Err(syn::Error::new(self.key.span(), format!("`{}` takes no value here", self.key)))
            }
        }
    }

    fn string(&self) -> syn::Result<LitStr> {
        match &self.value {
            Some(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) => Ok(text.clone()),
            _ => {
                Err(syn::Error::new(self.key.span(), format!("write it as `{} = \"…\"`", self.key)))
            }
        }
    }

    /// Parses the content of the string. `what` describes the expected content in an error.
    fn parsed<T>(
        &self,
        what: &str,
        parse: impl FnOnce(&LitStr) -> syn::Result<T>,
    ) -> syn::Result<T> {
        let text = self.string()?;
        parse(&text)
            .map_err(|error| syn::Error::new(text.span(), format!("expected {what} ({error})")))
    }

    fn ident(&self) -> syn::Result<Ident> {
        let ident = match &self.value {
            Some(Expr::Path(path)) => path.path.get_ident().cloned(),
            _ => None,
        };
        ident.ok_or_else(|| {
            syn::Error::new(self.key.span(), format!("write it as `{} = Name`", self.key))
        })
    }

    fn case(&self) -> syn::Result<Case> {
        let name = self.string()?;
        Case::named(&name.value()).ok_or_else(|| {
            syn::Error::new(name.span(), format!("unknown case; known are {}", Case::names()))
        })
    }
}
