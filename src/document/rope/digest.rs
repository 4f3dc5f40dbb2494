//! A rolling hash of marked text that does not depend on how the text is cut into leaves.
//!
//! Each char (together with its marks) is one term of a polynomial: `H(ab) = H(a) · B^chars(b) + H(b)`, in two lanes
//! modulo the prime 2^61 - 1 with different bases. Hashes of neighbours combine in O(1), so a node keeps the hash of
//! its subtree and an edit leaves all others valid. It tells texts apart by accident, not against an adversary.

use std::sync::Arc;

use super::marks::{self, Marks};

/// The modulus, 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;

/// The base of each lane: arbitrary, below the modulus.
const BASES: [u64; 2] = [0x0E5A_3F1C_97B4_D26B, 0x1390_6D5E_48A7_C3F1];

/// What spreads a char over 61 bits, in each lane: arbitrary and odd.
const SPREAD: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03];

/// How many terms are added up before one reduction: four products of 122 bits fit 125.
const GROUP: usize = 4;

/// `BASES` to the powers 0 to 4.
const POWERS: [[u64; GROUP + 1]; 2] = [powers(BASES[0]), powers(BASES[1])];

/// The hash of a stretch of text and the factor by which it shifts what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) hash: [u64; 2],
    power: [u64; 2],
}

impl Digest {
    /// The hash of one run. O(bytes), about a nanosecond a char.
    pub(super) fn of(text: &str, chars: usize, marks: Option<&Arc<Marks>>) -> Self {
        let seeds = marks::fingerprint(marks);
        let mut hash = [0; 2];
        if chars == text.len() {
            let groups = text.as_bytes().chunks_exact(GROUP);
            let rest = groups.remainder();
            for group in groups {
                if let [a, b, c, d] = *group {
                    absorb_group(&mut hash, seeds, [a.into(), b.into(), c.into(), d.into()]);
                }
            }
            rest.iter().for_each(|byte| absorb(&mut hash, seeds, u32::from(*byte)));
        } else {
            let mut codes = text.chars().map(u32::from);
            while let Some(a) = codes.next() {
                match (codes.next(), codes.next(), codes.next()) {
                    (Some(b), Some(c), Some(d)) => absorb_group(&mut hash, seeds, [a, b, c, d]),
                    (b, c, d) => [Some(a), b, c, d].into_iter().flatten().for_each(|code| absorb(&mut hash, seeds, code)),
                }
            }
        }
        Self { hash, power: [power(BASES[0], chars), power(BASES[1], chars)] }
    }

    /// The hash of this text followed by `next`. O(1).
    pub(super) fn then(&self, next: &Self) -> Self {
        let lane = |lane: usize| reduce(product(self.hash[lane], next.power[lane]) + u128::from(next.hash[lane]));
        let power = |lane: usize| reduce(product(self.power[lane], next.power[lane]));
        Self { hash: [lane(0), lane(1)], power: [power(0), power(1)] }
    }
}

fn absorb(hash: &mut [u64; 2], seeds: [u64; 2], code: u32) {
    *hash = [absorb_lane::<0>(hash[0], seeds[0], code), absorb_lane::<1>(hash[1], seeds[1], code)];
}

fn absorb_lane<const LANE: usize>(hash: u64, seed: u64, code: u32) -> u64 {
    reduce(product(hash, BASES[LANE]) + u128::from(term::<LANE>(code, seed)))
}

/// Four chars in a row: one link of the chain of dependent multiplications instead of four.
fn absorb_group(hash: &mut [u64; 2], seeds: [u64; 2], codes: [u32; GROUP]) {
    *hash = [group_lane::<0>(hash[0], seeds[0], codes), group_lane::<1>(hash[1], seeds[1], codes)];
}

#[inline(always)]
fn group_lane<const LANE: usize>(hash: u64, seed: u64, [a, b, c, d]: [u32; GROUP]) -> u64 {
    let powers = const { POWERS[LANE] };
    let terms = product(term::<LANE>(a, seed), powers[3])
        + product(term::<LANE>(b, seed), powers[2])
        + product(term::<LANE>(c, seed), powers[1])
        + u128::from(term::<LANE>(d, seed));
    reduce(product(hash, powers[GROUP]) + terms)
}

/// What stands in the polynomial for a char with these marks. One is added so that U+0000 counts.
#[inline(always)]
fn term<const LANE: usize>(code: u32, seed: u64) -> u64 {
    let mixed = ((u64::from(code) + 1) ^ seed).wrapping_mul(SPREAD[LANE]);
    (mixed ^ (mixed >> 32)) & PRIME
}

const fn product(left: u64, right: u64) -> u128 {
    left as u128 * right as u128
}

/// The remainder modulo the prime, for anything below 2^125.
const fn reduce(number: u128) -> u64 {
    let high = (number >> 61) as u64;
    let sum = (number as u64 & PRIME) + (high & PRIME) + (high >> 61);
    let folded = (sum & PRIME) + (sum >> 61);
    if folded >= PRIME { folded - PRIME } else { folded }
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
    let (mut result, mut square) = (1, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = reduce(product(result, square));
        }
        square = reduce(product(square, square));
        exponent >>= 1;
    }
    result
}
