//! `impl State` for structs.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use crate::model::{Field, Input};
use crate::node;

/// The names of the generated functions' parameters. A field's `default = expr` cannot see them.
pub struct Locals {
    /// Where a path has come to.
    pub at: Ident,
    /// What brings a view up to date.
    pub cx: Ident,
    /// What an accessor is made of.
    pub place: Ident,
    /// The value to turn this one into.
    pub new: Ident,
    /// What reads.
    pub reader: Ident,
    /// The value that reads the same.
    pub unless: Ident,
    /// What writes.
    pub writer: Ident,
}

impl Locals {
    /// All of them.
    pub fn new() -> Self {
        let local = |name| Ident::new(name, Span::mixed_site());
        Self {
            at: local("at"),
            cx: local("cx"),
            place: local("place"),
            new: local("new"),
            reader: local("reader"),
            unless: local("unless"),
            writer: local("writer"),
        }
    }
}

impl Field {
    /// The field's value where nothing was written.
    pub fn initial(&self, runtime: &TokenStream) -> TokenStream {
        let ty = &self.ty;
        match &self.default {
            _ if self.skip => quote_spanned!(self.span=> <#ty as ::core::default::Default>::default()),
            Some(default) => default.clone(),
            None => quote_spanned!(self.span=> <#ty as #runtime::State>::initial()),
        }
    }

    /// `name: value` as it is read.
    pub fn read(&self, runtime: &TokenStream, locals: &Locals) -> TokenStream {
        let (member, name, ty, reader) = (&self.member, &self.name, &self.ty, &locals.reader);
        let initial = self.initial(runtime);
        if self.skip {
            return quote!(#member: #initial,);
        }
        let read = quote_spanned!(self.span=> #runtime::Reader::field::<#ty>(#reader, #name));
        quote!(#member: ::core::option::Option::unwrap_or_else(#read, || #initial),)
    }

    /// Refreshes the field, which stands at `value`.
    pub fn refresh(&self, runtime: &TokenStream, locals: &Locals, value: &TokenStream) -> TokenStream {
        let (cx, at, initial) = (&locals.cx, &locals.at, self.initial(runtime));
        let field = quote_spanned!(self.span=> #runtime::Refresh::field);
        quote!(#field(#cx, #value, #at, || #initial))
    }

    /// Writes the field, which stands at `value`.
    pub fn write(&self, runtime: &TokenStream, locals: &Locals, value: &TokenStream) -> TokenStream {
        let (writer, name, initial) = (&locals.writer, &self.name, self.initial(runtime));
        let field = quote_spanned!(self.span=> #runtime::Writer::field);
        quote!(#field(#writer, #name, #value, &#initial);)
    }

    /// Reconciles the field.
    pub fn reconcile(&self, runtime: &TokenStream, locals: &Locals, old: &TokenStream, new: &TokenStream) -> TokenStream {
        let (writer, name) = (&locals.writer, &self.name);
        let reconcile = quote_spanned!(self.span=> #runtime::Writer::reconcile_field);
        quote!(#reconcile(#writer, #name, #old, #new);)
    }
}

/// The bodies of the functions of `impl State`, and its constants.
pub struct Parts {
    /// Whether slots need a marker.
    pub marked: TokenStream,
    /// Whether there is one register only.
    pub scalar: TokenStream,
    /// The accessor's type.
    pub node_type: TokenStream,
    /// The accessor.
    pub node: TokenStream,
    /// The value where nothing was written.
    pub initial: TokenStream,
    /// Reading.
    pub read: TokenStream,
    /// Refreshing.
    pub refresh: TokenStream,
    /// Locating.
    pub locate: TokenStream,
    /// Writing.
    pub write: TokenStream,
    /// Reconciling.
    pub reconcile: TokenStream,
}

impl Parts {
    /// The whole implementation.
    pub fn into_impl(self, input: &Input, locals: &Locals) -> TokenStream {
        let Input { ident, generics, runtime, place: parameter, .. } = input;
        let (bounds, arguments, clause) = generics.split_for_impl();
        let Self { marked, scalar, node_type, node, initial, read, refresh, locate, write, reconcile } = self;
        let Locals { at, cx, place, new, reader, unless, writer } = locals;
        quote! {
            #[automatically_derived]
            #[allow(deprecated, unused_variables, clippy::all)]
            impl #bounds #runtime::State for #ident #arguments #clause {
                type Node<#parameter: #runtime::Place> = #node_type;
                const MARKED: ::core::primitive::bool = #marked;
                const SCALAR: ::core::primitive::bool = #scalar;

                fn node<#parameter: #runtime::Place>(#place: #parameter) -> Self::Node<#parameter> {
                    #node
                }

                fn initial() -> Self {
                    #initial
                }

                fn read(#reader: &mut #runtime::Reader<'_, '_>) -> ::core::option::Option<Self> {
                    #read
                }

                fn refresh(&mut self, #at: #runtime::At<'_>, #cx: &mut #runtime::Refresh<'_>) {
                    #refresh
                }

                fn locate(&self, #at: #runtime::At<'_>) -> ::core::option::Option<&dyn ::core::any::Any> {
                    #locate
                }

                fn write(&self, #unless: ::core::option::Option<&Self>, #writer: &mut #runtime::Writer<'_, '_>) {
                    #write
                }

                fn reconcile(&self, #new: &Self, #writer: &mut #runtime::Writer<'_, '_>) {
                    #reconcile
                }
            }
        }
    }
}

/// A struct whose fields stand below it.
pub fn derive(input: &Input, fields: &[Field]) -> TokenStream {
    let (runtime, locals) = (&input.runtime, Locals::new());
    let Locals { at, place, new, .. } = &locals;
    let live = || fields.iter().filter(|field| !field.skip);
    let initial = fields.iter().map(|field| {
        let (member, initial) = (&field.member, field.initial(runtime));
        quote!(#member: #initial,)
    });
    let read = fields.iter().map(|field| field.read(runtime, &locals));
    let refresh = live().map(|field| {
        let (name, member) = (&field.name, &field.member);
        let refresh = field.refresh(runtime, &locals, &quote!(&mut self.#member));
        quote!(::core::option::Option::Some((#name, #at)) => #refresh,)
    });
    let locate = live().map(|field| {
        let (name, member) = (&field.name, &field.member);
        let locate = quote_spanned!(field.span=> #runtime::State::locate);
        quote!(::core::option::Option::Some((#name, #at)) => #locate(&self.#member, #at),)
    });
    let write = live().map(|field| {
        let member = &field.member;
        field.write(runtime, &locals, &quote!(&self.#member))
    });
    let reconcile = live().map(|field| {
        let member = &field.member;
        field.reconcile(runtime, &locals, &quote!(&self.#member), &quote!(&#new.#member))
    });
    let (node, parameter) = (&input.node, &input.place);
    let parts = Parts {
        marked: quote!(true),
        scalar: quote!(false),
        node_type: node::ty(input, node, &quote!(#parameter)),
        node: quote!(#node(#runtime::Node::new(#place))),
        initial: quote!(Self { #(#initial)* }),
        read: quote!(::core::option::Option::Some(Self { #(#read)* })),
        refresh: quote!(match #runtime::At::next(#at) { #(#refresh)* _ => {} }),
        locate: quote! {
            match #runtime::At::next(#at) {
                ::core::option::Option::None => ::core::option::Option::Some(self),
                #(#locate)*
                _ => ::core::option::Option::None,
            }
        },
        write: quote!(#(#write)*),
        reconcile: quote!(#(#reconcile)*),
    };
    let (implementation, accessor) = (parts.into_impl(input, &locals), node::of_struct(input, fields));
    quote!(#implementation #accessor)
}

/// A struct that stands in the document as one field would.
pub fn derive_transparent(input: &Input, inner: &Field, skipped: &[Field]) -> TokenStream {
    let (runtime, locals) = (&input.runtime, Locals::new());
    let Locals { at, cx, place, new, reader, unless, writer } = &locals;
    let (member, ty, parameter) = (&inner.member, &inner.ty, &input.place);
    let itself = quote_spanned!(inner.span=> <#ty as #runtime::State>);
    let initial = inner.initial(runtime);
    let rest: Vec<_> = skipped.iter().map(|field| field.read(runtime, &locals)).collect();
    let parts = Parts {
        marked: quote!(#itself::MARKED),
        scalar: quote!(#itself::SCALAR),
        node_type: quote!(#itself::Node<#parameter>),
        node: quote!(#itself::node(#place)),
        initial: quote!(Self { #member: #initial, #(#rest)* }),
        read: quote! {
            match #itself::read(#reader) {
                ::core::option::Option::Some(#new) => ::core::option::Option::Some(Self { #member: #new, #(#rest)* }),
                ::core::option::Option::None => ::core::option::Option::None,
            }
        },
        refresh: quote!(#itself::refresh(&mut self.#member, #at, #cx)),
        locate: quote!(#itself::locate(&self.#member, #at)),
        write: quote!(#itself::write(&self.#member, ::core::option::Option::map(#unless, |#unless| &#unless.#member), #writer)),
        reconcile: quote!(#itself::reconcile(&self.#member, &#new.#member, #writer)),
    };
    parts.into_impl(input, &locals)
}
