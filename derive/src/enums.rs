//! `impl State` for enums: a register with the variant's name, and the variant's fields below
//! `<path>/<variant>`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use crate::model::{Field, Input, Runtime, Variant};
use crate::node;
use crate::structs::{Locals, Parts, check_defaults, item};

/// Derives for an enum. An enum whose variants have no fields is a scalar.
pub fn derive(input: &Input, variants: &[Variant], default: usize) -> TokenStream {
    let runtime = &input.runtime;
    let locals = Locals::new();
    let place = &input.place;
    let has_data = variants.iter().any(Variant::has_data);
    let (node_type, node, accessor) = match has_data {
        true => (
            node::ty(input, &input.node, &quote!(#place)),
            Some(&input.node),
            node::of_enum(input, variants),
        ),
        false => (quote!(#runtime::Node<#place, Self>), None, TokenStream::new()),
    };
    let local = &locals.place;
    let scalar = !has_data;
    let node = match node {
        Some(node) => quote!(#node(#runtime::Node::new(#local))),
        None => quote!(#runtime::Node::new(#local)),
    };
    let initial = variants.get(default).map(|variant| {
        let fields = variant.fields.iter().map(|field| {
            let member = &field.member;
            let initial = field.initial();
            quote!(#member: #initial,)
        });
        let ident = &variant.ident;
        quote!(Self::#ident { #(#fields)* })
    });
    let parts = Parts {
        marked: quote!(false),
        scalar: quote!(#scalar),
        optional: quote!(false),
        node_type,
        node_span: Span::call_site(),
        node,
        initial: quote!(#initial),
        read: read(runtime, &locals, variants),
        refresh: refresh(runtime, &locals, variants),
        locate: locate(runtime, &locals, variants),
        write: write(runtime, &locals, variants),
        reconcile: reconcile(runtime, &locals, variants),
        shape: shape(runtime, &locals, variants),
        describe: describe(input, &locals, variants, default),
    };
    let implementation = parts.into_impl(input, &locals);
    let defaults = check_defaults(input, variants.iter().flat_map(|variant| &variant.fields));
    quote!(#implementation #accessor #defaults)
}

/// Reads the variant that the register names, with the fields below its segment.
fn read(runtime: &Runtime, locals: &Locals, variants: &[Variant]) -> TokenStream {
    let reader = &locals.reader;
    let [tag, name] = ["tag", "name"].map(local);
    let arms = variants.iter().map(|variant| {
        let segment = &variant.name;
        let ident = &variant.ident;
        let fields = variant.fields.iter().map(|field| field.read(runtime, locals));
        let value = quote!(Self::#ident { #(#fields)* });
        let value = match variant.has_data() {
            true => quote!(#runtime::Reader::within(#reader, #segment, |#reader| #value)),
            false => value,
        };
        quote!(#segment => ::core::option::Option::Some(#value),)
    });
    let names: Vec<_> = variants.iter().map(|variant| variant.name.as_str()).collect();
    let expected = format!("one of {}", names.join(", "));
    quote! {
        let #tag = #runtime::Reader::own(#reader)?;
        let #name = match #tag {
            #runtime::Value::Str(#name) => &**#name,
            _ => "",
        };
        match #name {
            #(#arms)*
            _ => {
                #runtime::Reader::violation(#reader, #expected, #tag);
                ::core::option::Option::None
            }
        }
    }
}

/// Refreshes only the fields of the variant that the register names. If the register names no known
/// variant, the view may show another variant.
fn refresh(runtime: &Runtime, locals: &Locals, variants: &[Variant]) -> TokenStream {
    let Locals { at, cx, .. } = locals;
    let [variant_name, below, tag] = ["variant", "below", "tag"].map(local);
    let value = &locals.value;
    let arms = fields_by_path(variants, |field| {
        let refresh = field.refresh(runtime, locals, &quote!(#value));
        (value.clone(), refresh)
    });
    let arms: Vec<_> = arms
        .map(
            |(pattern, variant, name, refresh)| quote!((#pattern, #variant, #name) => { #refresh }),
        )
        .collect();
    if arms.is_empty() {
        return TokenStream::new();
    }
    quote! {
        let ::core::option::Option::Some((#variant_name, #below)) = #runtime::At::next(#at) else {
            return;
        };
        match #runtime::Refresh::register(#cx, #runtime::At::here(#at)) {
            ::core::option::Option::Some(#runtime::Value::Str(#tag))
                if *#tag == *#variant_name => {}
            _ => return,
        }
        let ::core::option::Option::Some((#tag, #at)) = #runtime::At::next(#below) else { return };
        match (self, #variant_name, #tag) {
            #(#arms)*
            _ => {}
        }
    }
}

fn locate(runtime: &Runtime, locals: &Locals, variants: &[Variant]) -> TokenStream {
    let Locals { at, value, .. } = locals;
    let [variant_name, below, name] = ["variant", "below", "name"].map(local);
    let arms =
        fields_by_path(variants, |field| (value.clone(), field.locate(locals, &quote!(#value))));
    let arms: Vec<_> = arms
        .map(|(pattern, variant, name, locate)| quote!((#pattern, #variant, #name) => #locate,))
        .collect();
    if arms.is_empty() {
        return quote! {
            if #runtime::At::is_end(#at) {
                ::core::option::Option::Some(self)
            } else {
                ::core::option::Option::None
            }
        };
    }
    quote! {
        if #runtime::At::is_end(#at) {
            return ::core::option::Option::Some(self);
        }
        let (#variant_name, #below) = #runtime::At::next(#at)?;
        let (#name, #at) = #runtime::At::next(#below)?;
        match (self, #variant_name, #name) {
            #(#arms)*
            _ => ::core::option::Option::None,
        }
    }
}

/// A variant without fields is not written if it reads the same when the register is missing.
fn write(runtime: &Runtime, locals: &Locals, variants: &[Variant]) -> TokenStream {
    let Locals { unless, writer, .. } = locals;
    let arms = variants.iter().map(|variant| {
        let ident = &variant.ident;
        let segment = &variant.name;
        let put = quote!(#runtime::Writer::put(#writer, #runtime::Value::str(#segment)));
        if !variant.has_data() {
            return quote! {
                (Self::#ident { .. }, ::core::option::Option::Some(Self::#ident { .. })) => {}
                (Self::#ident { .. }, _) => #put,
            };
        }
        let (pattern, values) = bind(variant, "value");
        let fields = live(variant)
            .zip(&values)
            .map(|(field, value)| field.write(runtime, locals, &quote!(#value)));
        quote! {
            (#pattern, _) => {
                #put;
                #runtime::Writer::at(#writer, #segment, |#writer| { #(#fields)* });
            }
        }
    });
    quote!(match (self, #unless) { #(#arms)* })
}

/// If the variant stays the same, it is reconciled field by field. If it changes, or if the
/// register names an unknown variant that must be mended, the old fields are removed first.
fn reconcile(runtime: &Runtime, locals: &Locals, variants: &[Variant]) -> TokenStream {
    let Locals { new, writer, .. } = locals;
    let arms = variants.iter().map(|variant| {
        let ident = &variant.ident;
        let segment = &variant.name;
        if !variant.has_data() {
            return quote!((Self::#ident { .. }, Self::#ident { .. }) => return,);
        }
        let (old_pattern, old) = bind(variant, "old");
        let (new_pattern, new) = bind(variant, "new");
        let pairs = live(variant).zip(old.iter().zip(&new));
        let fields = pairs.map(|(field, (old, new))| {
            field.reconcile(runtime, locals, &quote!(#old), &quote!(#new))
        });
        quote! {
            (#old_pattern, #new_pattern) => {
                return #runtime::Writer::variant(#writer, #segment, |#writer| { #(#fields)* });
            }
        }
    });
    quote! {
        match (self, #new) {
            _ if #runtime::Writer::is_misfit(#writer) => {}
            #(#arms)*
            #[allow(unreachable_patterns)]
            _ => {}
        }
        #runtime::Writer::clear_below(#writer);
        #runtime::State::write(#new, ::core::option::Option::None, #writer);
    }
}

/// Describes the variants by name, each with its fields.
fn shape(runtime: &Runtime, locals: &Locals, variants: &[Variant]) -> TokenStream {
    let shape = &locals.shape;
    let variants = variants.iter().map(|variant| {
        let segment = &variant.name;
        let fields = live(variant).map(|field| field.shape(runtime, locals));
        quote!(#runtime::Shape::variant(#shape, #segment, |#shape| { #(#fields)* });)
    });
    quote! {
        #runtime::Shape::record::<Self>(#shape, |#shape| {
            #runtime::Shape::kind(#shape, "enum");
            #(#variants)*
        })
    }
}

/// Describes the variants for a schema.
fn describe(input: &Input, locals: &Locals, variants: &[Variant], default: usize) -> TokenStream {
    let Input { runtime, name, docs, .. } = input;
    let describe = &locals.describe;
    let default = variants.get(default).map_or("", |variant| variant.name.as_str());
    let variants = variants.iter().map(|variant| {
        let fields = live(variant).map(|field| field.describe(runtime, locals));
        let rust = variant.ident.unraw().to_string();
        let note = variant.deprecated.as_deref();
        let item = item(runtime, &variant.name, &rust, &variant.docs, note);
        quote!(#runtime::Describe::variant(#describe, #item, |#describe| { #(#fields)* });)
    });
    quote! {
        #runtime::Describe::variants::<Self>(#describe, #name, #docs, #default, |#describe| {
            #(#variants)*
        })
    }
}

/// For each field: a pattern that binds the field, the names of its variant and of the field, and
/// the result of `make`.
fn fields_by_path<'a>(
    variants: &'a [Variant],
    make: impl Fn(&Field) -> (Ident, TokenStream) + 'a,
) -> impl Iterator<Item = (TokenStream, &'a str, &'a str, TokenStream)> {
    let fields =
        variants.iter().flat_map(|variant| live(variant).map(move |field| (variant, field)));
    fields.map(move |(variant, field)| {
        let ident = &variant.ident;
        let member = &field.member;
        let (value, made) = make(field);
        (
            quote!(Self::#ident { #member: #value, .. }),
            variant.name.as_str(),
            field.name.as_str(),
            made,
        )
    })
}

/// A pattern for a variant that binds its fields, and the names that it binds.
fn bind(variant: &Variant, prefix: &str) -> (TokenStream, Vec<Ident>) {
    let values: Vec<_> = live(variant)
        .enumerate()
        .map(|(at, _)| local(&format_ident!("{prefix}_{at}").to_string()))
        .collect();
    let ident = &variant.ident;
    let members = live(variant).map(|field| &field.member);
    (quote!(Self::#ident { #(#members: #values,)* .. }), values)
}

fn live(variant: &Variant) -> impl Iterator<Item = &Field> {
    variant.fields.iter().filter(|field| !field.skip)
}

/// A name that the user's expressions cannot see.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
