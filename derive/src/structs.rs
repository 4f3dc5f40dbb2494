//! `impl State` for structs.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Attribute, Member};

use crate::model::{Field, Input, Runtime, respan, text_of_docs};
use crate::node;

/// The names of the generated functions' parameters. A field's `default = expr` cannot see them.
pub struct Locals {
    /// The position on a path.
    pub at: Ident,
    /// The `Refresh` that brings a view up to date.
    pub cx: Ident,
    /// The place of an accessor.
    pub place: Ident,
    /// The value into which this one is turned.
    pub new: Ident,
    /// A field's value.
    pub value: Ident,
    /// The reader.
    pub reader: Ident,
    /// The value that reads the same without a write.
    pub unless: Ident,
    /// The writer.
    pub writer: Ident,
    /// The shape to which the type is described.
    pub shape: Ident,
    /// The schema to which the type is described.
    pub describe: Ident,
}

impl Locals {
    /// All names.
    pub fn new() -> Self {
        let local = |name| Ident::new(name, Span::mixed_site());
        Self {
            at: local("at"),
            cx: local("cx"),
            place: local("place"),
            new: local("new"),
            value: local("value"),
            reader: local("reader"),
            unless: local("unless"),
            writer: local("writer"),
            shape: local("shape"),
            describe: local("describe"),
        }
    }
}

impl Field {
    /// The field's value at a place that was never written.
    pub fn initial(&self) -> TokenStream {
        let ty = &self.ty;
        match &self.default {
            _ if self.skip => {
                quote_spanned!(self.type_span=> <#ty as ::core::default::Default>::default())
            }
            Some(default) => default.clone(),
            None => {
                let state = &self.state;
                quote_spanned!(self.type_span=> #state::initial())
            }
        }
    }

    /// The field initializer `name: value`, which reads the field.
    pub fn read(&self, runtime: &Runtime, locals: &Locals) -> TokenStream {
        let member = &self.member;
        let name = &self.name;
        let reader = &locals.reader;
        let state = &self.state;
        let initial = self.initial();
        if self.skip {
            return quote!(#member: #initial,);
        }
        let runtime = runtime.at(self.type_span);
        let read = quote_spanned! {self.type_span=>
            #runtime::Reader::field(#reader, #name, #state::SCALAR, #state::read)
        };
        quote!(#member: ::core::option::Option::unwrap_or_else(#read, || #initial),)
    }

    /// Refreshes the field. `value` is the expression of the field.
    pub fn refresh(&self, runtime: &Runtime, locals: &Locals, value: &TokenStream) -> TokenStream {
        let cx = &locals.cx;
        let at = &locals.at;
        let initial = self.initial();
        let state = &self.state;
        let runtime = runtime.at(self.type_span);
        let read = quote_spanned! {self.type_span=>
            #runtime::Refresh::field(#cx, #at, #state::SCALAR, #state::read)
        };
        let refresh = quote_spanned!(self.type_span=> #state::refresh(#value, #at, #cx));
        let follow = quote_spanned!(self.type_span=> #state::follow(#value, #at, #cx));
        quote! {
            if #runtime::At::is_end(#at) {
                if !#follow {
                    *#value = ::core::option::Option::unwrap_or_else(#read, || #initial);
                }
            } else {
                #refresh;
            }
        }
    }

    /// Writes the field. `value` is the expression of the field.
    pub fn write(&self, runtime: &Runtime, locals: &Locals, value: &TokenStream) -> TokenStream {
        let writer = &locals.writer;
        let name = &self.name;
        let initial = self.initial();
        let state = &self.state;
        let write = quote_spanned! {self.type_span=>
            #state::write(#value, ::core::option::Option::Some(&(#initial)), #writer)
        };
        quote!(#runtime::Writer::at(#writer, #name, |#writer| #write);)
    }

    /// Reconciles the field.
    pub fn reconcile(
        &self,
        runtime: &Runtime,
        locals: &Locals,
        old: &TokenStream,
        new: &TokenStream,
    ) -> TokenStream {
        let writer = &locals.writer;
        let name = &self.name;
        let state = &self.state;
        let reconcile = quote_spanned!(self.type_span=> #state::reconcile(#old, #new, #writer));
        quote!(#runtime::Writer::at(#writer, #name, |#writer| #reconcile);)
    }

    /// Describes the field.
    pub fn shape(&self, runtime: &Runtime, locals: &Locals) -> TokenStream {
        let shape = &locals.shape;
        let name = &self.name;
        let state = &self.state;
        let runtime = runtime.at(self.type_span);
        quote_spanned!(self.type_span=> #runtime::Shape::field(#shape, #name, #state::shape);)
    }

    /// Describes the field for a schema.
    pub fn describe(&self, runtime: &Runtime, locals: &Locals) -> TokenStream {
        let describe = &locals.describe;
        let state = &self.state;
        let rust = match &self.member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        let item = item(runtime, &self.name, &rust, &self.docs, self.deprecated.as_deref());
        let runtime = runtime.at(self.type_span);
        match &self.default {
            None => quote_spanned! {self.type_span=>
                #runtime::Describe::field(#describe, #item, #state::describe);
            },
            Some(default) => {
                let ty = &self.ty;
                quote_spanned! {self.type_span=>
                    #runtime::Describe::field_with_default::<#ty>(
                        #describe, #item, &(#default), #state::describe,
                    );
                }
            }
        }
    }

    /// The value at the rest of a path. `value` is the expression of the field.
    pub fn locate(&self, locals: &Locals, value: &TokenStream) -> TokenStream {
        let at = &locals.at;
        let state = &self.state;
        quote_spanned!(self.type_span=> #state::locate(#value, #at))
    }
}

/// What a schema says of a field or variant, except its type.
pub fn item(
    runtime: &Runtime,
    name: &str,
    rust: &str,
    docs: &[Attribute],
    deprecated: Option<&str>,
) -> TokenStream {
    let docs = text_of_docs(docs);
    let deprecated = match deprecated {
        Some(note) => quote!(::core::option::Option::Some(#note)),
        None => quote!(::core::option::Option::None),
    };
    quote!(#runtime::Item { name: #name, rust: #rust, docs: #docs, deprecated: #deprecated })
}

/// The bodies of the functions of `impl State`, and its constants.
pub struct Parts {
    /// Whether slots need a marker.
    pub marked: TokenStream,
    /// Whether the type is one register only.
    pub scalar: TokenStream,
    /// Whether null is one of the type's values.
    pub optional: TokenStream,
    /// The accessor's type.
    pub node_type: TokenStream,
    /// The span of the function that returns the accessor: that of the type whose accessor it is.
    pub node_span: Span,
    /// The accessor.
    pub node: TokenStream,
    /// The value at a place that was never written.
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
    /// Describing the shape.
    pub shape: TokenStream,
    /// Describing for a schema.
    pub describe: TokenStream,
}

impl Parts {
    /// Signatures only, for a type that does not compile anyway.
    fn into_stub(self) -> Self {
        let none = || quote!(::core::unreachable!());
        let no = || quote!(false);
        let marked = quote!(true);
        let scalar = no();
        let optional = no();
        let initial = none();
        let read = none();
        let refresh = none();
        let locate = none();
        let write = none();
        let reconcile = none();
        let shape = none();
        let describe = none();
        Self {
            marked,
            scalar,
            optional,
            initial,
            read,
            refresh,
            locate,
            write,
            reconcile,
            shape,
            describe,
            ..self
        }
    }

    /// The whole implementation.
    pub fn into_impl(self, input: &Input, locals: &Locals) -> TokenStream {
        let Input { ident, name, generics, runtime, place: parameter, .. } = input;
        let (bounds, arguments, clause) = generics.split_for_impl();
        let Self {
            marked,
            scalar,
            optional,
            node_type,
            node_span,
            node,
            initial,
            read,
            refresh,
            locate,
            write,
            reconcile,
            shape: shape_body,
            describe: describe_body,
        } = match input.is_stub {
            true => self.into_stub(),
            false => self,
        };
        let Locals { at, cx, place, new, reader, unless, writer, shape, describe, .. } = locals;
        let node_function = quote_spanned! {node_span=>
            fn node<#parameter: #runtime::Place>(#place: #parameter) -> #node_type {
                #node
            }
        };
        quote! {
            #[automatically_derived]
            #[allow(deprecated, unused_variables, unused_qualifications)]
            #[allow(clippy::all, clippy::pedantic)]
            impl #bounds #runtime::State for #ident #arguments #clause {
                type Node<#parameter: #runtime::Place> = #node_type;
                const MARKED: ::core::primitive::bool = #marked;
                const SCALAR: ::core::primitive::bool = #scalar;
                const OPTIONAL: ::core::primitive::bool = #optional;
                const STATE_NAME: ::core::option::Option<&'static ::core::primitive::str> =
                    ::core::option::Option::Some(#name);

                #node_function

                fn initial() -> Self {
                    #initial
                }

                fn read(#reader: &mut #runtime::Reader<'_, '_>) -> ::core::option::Option<Self> {
                    #read
                }

                fn refresh(&mut self, #at: #runtime::At<'_>, #cx: &mut #runtime::Refresh<'_>) {
                    #refresh
                }

                fn locate(
                    &self,
                    #at: #runtime::At<'_>,
                ) -> ::core::option::Option<&dyn ::core::any::Any> {
                    #locate
                }

                fn write(
                    &self,
                    #unless: ::core::option::Option<&Self>,
                    #writer: &mut #runtime::Writer<'_, '_>,
                ) {
                    #write
                }

                fn reconcile(&self, #new: &Self, #writer: &mut #runtime::Writer<'_, '_>) {
                    #reconcile
                }

                fn shape(#shape: &mut #runtime::Shape) {
                    #shape_body
                }

                fn describe(#describe: &mut #runtime::Describe) -> #runtime::Type {
                    #describe_body
                }
            }

            #[automatically_derived]
            #[allow(deprecated)]
            impl #bounds #runtime::Whole for #ident #arguments #clause {}

            #[automatically_derived]
            #[allow(deprecated)]
            impl #bounds #runtime::Named for #ident #arguments #clause {}
        }
    }
}

/// Refuses `default` on fields whose type never uses it: the registers and sequences below such a
/// field determine its value, even if there are none.
pub fn check_defaults<'a>(
    input: &'a Input,
    fields: impl Iterator<Item = &'a Field> + 'a,
) -> TokenStream {
    // A constant item cannot use type parameters, and a stub has enough errors already.
    if !input.generics.params.is_empty() || input.is_stub {
        return TokenStream::new();
    }
    let checks = fields.filter(|field| !field.skip).filter_map(|field| {
        let span = field.default_span?;
        let state = &field.state;
        let message = "`default` is for scalars, enums and options; leave it out: what structs, \
                       texts, counters and collections start with is said by their own fields \
                       and elements";
        Some(quote_spanned!(span=> const _: () = ::core::assert!(!#state::MARKED, #message);))
    });
    quote!(#(#checks)*)
}

/// A struct whose fields are kept below its path.
pub fn derive(input: &Input, fields: &[Field]) -> TokenStream {
    let runtime = &input.runtime;
    let locals = Locals::new();
    let Locals { at, place, new, .. } = &locals;
    let live = || fields.iter().filter(|field| !field.skip);
    let initial = fields.iter().map(|field| {
        let member = &field.member;
        let initial = field.initial();
        quote!(#member: #initial,)
    });
    let read = fields.iter().map(|field| field.read(runtime, &locals));
    let refresh = live().map(|field| {
        let name = &field.name;
        let member = &field.member;
        let value = &locals.value;
        let refresh = field.refresh(runtime, &locals, &quote!(#value));
        quote! {
            ::core::option::Option::Some((#name, #at)) => {
                let #value = &mut self.#member;
                #refresh
            }
        }
    });
    let locate = live().map(|field| {
        let name = &field.name;
        let member = &field.member;
        let locate = field.locate(&locals, &quote!(&self.#member));
        quote!(::core::option::Option::Some((#name, #at)) => #locate,)
    });
    let write = live().map(|field| {
        let member = &field.member;
        field.write(runtime, &locals, &quote!(&self.#member))
    });
    let reconcile = live().map(|field| {
        let member = &field.member;
        field.reconcile(runtime, &locals, &quote!(&self.#member), &quote!(&#new.#member))
    });
    let shape = &locals.shape;
    let fields_shape = live().map(|field| field.shape(runtime, &locals));
    let describe = &locals.describe;
    let described = live().map(|field| field.describe(runtime, &locals));
    let (name, docs) = (&input.name, &input.docs);
    let node = &input.node;
    let parameter = &input.place;
    let parts = Parts {
        marked: quote!(true),
        scalar: quote!(false),
        optional: quote!(false),
        node_type: node::ty(input, node, &quote!(#parameter)),
        node_span: Span::call_site(),
        node: quote!(#node(#runtime::Node::new(#place))),
        initial: quote!(Self { #(#initial)* }),
        read: quote!(::core::option::Option::Some(Self { #(#read)* })),
        refresh: quote!(match #runtime::At::next(#at) { #(#refresh)* _ => {} }),
        locate: quote! {
            match #runtime::At::next(#at) {
                ::core::option::Option::None if #runtime::At::is_end(#at) => {
                    ::core::option::Option::Some(self)
                }
                #(#locate)*
                _ => ::core::option::Option::None,
            }
        },
        write: quote!(#(#write)*),
        reconcile: quote!(#(#reconcile)*),
        shape: quote!(#runtime::Shape::record::<Self>(#shape, |#shape| { #(#fields_shape)* })),
        describe: quote! {
            #runtime::Describe::record::<Self>(#describe, #name, #docs, |#describe| {
                #(#described)*
            })
        },
    };
    let implementation = parts.into_impl(input, &locals);
    let accessor = node::of_struct(input, fields);
    let defaults = check_defaults(input, fields.iter());
    quote!(#implementation #accessor #defaults)
}

/// A struct that has the form of one field in the document.
pub fn derive_transparent(input: &Input, inner: &Field, skipped: &[Field]) -> TokenStream {
    let runtime = &input.runtime;
    let locals = Locals::new();
    let Locals { at, cx, place, new, reader, unless, writer, shape, describe, .. } = &locals;
    let member = &inner.member;
    let parameter = &input.place;
    let itself = &inner.state;
    let of_itself = |item: TokenStream| {
        let item = respan(&item, inner.type_span);
        quote_spanned!(inner.type_span=> #itself::#item)
    };
    let initial = inner.initial();
    let rest: Vec<_> = skipped.iter().map(|field| field.read(runtime, &locals)).collect();
    let read_inner = of_itself(quote!(read(#reader)));
    let map = quote!(::core::option::Option::map);
    let parts = Parts {
        marked: of_itself(quote!(MARKED)),
        scalar: of_itself(quote!(SCALAR)),
        optional: of_itself(quote!(OPTIONAL)),
        node_type: of_itself(quote!(Node<#parameter>)),
        node_span: inner.type_span,
        node: of_itself(quote!(node(#place))),
        initial: quote!(Self { #member: #initial, #(#rest)* }),
        read: quote! {
            match #read_inner {
                ::core::option::Option::Some(#new) => {
                    ::core::option::Option::Some(Self { #member: #new, #(#rest)* })
                }
                ::core::option::Option::None => ::core::option::Option::None,
            }
        },
        refresh: of_itself(quote!(refresh(&mut self.#member, #at, #cx))),
        locate: of_itself(quote!(locate(&self.#member, #at))),
        write: of_itself(
            quote!(write(&self.#member, #map(#unless, |#unless| &#unless.#member), #writer)),
        ),
        reconcile: of_itself(quote!(reconcile(&self.#member, &#new.#member, #writer))),
        shape: {
            let (inner, at) = (of_itself(quote!(shape)), inner.type_span);
            let runtime = runtime.at(at);
            quote_spanned!(at=> #runtime::Shape::transparent::<Self>(#shape, #inner))
        },
        describe: {
            let (described, at) = (of_itself(quote!(describe)), inner.type_span);
            let (name, docs, runtime) = (&input.name, &input.docs, runtime.at(at));
            let ty = &inner.ty;
            match &inner.default {
                None => quote_spanned! {at=>
                    #runtime::Describe::newtype::<Self>(#describe, #name, #docs, #described)
                },
                Some(default) => quote_spanned! {at=>
                    #runtime::Describe::newtype_with_default::<Self, #ty>(
                        #describe, #name, #docs, &(#default), #described,
                    )
                },
            }
        },
    };
    let implementation = parts.into_impl(input, &locals);
    let defaults = check_defaults(input, std::iter::once(inner));
    quote!(#implementation #defaults)
}
