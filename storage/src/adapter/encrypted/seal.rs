//! Keys, and what they seal: contents and names. docs/storage.md describes the bytes.

use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use data_encoding::BASE32_NOPAD;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The length of a key.
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
/// Kind, format, key id, nonce, and a CRC32C of these.
const HEADER_BYTES: usize = 2 + ID_BYTES + NONCE_BYTES + CHECKSUM_BYTES;

/// The first byte of everything that is sealed. No envelope begins with it.
const SEALED: u8 = 0xe2;
const FORMAT: u8 = 1;

/// The longest name that can be hidden: with key id, nonce and tag, in base32, it has 255 bytes.
pub(super) const HIDDEN_NAME_BYTES_MAX: usize =
    super::NAME_BYTES_MAX * 5 / 8 - ID_BYTES - NONCE_BYTES - TAG_BYTES;

/// A key of 32 bytes for an [`EncryptedAdapter`](crate::EncryptedAdapter). It has to be random: a
/// password is no key, but a key can be derived from one (with Argon2, for example). The bytes are
/// overwritten in memory when the key is dropped.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The keys of an [`EncryptedAdapter`](crate::EncryptedAdapter), and what they hide.
#[derive(Clone, Debug)]
pub struct Keys {
    current: Key,
    old: Vec<Key>,
    pub(super) hides_names: bool,
}

impl Keys {
    /// One key for everything.
    #[must_use]
    pub fn new(current: Key) -> Self {
        Self { current, old: Vec::new(), hides_names: false }
    }

    /// Reads with this key too, but writes with the current one.
    #[must_use]
    pub fn with_old(mut self, old: Key) -> Self {
        self.old.push(old);
        self
    }

    /// Encrypts the names of documents too. A name has at most 111 bytes then. A place has hidden
    /// names from its beginning, or never.
    #[must_use]
    pub fn with_hidden_names(self) -> Self {
        Self { hides_names: true, ..self }
    }
}

/// A short name of a key, which says nothing about the key.
pub(super) type KeyId = [u8; ID_BYTES];

/// The purpose of sealed bytes. Bytes of one purpose do not open for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Record = 1,
    Snapshot = 2,
    Check = 3,
}

/// Why sealed bytes do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error("it does not open: it was changed, or belongs to another place")]
    Damaged,
    #[error("it is sealed with a key that is not among the keys here")]
    UnknownKey,
    #[error("it is sealed in the format {0}, which only a newer version opens")]
    Newer(u8),
}

/// Why bytes cannot be sealed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum SealError {
    #[error("the system has no random bytes: {0}")]
    Random(getrandom::Error),
    #[error("it is too long to be encrypted")]
    TooLong,
}

/// What is derived from one key.
struct Derived {
    id: KeyId,
    content: XChaCha20Poly1305,
    names: XChaCha20Poly1305,
    /// The key of the hash that gives each name its nonce.
    nonces: Zeroizing<[u8; KEY_BYTES]>,
}

impl Derived {
    fn new(key: &Key) -> Self {
        let root = Hkdf::<Sha256>::new(Some(b"exostate storage 1"), &key.0[..]);
        let subkey = |context: &[u8]| {
            let mut subkey = Zeroizing::new([0; KEY_BYTES]);
            root.expand(context, &mut subkey[..]).expect("HKDF gives up to 8,160 bytes");
            subkey
        };
        let mut id = KeyId::default();
        root.expand(b"key id", &mut id).expect("HKDF gives up to 8,160 bytes");
        let cipher = |context| XChaCha20Poly1305::new((&*subkey(context)).into());
        Self {
            id,
            content: cipher(b"content"),
            names: cipher(b"names"),
            nonces: subkey(b"nonces of names"),
        }
    }

    /// The nonce of a name: the same name has the same one, so that it is found again.
    fn nonce(&self, name: &str) -> [u8; NONCE_BYTES] {
        let hash = Hkdf::<Sha256>::from_prk(&self.nonces[..]).expect("32 bytes are enough");
        let mut nonce = [0; NONCE_BYTES];
        hash.expand(name.as_bytes(), &mut nonce).expect("HKDF gives up to 8,160 bytes");
        nonce
    }
}

/// Seals with the current key, and opens with all.
pub(super) struct Sealer {
    /// The current key first.
    keys: Vec<Derived>,
}

impl Sealer {
    pub(super) fn new(keys: &Keys) -> Self {
        let keys = std::iter::once(&keys.current).chain(&keys.old);
        Self { keys: keys.map(Derived::new).collect() }
    }

    /// The id of the current key.
    pub(super) fn current(&self) -> KeyId {
        self.keys[0].id
    }

    fn key(&self, id: &[u8]) -> Result<&Derived, OpenError> {
        self.keys.iter().find(|key| key.id == id).ok_or(OpenError::UnknownKey)
    }

    pub(super) fn knows(&self, id: &KeyId) -> bool {
        self.key(id).is_ok()
    }

    /// Encrypts bytes, for one purpose, document and number.
    pub(super) fn seal(
        &self,
        purpose: Purpose,
        document: &str,
        number: u64,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = &self.keys[0];
        let nonce = random_nonce()?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + bytes.len() + TAG_BYTES);
        sealed.extend([SEALED, FORMAT]);
        sealed.extend(key.id);
        sealed.extend(nonce);
        sealed.extend(crc32c::crc32c(&sealed).to_le_bytes());
        let aad = associated(&sealed, purpose, document, number);
        let payload = Payload { msg: bytes, aad: &aad };
        let body = key.content.encrypt(&XNonce::from(nonce), payload);
        sealed.extend(body.map_err(|_| SealError::TooLong)?);
        Ok(sealed)
    }

    /// Decrypts bytes, and says which key opened them.
    pub(super) fn open(
        &self,
        purpose: Purpose,
        document: &str,
        number: u64,
        sealed: &[u8],
    ) -> Result<(Vec<u8>, KeyId), OpenError> {
        let (header, body) =
            sealed.split_first_chunk::<HEADER_BYTES>().ok_or(OpenError::Damaged)?;
        let (head, checksum) = header.split_at(HEADER_BYTES - CHECKSUM_BYTES);
        // Without the checksum, a damaged key id would look like another key.
        if head[0] != SEALED || crc32c::crc32c(head).to_le_bytes() != checksum {
            return Err(OpenError::Damaged);
        }
        if head[1] != FORMAT {
            return Err(OpenError::Newer(head[1]));
        }
        let (id, nonce) = head[2..].split_at(ID_BYTES);
        let key = self.key(id)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| OpenError::Damaged)?;
        let aad = associated(header, purpose, document, number);
        let opened = key.content.decrypt(&nonce, Payload { msg: body, aad: &aad });
        Ok((opened.map_err(|_| OpenError::Damaged)?, key.id))
    }

    /// The name under which the current key hides a document.
    pub(super) fn hide(&self, name: &str) -> Result<String, SealError> {
        hide(&self.keys[0], name)
    }

    /// The plain name of a hidden one, and the key that hides it.
    pub(super) fn reveal(&self, hidden: &str) -> Result<(String, KeyId), OpenError> {
        let sealed = BASE32_NOPAD.decode(hidden.to_ascii_uppercase().as_bytes());
        let sealed = sealed.map_err(|_| OpenError::Damaged)?;
        let (id, rest) = sealed.split_first_chunk::<ID_BYTES>().ok_or(OpenError::Damaged)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Damaged)?;
        let key = self.key(id)?;
        let opened = key.names.decrypt(&XNonce::from(*nonce), Payload { msg: body, aad: id });
        let opened = opened.map_err(|_| OpenError::Damaged)?;
        let name = String::from_utf8(opened).map_err(|_| OpenError::Damaged)?;
        // Each name has exactly one hidden form.
        let is_same = hide(key, &name).is_ok_and(|same| same == hidden);
        if is_same { Ok((name, key.id)) } else { Err(OpenError::Damaged) }
    }
}

fn hide(key: &Derived, name: &str) -> Result<String, SealError> {
    let nonce = key.nonce(name);
    let payload = Payload { msg: name.as_bytes(), aad: &key.id };
    let body = key.names.encrypt(&XNonce::from(nonce), payload);
    let body = body.map_err(|_| SealError::TooLong)?;
    let sealed = [&key.id[..], &nonce, &body].concat();
    // Lower case without signs, so that the files adapter keeps it as it is.
    Ok(BASE32_NOPAD.encode(&sealed).to_ascii_lowercase())
}

/// What sealed bytes are tied to. Only the name has no fixed length, and it is last.
fn associated(header: &[u8], purpose: Purpose, document: &str, number: u64) -> Vec<u8> {
    [header, &[purpose as u8], &number.to_le_bytes(), document.as_bytes()].concat()
}

#[allow(clippy::disallowed_methods, reason = "a nonce that repeats would give the plain text away")]
fn random_nonce() -> Result<[u8; NONCE_BYTES], SealError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(SealError::Random)?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn sealer(key: u8) -> Sealer {
        Sealer::new(&Keys::new(Key::new([key; 32])))
    }

    #[test]
    fn sealed_bytes_open_only_where_they_belong() {
        let sealer = sealer(1);
        let sealed = sealer.seal(Purpose::Record, "plan", 3, b"bread").expect("it seals");
        let open = |purpose, document, number| {
            sealer.open(purpose, document, number, &sealed).map(|(bytes, _)| bytes)
        };
        assert_eq!(open(Purpose::Record, "plan", 3), Ok(b"bread".to_vec()));
        assert_eq!(open(Purpose::Snapshot, "plan", 3), Err(OpenError::Damaged));
        assert_eq!(open(Purpose::Record, "plan", 4), Err(OpenError::Damaged));
        assert_eq!(open(Purpose::Record, "trip", 3), Err(OpenError::Damaged));
        let other = self::sealer(2).open(Purpose::Record, "plan", 3, &sealed);
        assert_eq!(other, Err(OpenError::UnknownKey));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let sealer = sealer(1);
        let sealed = sealer.seal(Purpose::Record, "plan", 3, b"bread").expect("it seals");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = sealer.open(Purpose::Record, "plan", 3, &flipped);
            assert_eq!(opened, Err(OpenError::Damaged));
        }
        for cut in 0..sealed.len() {
            let opened = sealer.open(Purpose::Record, "plan", 3, &sealed[..cut]);
            assert_eq!(opened, Err(OpenError::Damaged));
        }
    }

    #[test]
    fn nonces_do_not_repeat() {
        let sealer = sealer(1);
        let sealed = || sealer.seal(Purpose::Record, "plan", 1, b"").expect("it seals");
        let nonces: BTreeSet<Vec<u8>> = (0..10_000).map(|_| sealed()[10..34].to_vec()).collect();
        assert_eq!(nonces.len(), 10_000);
    }

    #[test]
    fn a_name_has_one_hidden_form_of_letters_and_digits() {
        let sealer = sealer(1);
        for name in ["a", "Plan", "../é", &"x".repeat(HIDDEN_NAME_BYTES_MAX)] {
            let hidden = sealer.hide(name).expect("it hides");
            assert!(hidden.len() <= 255);
            assert!(hidden.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
            assert_eq!(sealer.hide(name).expect("it hides"), hidden);
            assert_eq!(sealer.reveal(&hidden), Ok((name.to_owned(), sealer.current())));
            assert_eq!(sealer.reveal(&hidden.to_uppercase()), Err(OpenError::Damaged));
            let other = self::sealer(2);
            assert_ne!(other.hide(name).expect("it hides"), hidden);
            assert_eq!(other.reveal(&hidden), Err(OpenError::UnknownKey));
        }
        assert_eq!(HIDDEN_NAME_BYTES_MAX, 111);
        let longer = "x".repeat(HIDDEN_NAME_BYTES_MAX + 1);
        assert!(sealer.hide(&longer).expect("it hides").len() > 255);
    }

    #[test]
    fn a_key_shows_nothing() {
        assert_eq!(format!("{:?}", Key::new([7; 32])), "Key(..)");
    }
}
