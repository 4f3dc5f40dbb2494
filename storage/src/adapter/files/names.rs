//! Names of documents as names of folders, on any file system.

use std::fmt::Write;

/// The longest name of a folder, in bytes.
const FOLDER_BYTES_MAX: usize = 200;
/// As many bytes of a long name stay readable.
const PREFIX_BYTES: usize = 160;
/// The mark between the readable part of a long name and its hash. No other name has it.
const HASH_MARK: char = '=';

/// The name of a document's folder. Bytes other than `a`–`z`, `0`–`9`, `-` and `_` are written as
/// `%` and two digits, so that the name is no path, and is the same on a file system that does not
/// tell `A` from `a`. A long name is cut off, and ends with a hash.
pub(super) fn folder_name(document: &str) -> String {
    let mut folder = String::with_capacity(document.len());
    let is_reserved = is_device(document);
    for (index, byte) in document.bytes().enumerate() {
        let is_plain = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if is_plain && !(is_reserved && index == 0) {
            folder.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(folder, "%{byte:02x}");
        }
    }
    if folder.len() > FOLDER_BYTES_MAX {
        folder.truncate(PREFIX_BYTES);
        let _ = write!(folder, "{HASH_MARK}{:032x}", fnv1a(document.as_bytes()));
    }
    folder
}

/// Whether the folder's name ends with a hash, so that the document's name lies in a file.
pub(super) fn is_hashed(folder: &str) -> bool {
    folder.contains(HASH_MARK)
}

/// The document of a folder, if the folder is one of a document whose name is not too long.
pub(super) fn document_name(folder: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (!name.is_empty() && folder_name(&name) == folder).then_some(name)
}

/// Whether Windows takes the name for a device.
fn is_device(name: &str) -> bool {
    let is_numbered = |name: &str| {
        let digit = name.strip_prefix("com").or_else(|| name.strip_prefix("lpt"));
        digit.is_some_and(|digit| digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit())
    };
    matches!(name, "con" | "prn" | "aux" | "nul") || is_numbered(name)
}

/// The hash FNV-1a with 128 bits. Names with the same hash are told apart by the `name` files.
fn fnv1a(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_readable_and_others_are_no_paths() {
        let pairs = [
            ("roadmap-2", "roadmap-2"),
            ("Plan", "%50lan"),
            ("..", "%2e%2e"),
            ("a/b\\c", "a%2fb%5cc"),
            ("con", "%63on"),
            ("com1", "%63om1"),
            ("con2", "con2"),
            ("ü 100%", "%c3%bc%20100%25"),
            ("end.", "end%2e"),
        ];
        for (document, folder) in pairs {
            assert_eq!(folder_name(document), folder);
            assert_eq!(document_name(folder).as_deref(), Some(document));
        }
        for foreign in ["", "Plan", "con", "%4", "%zz", "%61", "a.b", "%ff"] {
            assert_eq!(document_name(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn long_names_get_a_hash() {
        assert_eq!(fnv1a(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(folder_name(&"x".repeat(200)), "x".repeat(200));
        let [a, b] = ["y", "z"].map(|end| folder_name(&format!("{}{end}", "x".repeat(254))));
        assert_eq!(a.len(), PREFIX_BYTES + 33);
        assert_ne!(a, b);
        assert!(is_hashed(&a) && !is_hashed("%3d"));
        assert_eq!(document_name(&a), None);
    }
}
