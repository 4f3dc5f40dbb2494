//! The accessors: `BoardNode` for a struct, `ShapeNode` and `ShapeNodeCircle` for an enum with
//! fields.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Attribute, GenericParam, Generics, Member, Visibility};

use crate::case::Case;
use crate::model::{Field, Input, Variant};

/// The accessor of a struct, with a method per field.
pub fn of_struct(input: &Input, fields: &[Field]) -> TokenStream {
    let methods = fields.iter().filter(|field| !field.skip).map(|field| {
        let runtime = &input.runtime;
        let name = &field.name;
        method(input, field, &field.vis, quote!(#runtime::Node::field(&self.0, #name)))
    });
    let docs =
        format!("The accessor of a [`{}`] at a place: a method per field.", input.ident.unraw());
    let declared = declare(input, &input.node, &docs, methods.collect());
    let conversions = conversions(input);
    quote!(#declared #conversions)
}

/// The accessor of an enum, with a method per variant that has fields; and the accessors of these
/// variants.
pub fn of_enum(input: &Input, variants: &[Variant]) -> TokenStream {
    let with_data = || variants.iter().filter(|variant| variant.has_data());
    let mut names = BTreeSet::new();
    // Two variants with the same accessor name are already an error.
    let named = with_data().filter(|variant| names.insert(snake_ident(&variant.ident)));
    let methods = named.map(|variant| variant_method(input, variant));
    let docs = format!(
        "The accessor of a [`{}`] at a place: a method per variant that has fields.",
        input.ident.unraw()
    );
    let declared = declare(input, &input.node, &docs, methods.collect());
    let conversions = conversions(input);
    let inside = with_data().filter(|variant| !variant.newtype).map(|variant| {
        let docs = format!(
            "The accessor of the fields of [`{}::{}`].",
            input.ident.unraw(),
            variant.ident.unraw()
        );
        let fields = variant.fields.iter().filter(|field| !field.skip);
        let methods = fields
            .map(|field| method(input, field, &input.vis, variant_field(input, variant, field)));
        declare(input, &variant_node(input, variant), &docs, methods.collect())
    });
    quote!(#declared #conversions #(#inside)*)
}

/// The type `BoardNode<P>` for a place, with the type's own parameters.
pub fn ty(input: &Input, node: &Ident, place: &TokenStream) -> TokenStream {
    let arguments = input.generics.params.iter().map(|parameter| match parameter {
        GenericParam::Type(parameter) => parameter.ident.to_token_stream(),
        GenericParam::Const(parameter) => parameter.ident.to_token_stream(),
        GenericParam::Lifetime(parameter) => parameter.lifetime.to_token_stream(),
    });
    quote!(#node<#place #(, #arguments)*>)
}

/// The method of a variant: the accessor of its fields, or of the one field of a newtype.
fn variant_method(input: &Input, variant: &Variant) -> TokenStream {
    let method_name = snake_ident(&variant.ident);
    let docs = docs_or(&variant.docs, format!("Inside the variant `{}`.", variant.ident.unraw()));
    let vis = &input.vis;
    let place = &input.place;
    if let ([field], true) = (variant.fields.as_slice(), variant.newtype) {
        return accessor(
            input,
            field,
            (vis, &method_name, docs),
            &variant_field(input, variant, field),
        );
    }
    let node = variant_node(input, variant);
    let returned = ty(input, &node, &place.to_token_stream());
    quote! {
        #docs
        #[must_use]
        #vis fn #method_name(&self) -> #returned {
            #node(::core::clone::Clone::clone(&self.0))
        }
    }
}

/// The place of a variant's field.
fn variant_field(input: &Input, variant: &Variant, field: &Field) -> TokenStream {
    let runtime = &input.runtime;
    let variant = &variant.name;
    let name = &field.name;
    quote!(#runtime::Node::variant_field(&self.0, #variant, #name))
}

/// The method that returns a field's accessor at a place.
fn accessor(
    input: &Input,
    field: &Field,
    (vis, name, docs): (&Visibility, &Ident, TokenStream),
    at: &TokenStream,
) -> TokenStream {
    let state = &field.state;
    let place = &input.place;
    let returned = quote_spanned!(field.type_span=> #state::Node<#place>);
    let made = match input.is_stub {
        true => quote!(::core::unreachable!()),
        false => quote_spanned!(field.type_span=> #state::node(#at)),
    };
    quote! {
        #docs
        #[must_use]
        #vis fn #name(&self) -> #returned {
            #made
        }
    }
}

fn variant_node(input: &Input, variant: &Variant) -> Ident {
    format_ident!("{}{}", input.node, variant.ident.unraw(), span = variant.ident.span())
}

/// The method of a field. `at` is the field's place.
fn method(input: &Input, field: &Field, vis: &Visibility, at: TokenStream) -> TokenStream {
    let (name, docs) = match &field.member {
        Member::Named(ident) => {
            (ident.clone(), docs_or(&field.docs, format!("The field `{}`.", ident.unraw())))
        }
        Member::Unnamed(index) => {
            let ident = format_ident!("field_{}", index.index, span = field.span);
            (ident, docs_or(&field.docs, format!("The field `{}`.", index.index)))
        }
    };
    accessor(input, field, (vis, &name, docs), &at)
}

/// An accessor's type with its methods. It holds the general accessor of the input's type.
fn declare(input: &Input, node: &Ident, docs: &str, methods: Vec<TokenStream>) -> TokenStream {
    let Input { ident, vis, generics, place, runtime, .. } = input;
    let (_, arguments, clause) = generics.split_for_impl();
    let plain = with_place(generics, &quote!(#place));
    let placed = with_place(generics, &quote!(#place: #runtime::Place));
    let clone = with_place(generics, &quote!(#place: ::core::clone::Clone));
    let debug = with_place(generics, &quote!(#place: ::core::fmt::Debug));
    let plain = &plain.params;
    let (placed, ..) = placed.split_for_impl();
    let (clone, ..) = clone.split_for_impl();
    let (debug, ..) = debug.split_for_impl();
    let itself = ty(input, node, &place.to_token_stream());
    let formatter = Ident::new("f", Span::mixed_site());
    quote! {
        #[doc = #docs]
        #[allow(dead_code, deprecated, non_camel_case_types)]
        #vis struct #node<#plain>(#runtime::Node<#place, #ident #arguments>) #clause;

        #[allow(dead_code, deprecated, non_snake_case, unused_qualifications)]
        #[allow(clippy::all, clippy::pedantic)]
        impl #placed #itself #clause {
            #(#methods)*
        }

        #[automatically_derived]
        #[allow(deprecated)]
        impl #clone ::core::clone::Clone for #itself #clause {
            fn clone(&self) -> Self {
                Self(::core::clone::Clone::clone(&self.0))
            }
        }

        #[automatically_derived]
        #[allow(deprecated)]
        impl #debug ::core::fmt::Debug for #itself #clause {
            fn fmt(&self, #formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Debug::fmt(&self.0, #formatter)
            }
        }
    }
}

/// The implementations that let the accessor of a whole value stand in for exostate's own.
fn conversions(input: &Input) -> TokenStream {
    let Input { ident, node, generics, place, runtime, .. } = input;
    let (_, arguments, clause) = generics.split_for_impl();
    let plain = with_place(generics, &quote!(#place));
    let (plain, ..) = plain.split_for_impl();
    let itself = ty(input, node, &place.to_token_stream());
    let on_path = ty(input, node, &quote!(#runtime::Path<#place>));
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #plain ::core::ops::Deref for #itself #clause {
            type Target = #runtime::Node<#place, #ident #arguments>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        #[automatically_derived]
        #[allow(deprecated)]
        impl #plain #runtime::AsPath<#place> for #on_path #clause {
            type Target = #ident #arguments;

            fn as_path(&self) -> &#runtime::Path<#place> {
                #runtime::AsPath::as_path(&self.0)
            }
        }
    }
}

/// The generics with one more parameter in front.
fn with_place(generics: &Generics, place: &TokenStream) -> Generics {
    let mut generics = generics.clone();
    generics.params.insert(0, syn::parse_quote!(#place));
    generics
}

fn docs_or(docs: &[Attribute], otherwise: String) -> TokenStream {
    if docs.is_empty() { quote!(#[doc = #otherwise]) } else { quote!(#(#docs)*) }
}

/// A variant's name as a method name: `r#type` for `Type`, `self_` for a name that cannot be
/// escaped.
pub fn snake_ident(ident: &Ident) -> Ident {
    let name = Case::Snake.apply(&ident.unraw().to_string());
    if name.is_empty() {
        return ident.clone();
    }
    let plain = syn::parse_str::<Ident>(&name).map(|_| Ident::new(&name, ident.span()));
    plain.unwrap_or_else(|_| match name.as_str() {
        "crate" | "self" | "super" => format_ident!("{name}_", span = ident.span()),
        digits if digits.starts_with(|letter: char| letter.is_ascii_digit()) => {
            format_ident!("_{digits}", span = ident.span())
        }
        _ => Ident::new_raw(&name, ident.span()),
    })
}
