//! The byte format of data that is kept beside a document: CBOR (RFC 8949), followed by a checksum
//! (XXH3, 64 bits, little-endian).

use serde::Serialize;
use serde::de::DeserializeOwned;

const CHECKSUM_BYTES: usize = 8;
/// How deeply the decoded CBOR may nest.
const DEPTH_MAX: usize = 32;

/// Encodes a value.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The encoder fails only if its writer fails, and a `Vec` never fails.
    let _ = ciborium::into_writer(value, &mut bytes);
    bytes.extend(checksum(&bytes));
    bytes
}

/// Decodes the bytes that [`seal`] made. The error says what is wrong with the bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (mut rest, sum) =
        bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM_BYTES)).unwrap_or((bytes, &[]));
    if sum != checksum(rest) {
        return Err("they are damaged, or something else".to_owned());
    }
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX)
        .map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(value) } else { Err("something follows them".to_owned()) }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    xxhash_rust::xxh3::xxh3_64(bytes).to_le_bytes()
}
