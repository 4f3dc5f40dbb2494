//! The cases of `rename_all`, under serde's names.

/// The way in which the words of a name are joined and capitalised.
#[derive(Clone, Copy)]
pub enum Case {
    /// `lowercase`
    Lower,
    /// `UPPERCASE`
    Upper,
    /// `PascalCase`
    Pascal,
    /// `camelCase`
    Camel,
    /// `snake_case`
    Snake,
    /// `SCREAMING_SNAKE_CASE`
    ScreamingSnake,
    /// `kebab-case`
    Kebab,
    /// `SCREAMING-KEBAB-CASE`
    ScreamingKebab,
}

/// Every case by its name.
const CASES: [(&str, Case); 8] = [
    ("lowercase", Case::Lower),
    ("UPPERCASE", Case::Upper),
    ("PascalCase", Case::Pascal),
    ("camelCase", Case::Camel),
    ("snake_case", Case::Snake),
    ("SCREAMING_SNAKE_CASE", Case::ScreamingSnake),
    ("kebab-case", Case::Kebab),
    ("SCREAMING-KEBAB-CASE", Case::ScreamingKebab),
];

impl Case {
    /// The case with this name.
    pub fn named(name: &str) -> Option<Self> {
        CASES.iter().find(|(known, _)| *known == name).map(|(_, case)| *case)
    }

    /// The names of all cases, for an error message.
    pub fn names() -> String {
        CASES.map(|(name, _)| format!("`{name}`")).join(", ")
    }

    /// Converts a Rust name to this case.
    pub fn apply(self, name: &str) -> String {
        let words = words(name);
        match self {
            Self::Lower => words.concat(),
            Self::Upper => words.concat().to_uppercase(),
            Self::Pascal => words.iter().map(|word| capitalised(word)).collect(),
            Self::Camel => {
                let (first, rest) = words
                    .split_first()
                    .map_or(("", [].as_slice()), |(first, rest)| (first.as_str(), rest));
                rest.iter().fold(first.to_owned(), |name, word| name + &capitalised(word))
            }
            Self::Snake => words.join("_"),
            Self::ScreamingSnake => words.join("_").to_uppercase(),
            Self::Kebab => words.join("-"),
            Self::ScreamingKebab => words.join("-").to_uppercase(),
        }
    }
}

/// The words of a name in snake case or Pascal case, in lower case. `HTTPServer` becomes `http`,
/// `server`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let letters: Vec<char> = name.chars().collect();
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        let after_lower = before.is_some_and(|before| !before.is_uppercase());
        let before_lower =
            before.is_some() && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter == '_' || letter.is_uppercase() && (after_lower || before_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter != '_') {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::{CASES, Case};

    fn all(name: &str) -> Vec<String> {
        CASES.map(|(_, case)| case.apply(name)).to_vec()
    }

    #[test]
    fn fields_and_variants_are_put_into_every_case() {
        let expected =
            ["dueday", "DUEDAY", "DueDay", "dueDay", "due_day", "DUE_DAY", "due-day", "DUE-DAY"];
        assert_eq!(all("due_day"), expected);
        assert_eq!(all("DueDay"), expected);
        assert_eq!(all("_due__day"), expected);
    }

    #[test]
    fn a_run_of_capitals_is_one_word() {
        assert_eq!(Case::Snake.apply("HTTPServer"), "http_server");
        assert_eq!(Case::Snake.apply("V2"), "v2");
        assert_eq!(Case::Snake.apply("OnURL"), "on_url");
    }
}
