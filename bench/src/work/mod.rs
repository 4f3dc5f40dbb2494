//! The inputs. They are made once from a seed, so that every system of a run gets the same.

pub mod cards;
pub mod recording;
