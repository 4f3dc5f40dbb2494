//! A number to which many replicas add at the same time.

use std::any::Any;
use std::fmt;
use std::iter;

use crate::document::key;
use crate::document::source::Source;
use crate::document::value::Value;

use super::schema;
use super::{At, ChangeError, Edit, Node, Place, Reader, Refresh, Shape, State, Writer};

/// A sum to which every replica can add. All concurrent additions count.
///
/// Each replica keeps its own part of the sum in a register of its own, in the same way on every
/// backend (a PN-counter: Shapiro et al., *A comprehensive study of convergent and commutative
/// replicated data types*, 2011).
#[derive(Clone, Default)]
pub struct Counter {
    /// The part of each replica, by the segment of the replica's register.
    parts: imbl::OrdMap<Box<str>, i64>,
    sum: i128,
}

impl Counter {
    /// A counter with this value, to be written to a document.
    #[must_use]
    pub fn new(value: i64) -> Self {
        Self { parts: imbl::OrdMap::new(), sum: i128::from(value) }
    }

    /// The sum. A sum outside the range of `i64` is clamped to that range.
    #[must_use]
    pub fn value(&self) -> i64 {
        saturate(self.sum)
    }

    fn set_part(&mut self, segment: &str, part: Option<i64>) {
        let old = match part {
            Some(part) => self.parts.insert(segment.into(), part),
            None => self.parts.remove(segment),
        };
        self.sum += i128::from(part.unwrap_or(0)) - i128::from(old.unwrap_or(0));
    }
}

/// Whether a segment is a replica's id, under which the replica writes its part. A register under
/// any other segment is no part of the sum.
fn is_replica(segment: &str) -> bool {
    key::hexadecimal(segment).is_some()
}

impl From<i64> for Counter {
    fn from(value: i64) -> Self {
        Self::new(value)
    }
}

impl PartialEq for Counter {
    fn eq(&self, other: &Self) -> bool {
        self.sum == other.sum
    }
}

impl Eq for Counter {}

impl PartialEq<i64> for Counter {
    fn eq(&self, other: &i64) -> bool {
        self.sum == i128::from(*other)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({})", self.value())
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

const EXPECTED: &str = "an integer, one replica's part of a counter";

impl State for Counter {
    type Node<P: Place> = Node<P, Self>;

    fn node<P: Place>(place: P) -> Node<P, Self> {
        Node::new(place)
    }

    fn initial() -> Self {
        Self::default()
    }

    fn shape(shape: &mut Shape) {
        shape.kind("counter");
    }

    fn describe(_: &mut schema::Describe) -> schema::Type {
        schema::Type::Counter
    }

    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let mut counter = Self::default();
        reader.each_child(|segment, reader| match reader.own().filter(|_| is_replica(segment)) {
            Some(Value::Int(part)) => counter.set_part(segment, Some(*part)),
            Some(other) => reader.violation(EXPECTED, other),
            None => {}
        });
        Some(counter)
    }

    fn refresh(&mut self, at: At<'_>, cx: &mut Refresh<'_>) {
        let Some((segment, at)) =
            at.next().filter(|(segment, rest)| rest.is_end() && is_replica(segment))
        else {
            return;
        };
        cx.forget_violations(at.here());
        let part = match cx.register(at.here()) {
            Some(Value::Int(part)) => Some(part),
            Some(other) => {
                cx.violation(at.here(), EXPECTED, &other);
                None
            }
            None => None,
        };
        self.set_part(segment, part);
    }

    fn locate(&self, at: At<'_>) -> Option<&dyn Any> {
        at.is_end().then_some(self as &dyn Any)
    }

    fn write(&self, _unless: Option<&Self>, writer: &mut Writer<'_, '_>) {
        if self.sum != 0 {
            add(writer, self.value());
        }
    }

    fn reconcile(&self, new: &Self, writer: &mut Writer<'_, '_>) {
        if self.sum == new.sum {
            return;
        }
        let own_segment = own_segment(writer);
        let mut missing = i128::from(new.value()) - self.sum;
        // This replica's part takes what it can. The parts of others are changed only for the
        // rest: what their replicas add at the same time competes with that.
        let own = (own_segment.as_str(), own_part(writer, &own_segment));
        let others = self.parts.iter().map(|(segment, part)| (&**segment, *part));
        for (segment, part) in iter::once(own).chain(others.filter(|part| part.0 != own_segment)) {
            let new_part = saturate(i128::from(part) + missing);
            missing -= i128::from(new_part) - i128::from(part);
            put_part(writer, segment, part, new_part);
        }
    }
}

fn saturate(sum: i128) -> i64 {
    sum.clamp(i64::MIN.into(), i64::MAX.into()).try_into().unwrap_or(0)
}

fn own_segment(writer: &Writer<'_, '_>) -> String {
    format!("{:x}", writer.core.replica().get())
}

fn own_part(writer: &Writer<'_, '_>, own_segment: &str) -> i64 {
    match writer.core.register(&key::join(writer.path(), own_segment)) {
        Some(Value::Int(part)) => part,
        _ => 0,
    }
}

fn put_part(writer: &mut Writer<'_, '_>, segment: &str, old: i64, part: i64) {
    if part == old {
        return;
    }
    writer.at(segment, |writer| match part {
        // If one change adds and then subtracts the same amount, it creates no part.
        0 if writer.core.original(writer.path()).is_none() => writer.remove(),
        part => writer.put(Value::Int(part)),
    });
}

/// Adds to this replica's part.
fn add(writer: &mut Writer<'_, '_>, amount: i64) {
    if amount == 0 {
        return;
    }
    let segment = own_segment(writer);
    let own = own_part(writer, &segment);
    match own.checked_add(amount) {
        Some(part) => put_part(writer, &segment, own, part),
        None => writer.at(&segment, |writer| {
            writer.fail("this replica's part of the counter is full".to_owned());
        }),
    }
}

impl Node<Edit<'_>, Counter> {
    /// Adds to the counter. A negative amount subtracts, and 0 does nothing.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone, [`ChangeError::Invalid`] if this replica's
    /// part would overflow.
    pub fn add(&self, amount: i64) -> Result<(), ChangeError> {
        self.place.look(|_: &Counter| ())?;
        self.place.write(|writer| add(writer, amount))
    }

    /// The staged sum.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] if the place is gone.
    pub fn get(&self) -> Result<i64, ChangeError> {
        self.place.look(Counter::value)
    }
}
