//! Typed places: the same accessors name a place for watching and edit the place in a change.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use crate::document::key;

use super::dynamic::{self, TypeRef};
use super::stage::{ChangeError, StageAccess};
use super::{Mend, Scalar, State, Takes, Writer};

/// The place of a typed accessor: a [`Path`], an [`Edit`] or a [`Look`](super::Look).
pub trait Place: Clone {
    /// The place below this one. `segment` is escaped.
    #[must_use]
    fn child(&self, segment: &str) -> Self;

    /// The place of every element of the collection here, if a place of this kind can mean that.
    #[doc(hidden)]
    #[must_use]
    fn every(&self) -> Option<Self> {
        None
    }

    /// The place of the fields of an enum's variant. An edit below this place makes the enum's
    /// register name the variant.
    #[must_use]
    fn variant(&self, name: &str) -> Self {
        self.child(name)
    }
}

/// A place in the state `S`, by name. Made by [`State::path`] and the accessors.
pub struct Path<S> {
    segments: String,
    /// The enum variants along the path: for each, the length of the enum's path and the length of
    /// the variant's path.
    variants: Vec<(usize, usize)>,
    root: PhantomData<fn() -> S>,
}

pub(crate) use crate::document::key::ANY;

impl<S> Path<S> {
    pub(crate) fn root() -> Self {
        Self { segments: String::new(), variants: Vec::new(), root: PhantomData }
    }

    /// The place of `below` in the state `S`: this place followed by the path `below`.
    pub(crate) fn join<T>(&self, below: &Path<T>) -> Self {
        if below.segments.is_empty() {
            return self.clone();
        }
        let segments = key::join(&self.segments, &below.segments);
        let shift = segments.len() - below.segments.len();
        let mut variants = self.variants.clone();
        variants.extend(below.variants.iter().map(|(of, variant)| (of + shift, variant + shift)));
        // An enum at the joint itself: its path ends before the slash.
        for (of, _) in variants.iter_mut().skip(self.variants.len()).filter(|(of, _)| *of == shift)
        {
            *of = self.segments.len();
        }
        Self { segments, variants, root: PhantomData }
    }

    /// The path as text: escaped segments joined by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.segments
    }
}

impl<S> Clone for Path<S> {
    fn clone(&self) -> Self {
        Self { segments: self.segments.clone(), variants: self.variants.clone(), root: PhantomData }
    }
}

impl<S> fmt::Debug for Path<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({:?})", self.segments)
    }
}

impl<S> Place for Path<S> {
    fn child(&self, segment: &str) -> Self {
        Self {
            segments: key::join(&self.segments, segment),
            variants: self.variants.clone(),
            root: PhantomData,
        }
    }

    fn every(&self) -> Option<Self> {
        Some(self.child(ANY))
    }

    fn variant(&self, name: &str) -> Self {
        let mut place = self.child(name);
        place.variants.push((self.segments.len(), place.segments.len()));
        place
    }
}

/// A place in a change that is being staged.
#[derive(Clone)]
pub struct Edit<'a> {
    stage: &'a dyn StageAccess,
    path: Cow<'a, str>,
    /// The enum variants along the path: for each, the length of the enum's path and the length of
    /// the variant's path.
    variants: Vec<(usize, usize)>,
}

impl<'a> Edit<'a> {
    pub(crate) fn root(stage: &'a dyn StageAccess) -> Self {
        Self { stage, path: Cow::Borrowed(""), variants: Vec::new() }
    }

    /// The place that a typed path names.
    pub(crate) fn at<S>(stage: &'a dyn StageAccess, path: &'a Path<S>) -> Self {
        Self { stage, path: Cow::Borrowed(&path.segments), variants: path.variants.clone() }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The type at this place, if only a schema knows it.
    pub(crate) fn ty(&self) -> Option<TypeRef<'_>> {
        self.stage.ty()?.below(&self.path)
    }

    /// Whether the schema knows the state's type.
    pub(crate) fn is_typed(&self) -> bool {
        self.stage.ty().is_some()
    }

    /// Calls `look` with the staged value at this place.
    pub(crate) fn look<T: 'static, R>(&self, look: impl FnOnce(&T) -> R) -> Result<R, ChangeError> {
        let mut look = Some(look);
        let mut found = None;
        self.stage.look(&self.path, &mut |value: &dyn Any| {
            if let (Some(value), Some(look)) = (typed(value), look.take()) {
                found = Some(look(value));
            }
        });
        found.ok_or_else(|| ChangeError::NotFound { path: self.path.to_string() })
    }

    /// Writes at this place and then brings the staged view up to date.
    pub(crate) fn write<R>(
        &self,
        write: impl FnOnce(&mut Writer<'_, '_>) -> R,
    ) -> Result<R, ChangeError> {
        self.write_with(Mend::Leave, write)
    }

    /// Writes at this place; with [`Mend::Reset`] also mends the registers there that do not fit.
    pub(super) fn write_with<R>(
        &self,
        mend: Mend,
        write: impl FnOnce(&mut Writer<'_, '_>) -> R,
    ) -> Result<R, ChangeError> {
        let mut write = Some(write);
        let mut result = None;
        self.stage.write(&self.path, mend, &mut |writer| {
            if let Some(write) = write.take() {
                let before = writer.core.edits();
                result = Some(write(writer));
                if writer.core.edits() > before {
                    self.name_variants(writer);
                }
            }
        })?;
        result.ok_or_else(|| ChangeError::NotFound { path: self.path.to_string() })
    }

    /// Opens a savepoint. If the savepoint is dropped before it is closed, its edits are taken
    /// back.
    pub(crate) fn save(&self) -> Saved<'a> {
        self.stage.save();
        Saved { stage: self.stage, open: true }
    }

    /// The first error of the change: a value that could not be written.
    pub(crate) fn failure(&self) -> Option<ChangeError> {
        self.stage.failure()
    }

    /// Makes the register of each enum along the path name its variant. An enum that was never
    /// written shows its default variant; the first edit inside the enum must write that variant.
    fn name_variants(&self, writer: &mut Writer<'_, '_>) {
        let by_type = self.stage.ty().map(|ty| dynamic::variants(ty, &self.path));
        for &(of, variant) in by_type.as_ref().unwrap_or(&self.variants) {
            let of = self.path.get(..of).unwrap_or("");
            let variant = self.path.get(..variant).unwrap_or("");
            writer.core.name_variant(of, key::below(variant, of));
        }
    }
}

/// An open savepoint.
pub(crate) struct Saved<'a> {
    stage: &'a dyn StageAccess,
    open: bool,
}

impl Saved<'_> {
    pub(crate) fn close(mut self, keep: bool) {
        self.open = false;
        self.stage.close(keep);
    }
}

impl Drop for Saved<'_> {
    fn drop(&mut self) {
        if self.open {
            self.stage.close(false);
        }
    }
}

/// A located value as the type that its path promises. The inside of an option has the path of the
/// option. A dynamic value is the collection in it, too.
pub(crate) fn typed<T: 'static>(value: &dyn Any) -> Option<&T> {
    let found = value.downcast_ref::<T>().or_else(|| value.downcast_ref::<Option<T>>()?.as_ref());
    found.or_else(|| dynamic::part_of(value))
}

impl Place for Edit<'_> {
    fn child(&self, segment: &str) -> Self {
        Self {
            stage: self.stage,
            path: Cow::Owned(key::join(&self.path, segment)),
            variants: self.variants.clone(),
        }
    }

    fn variant(&self, name: &str) -> Self {
        let mut place = self.child(name);
        place.variants.push((self.path.len(), place.path.len()));
        place
    }
}

/// The accessor of a `T` at a place.
///
/// On a [`Path`] the accessor names the place; in a change it reads and edits the place. Structs
/// and enums have accessors of their own, which add a method per field and dereference to this one.
pub struct Node<P, T> {
    pub(crate) place: P,
    of: PhantomData<fn() -> T>,
}

impl<P: Clone, T> Clone for Node<P, T> {
    fn clone(&self) -> Self {
        Self::new(self.place.clone())
    }
}

impl<P, T> fmt::Debug for Node<P, T>
where
    P: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?})", self.place)
    }
}

impl<P, T> Node<P, T> {
    /// The accessor at `place`.
    #[must_use]
    pub fn new(place: P) -> Self {
        Self { place, of: PhantomData }
    }
}

impl<P: Place, T> Node<P, T> {
    /// The place of a field, for the accessors that the derive writes.
    #[must_use]
    pub fn field(&self, segment: &str) -> P {
        self.place.child(segment)
    }

    /// The place of a field of an enum's variant, for the accessors that the derive writes.
    #[must_use]
    pub fn variant_field(&self, variant: &str, segment: &str) -> P {
        self.place.variant(variant).child(segment)
    }
}

impl<T: State> Node<Edit<'_>, T> {
    /// The staged value at this place.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if there is no value at this place: the element was removed, or
    /// the enum has another variant.
    pub fn value(&self) -> Result<T, ChangeError> {
        self.place.look(T::clone)
    }

    /// Turns the value at this place into `new` with the fewest ops. A value that the view already
    /// shows is not written, even if the view shows a default because the document's value does not
    /// fit. To overwrite such a value use `set` or [`Node::reconcile_with`].
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if there is no value at this place, [`ChangeError::Invalid`] if
    /// the value cannot be written.
    pub fn reconcile(&self, new: &T) -> Result<(), ChangeError> {
        self.reconcile_with(new, Mend::Leave)
    }

    /// Turns the value at this place into `new`. With [`Mend::Reset`] it also overwrites the
    /// registers at and below this place that do not fit.
    ///
    /// # Errors
    /// As [`Node::reconcile`].
    pub fn reconcile_with(&self, new: &T, mend: Mend) -> Result<(), ChangeError> {
        let old = self.value()?;
        self.place.write_with(mend, |writer| old.reconcile(new, writer))
    }
}

impl<T: Whole> Node<Edit<'_>, T> {
    /// Sets the value at this place: a scalar, an option, an enum with the fields of its variant,
    /// or a struct with everything in it.
    ///
    /// As with [`Node::reconcile`], the fewest ops are written, and a field of a struct or variant
    /// that is equal is not written. There are two differences:
    /// - A value that was never written is written, even if it is the default.
    /// - A register that does not fit (an unknown variant, a number out of range) is overwritten.
    ///   [`Store::violations`](crate::Store::violations) lists no violation at this place
    ///   afterwards.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if there is no value at this place, [`ChangeError::Invalid`] if
    /// the value cannot be written.
    pub fn set<V>(&self, value: V) -> Result<(), ChangeError>
    where
        T: Takes<V>,
    {
        let old = self.value()?;
        let new = T::take(value);
        self.place.write_with(Mend::Reset, |writer| set_whole(&old, &new, writer))
    }
}

/// Replaces a value as a whole. One that was never written is written, even if it is the default.
pub(super) fn set_whole<T: State>(old: &T, new: &T, writer: &mut Writer<'_, '_>) {
    if writer.own().is_some() || T::marked(writer.ty()) {
        return old.reconcile(new, writer);
    }
    if !T::scalar(writer.ty()) {
        writer.clear_below();
    }
    new.write(None, writer);
}

/// A type that is set as a whole: scalars, options, and every struct and enum with
/// `#[derive(State)]`. The accessor of such a type has [`set`](Node::set). Texts and collections
/// have edits of their own instead.
pub trait Whole: State {}

impl<T: Scalar> Whole for T {}

/// A typed path into the state `S`: what [`watch`](crate::Store::watch) takes.
pub trait AsPath<S> {
    /// The type at the end of the path.
    type Target: State;
    /// The path.
    fn as_path(&self) -> &Path<S>;
}

impl<S, T: State> AsPath<S> for Node<Path<S>, T> {
    type Target = T;

    fn as_path(&self) -> &Path<S> {
        &self.place
    }
}

impl<S, P: AsPath<S>> AsPath<S> for &P {
    type Target = P::Target;

    fn as_path(&self) -> &Path<S> {
        P::as_path(self)
    }
}
