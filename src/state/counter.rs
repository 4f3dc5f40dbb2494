//! A number to which many replicas add at the same time.

use std::any::Any;
use std::fmt;

use crate::document::key;
use crate::document::source::Source;
use crate::document::value::Value;

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
        let clamped = self.sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        i64::try_from(clamped).unwrap_or(0)
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
        let difference = new.sum - self.sum;
        match i64::try_from(difference) {
            Ok(0) => {}
            Ok(difference) => add(writer, difference),
            Err(_) => writer.fail("the difference is beyond the range of i64".to_owned()),
        }
    }
}

/// Adds to this replica's part.
fn add(writer: &mut Writer<'_, '_>, amount: i64) {
    if amount == 0 {
        return;
    }
    let segment = format!("{:x}", writer.core.replica().get());
    let own = match writer.core.register(&key::join(writer.path(), &segment)) {
        Some(Value::Int(part)) => part,
        _ => 0,
    };
    writer.at(&segment, |writer| match own.checked_add(amount) {
        // If one change adds and then subtracts the same amount, it creates no part.
        Some(0) if writer.core.original(writer.path()).is_none() => writer.remove(),
        Some(part) => writer.put(Value::Int(part)),
        None => writer.fail("this replica's part of the counter is full".to_owned()),
    });
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
