//! Typing sessions, read from a file or generated.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;

/// A change at one place in the text. Positions and lengths are in code points and in UTF-16 units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The position, in code points.
    pub at: usize,
    /// The number of deleted code points.
    pub delete: usize,
    /// The inserted text.
    pub insert: String,
    /// The position, in UTF-16 units.
    pub at_utf16: u32,
    /// The number of deleted UTF-16 units.
    pub delete_utf16: u32,
}

/// A typing session with one transaction for each keystroke.
#[derive(Debug)]
pub struct Recording {
    /// Its name in the report.
    pub name: String,
    /// The patches of each transaction. A start text is the first transaction.
    pub keystrokes: Vec<Vec<Patch>>,
    /// The text at the end.
    pub end: String,
}

/// The format of the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    start_content: String,
    end_content: String,
    txns: Vec<Transaction>,
}

/// One transaction in the file.
#[derive(Deserialize)]
struct Transaction {
    patches: Vec<(usize, usize, String)>,
}

impl Recording {
    /// Reads a recording, compressed or not.
    pub fn read(path: &Path) -> Result<Self> {
        let problem = || format!("recording {}", path.display());
        let file = BufReader::new(File::open(path).with_context(problem)?);
        let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
            Box::new(flate2::read::GzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let trace: Trace = serde_json::from_reader(BufReader::new(reader)).with_context(problem)?;
        let name =
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let name = name.trim_end_matches(".gz").trim_end_matches(".json").to_owned();
        let mut keystrokes: Vec<_> =
            trace.txns.into_iter().map(|transaction| transaction.patches).collect();
        if !trace.start_content.is_empty() {
            keystrokes.insert(0, vec![(0, 0, trace.start_content)]);
        }
        Self::from_keystrokes(name, keystrokes, trace.end_content).with_context(problem)
    }

    /// Types words, makes mistakes, goes back and corrects them. The result depends only on the
    /// number of keystrokes.
    pub fn generated(keystrokes: usize) -> Result<Self> {
        let mut random = SmallRng::seed_from_u64(keystrokes as u64);
        let mut text = String::new();
        let mut cursor = 0;
        let mut typed = Vec::with_capacity(keystrokes);
        while typed.len() < keystrokes {
            if random.random_ratio(1, 40) {
                cursor = random.random_range(0..=text.len());
            }
            if cursor > 0 && random.random_ratio(1, 8) {
                cursor -= 1;
                text.remove(cursor);
                typed.push(vec![(cursor, 1, String::new())]);
            } else {
                let letter =
                    if random.random_ratio(1, 6) { ' ' } else { random.random_range('a'..='z') };
                text.insert(cursor, letter);
                typed.push(vec![(cursor, 0, letter.to_string())]);
                cursor += 1;
            }
        }
        Self::from_keystrokes("generated".to_owned(), typed, text)
    }

    /// Computes the UTF-16 positions, and checks that the patches fit.
    fn from_keystrokes(
        name: String,
        typed: Vec<Vec<(usize, usize, String)>>,
        end: String,
    ) -> Result<Self> {
        let astral =
            typed.iter().flatten().any(|(_, _, insert)| insert.chars().any(|c| c.len_utf16() == 2));
        let mut text = Vec::new();
        let mut length = 0;
        let mut keystrokes = Vec::with_capacity(typed.len());
        for patches in typed {
            let mut keystroke = Vec::with_capacity(patches.len());
            for (at, delete, insert) in patches {
                ensure!(
                    at + delete <= length,
                    "a patch at {at} reaches beyond the text's {length} characters"
                );
                length = length - delete + insert.chars().count();
                // Only text with characters above U+FFFF needs the walk. For all other text a code
                // point is one UTF-16 unit.
                let (at_utf16, delete_utf16) = if astral {
                    let units = (units(&text[..at]), units(&text[at..at + delete]));
                    text.splice(at..at + delete, insert.chars());
                    units
                } else {
                    (u32::try_from(at)?, u32::try_from(delete)?)
                };
                keystroke.push(Patch { at, delete, insert, at_utf16, delete_utf16 });
            }
            keystrokes.push(keystroke);
        }
        Ok(Self { name, keystrokes, end })
    }
}

/// The number of UTF-16 units of the characters.
fn units(characters: &[char]) -> u32 {
    characters.iter().map(|character| character.len_utf16() as u32).sum()
}

#[cfg(test)]
mod tests {
    use super::Recording;

    #[test]
    fn an_astral_character_counts_as_two_utf16_units() -> anyhow::Result<()> {
        let typed = vec![
            vec![(0, 0, "a🦀b".to_owned())],
            vec![(2, 1, "é".to_owned())],
            vec![(1, 1, String::new())],
        ];
        let recording = Recording::from_keystrokes("crab".to_owned(), typed, "aé".to_owned())?;
        let utf16: Vec<_> =
            recording.keystrokes.iter().flatten().map(|p| (p.at_utf16, p.delete_utf16)).collect();
        assert_eq!(utf16, [(0, 0), (3, 1), (1, 2)]);
        Ok(())
    }

    #[test]
    fn a_patch_beyond_the_end_is_an_error() {
        let typed = vec![vec![(3, 0, "x".to_owned())]];
        assert!(Recording::from_keystrokes("short".to_owned(), typed, String::new()).is_err());
    }
}
