//! A rolling hash of marked text. It does not depend on how the text is cut into leaves.
//!
//! Each char together with its marks is one term of a polynomial: `H(ab) = H(a) · B^chars(b) +
//! H(b)`. There are two lanes with different bases, both modulo the prime 2^61 - 1.
//!
//! The hashes of two neighbours combine in O(1). So each node caches the hash of its subtree, and
//! an edit invalidates only the hashes on its path. The hash is not cryptographic: it does not
//! protect against an attacker.

use std::sync::Arc;

use super::marks::{self, Marks};

/// The modulus, 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;

/// The base of each lane. The values are arbitrary, but below the modulus.
const BASES: [u64; 2] = [0x0E5A_3F1C_97B4_D26B, 0x1390_6D5E_48A7_C3F1];

/// The factor of each lane that spreads a char over 61 bits. The values are arbitrary, but odd.
const SPREAD: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03];

/// The number of terms that are added before one reduction. The sum has one product of 123 bits, of
/// the hash so far, and three products of 122 bits, so it stays below 2^125.
const GROUP: usize = 4;

/// `BASES` to the powers 0 to 4.
const POWERS: [[u64; GROUP + 1]; 2] = [powers(BASES[0]), powers(BASES[1])];

/// The hash of a piece of text, and the factor by which the piece shifts the hash of the text
/// before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) hash: [u64; 2],
    power: [u64; 2],
}

impl Digest {
    /// The hash of one run. O(bytes), two to three nanoseconds per char.
    pub(super) fn of(text: &str, chars: usize, marks: Option<&Arc<Marks>>) -> Self {
        let [first, second] = marks::fingerprint(marks);
        let ascii = chars == text.len();
        let hash = [lane::<0>(text, ascii, first), lane::<1>(text, ascii, second)];
        Self { hash, power: [power(BASES[0], chars), power(BASES[1], chars)] }
    }

    /// The hash of this text followed by `next`. O(1).
    pub(super) fn then(&self, next: &Self) -> Self {
        let lane = |lane: usize| {
            reduce(product(self.hash[lane], next.power[lane]) + u128::from(next.hash[lane]))
        };
        let power = |lane: usize| reduce(product(self.power[lane], next.power[lane]));
        Self { hash: [lane(0), lane(1)], power: [power(0), power(1)] }
    }
}

/// One lane of the hash of a text. The lanes are computed one after the other. Computed together
/// they are slower, because the compiler then moves them between vector and general registers.
fn lane<const LANE: usize>(text: &str, ascii: bool, seed: u64) -> u64 {
    let mut hash = 0;
    if ascii {
        let (groups, rest) = text.as_bytes().as_chunks::<GROUP>();
        for group in groups {
            hash = absorb_group::<LANE>(hash, seed, group.map(u32::from));
        }
        for byte in rest {
            hash = absorb::<LANE>(hash, seed, u32::from(*byte));
        }
        return reduce(hash.into());
    }
    let mut codes = text.chars().map(u32::from);
    while let Some(a) = codes.next() {
        hash = match (codes.next(), codes.next(), codes.next()) {
            (Some(b), Some(c), Some(d)) => absorb_group::<LANE>(hash, seed, [a, b, c, d]),
            (b, c, d) => {
                let rest = [Some(a), b, c, d].into_iter().flatten();
                rest.fold(hash, |hash, code| absorb::<LANE>(hash, seed, code))
            }
        };
    }
    reduce(hash.into())
}

fn absorb<const LANE: usize>(hash: u64, seed: u64, code: u32) -> u64 {
    reduce_loosely(product(hash, BASES[LANE]) + u128::from(term::<LANE>(code, seed)))
}

/// Adds four chars at once, so the chain of dependent multiplications has one step instead of four.
#[inline(always)]
fn absorb_group<const LANE: usize>(hash: u64, seed: u64, [a, b, c, d]: [u32; GROUP]) -> u64 {
    let powers = const { POWERS[LANE] };
    let terms = product(term::<LANE>(a, seed), powers[3])
        + product(term::<LANE>(b, seed), powers[2])
        + product(term::<LANE>(c, seed), powers[1])
        + u128::from(term::<LANE>(d, seed));
    reduce_loosely(product(hash, powers[GROUP]) + terms)
}

/// The term of the polynomial for a char with these marks. One is added to the char so that U+0000
/// counts.
#[inline(always)]
fn term<const LANE: usize>(code: u32, seed: u64) -> u64 {
    let mixed = ((u64::from(code) + 1) ^ seed).wrapping_mul(SPREAD[LANE]);
    (mixed ^ (mixed >> 32)) & PRIME
}

const fn product(left: u64, right: u64) -> u128 {
    left as u128 * right as u128
}

/// The remainder of a number below 2^125 modulo the prime.
const fn reduce(number: u128) -> u64 {
    let loose = reduce_loosely(number);
    let folded = (loose & PRIME) + (loose >> 61);
    if folded >= PRIME { folded - PRIME } else { folded }
}

/// Reduces a number below 2^125 to a number below 2^62 + 8 with the same remainder.
#[inline(always)]
const fn reduce_loosely(number: u128) -> u64 {
    let high = (number >> 61) as u64;
    (number as u64 & PRIME) + (high & PRIME) + (high >> 61)
}

const fn powers(base: u64) -> [u64; GROUP + 1] {
    let mut powers = [1; GROUP + 1];
    let mut index = 1;
    while index <= GROUP {
        powers[index] = reduce(product(powers[index - 1], base));
        index += 1;
    }
    powers
}

fn power(base: u64, mut exponent: usize) -> u64 {
    let mut result = 1;
    let mut square = base;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = reduce(product(result, square));
        }
        square = reduce(product(square, square));
        exponent >>= 1;
    }
    result
}
