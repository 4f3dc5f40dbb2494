//! The mapping: which place of a source goes where. Its text has one rule a line.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::document::key;

/// The escapes of a segment, beside `~3` for an empty one: the digit after the `~`, and the
/// character. Those of a path come first.
const ESCAPES: [(char, char); 7] =
    [('0', '~'), ('1', '/'), ('2', '@'), ('4', '*'), ('5', ' '), ('6', '>'), ('7', '#')];
const EMPTY: &str = "~3";
/// The target for a state that is not a struct, for example a `MovableList`.
const WHOLE_STATE: &str = ".";

/// Says where each place of a [`Source`](super::Source) goes. It is parsed from text with one rule
/// a line:
///
/// ```text
/// # a comment
/// meta/title    -> title                      a register (`register title` says the same)
/// meta/body     -> text notes                 a `Text`, with its marks
/// meta/seats    -> list seats                 a `List`
/// meta/visits   -> counter visits             a `Counter`, which starts with this number
/// meta/theme    -> value theme                a `Register<T>`: everything below, as one value
/// meta/author   -> record author              an `Option` of a struct, if it is there
/// tags/*        -> set tags                   a `Set`
/// people/*      -> map people                 a `Map`
/// people/*/name -> people/*/name              a field of each entry
/// todos/*       -> movable-list cards         a `MovableList`
/// todos/*/tags/*-> set cards/*/tags           a collection within each element
/// cache         -> nothing                    left out, and not reported
/// ```
///
/// (The third column is not part of the text.)
///
/// - A path is keys and indices, joined by `/`. `*` stands for each element of a list or each key
///   of a map. In the target it stands for the same element. So each `*` of a target needs a rule
///   of the kind `map` or `movable-list` that makes the element.
/// - The target is a path of the state: the names of fields. The content of a variant of an enum is
///   below the variant's name, see `docs/layout.md`.
/// - The target `.` is the whole state, if that is a collection: `todos/* -> movable-list .`, with
///   fields at `todos/*/done -> */done`.
/// - A field of an element can be the value of the slot: `todos/*/name -> names/*`.
/// - A scalar element becomes the value of the slot (`MovableList<String>`), an element that is a
///   map becomes a record. A list that becomes a `map` has its indices as keys; a map that becomes
///   a `movable-list` is in the order of its keys.
/// - A place may have several rules. What no rule takes is in the report.
/// - In a key, `~0` is `~`, `~1` is `/`, `~2` is `@`, `~3` is the empty key, `~4` is `*`, `~5` is a
///   space, `~6` is `>` and `~7` is `#`.
///
/// ```
/// use exostate::import::Mapping;
///
/// let error = "title -> title\ntodos/*/text -> cards/*/text".parse::<Mapping>().unwrap_err();
/// assert_eq!(error.to_string(), "line 2, column 17: no rule `todos/* -> map cards` \
///     or `todos/* -> movable-list cards` makes the elements of `cards`");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    pub(super) rules: Vec<Rule>,
}

/// A line of a mapping is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct MappingError {
    line: usize,
    column: usize,
    reason: String,
}

impl MappingError {
    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

/// What a rule makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Register,
    Text,
    List,
    Counter,
    Value,
    Record,
    Set,
    Map,
    MovableList,
    Nothing,
}

const KINDS: [(&str, Kind); 10] = [
    ("register", Kind::Register),
    ("text", Kind::Text),
    ("list", Kind::List),
    ("counter", Kind::Counter),
    ("value", Kind::Value),
    ("record", Kind::Record),
    ("set", Kind::Set),
    ("map", Kind::Map),
    ("movable-list", Kind::MovableList),
    ("nothing", Kind::Nothing),
];

impl Kind {
    /// Whether the last `*` of the source stands for an element that the rule makes.
    pub(super) fn makes_elements(self) -> bool {
        matches!(self, Self::Set | Self::Map | Self::MovableList)
    }
}

/// A segment of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Any,
    Key(String),
}

impl Step {
    pub(super) fn matches(&self, segment: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Key(key) => key == segment,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Key(key) => f.write_str(&escape(key)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) source: Vec<Step>,
    pub(super) kind: Kind,
    pub(super) target: Vec<Step>,
    /// The rule that makes the element of the last `*` of the target, the length of its source, and
    /// the length of the target up to the `*`.
    pub(super) within: Option<(usize, usize, usize)>,
}

/// The path of a place of the source, as a mapping has it.
pub(super) fn path_of(path: &[String]) -> String {
    path.iter().map(|segment| escape(segment)).collect::<Vec<_>>().join("/")
}

fn escape(segment: &str) -> Cow<'_, str> {
    if segment.is_empty() {
        return Cow::Borrowed(EMPTY);
    }
    // A place is shown as it is readable: only what would be read as something else is escaped.
    let edge = |at: usize| at == 0 || at + 1 == segment.len();
    let needs = |(at, found): (usize, char)| match found {
        '~' | '/' | '>' => true,
        '*' => segment == "*",
        ' ' => edge(at),
        '#' => at == 0,
        _ => false,
    };
    if !segment.char_indices().any(needs) {
        return Cow::Borrowed(segment);
    }
    let mut escaped = String::with_capacity(segment.len() + 4);
    for (at, found) in segment.char_indices() {
        match ESCAPES.iter().find(|(_, escaped)| *escaped == found && needs((at, found))) {
            Some((digit, _)) => escaped.extend(['~', *digit]),
            None => escaped.push(found),
        }
    }
    Cow::Owned(escaped)
}

/// The keys and indices of a path that [`path_of`] made.
pub(super) fn segments(path: &str) -> impl Iterator<Item = Option<String>> {
    path.split('/').map(unescape)
}

fn unescape(segment: &str) -> Option<String> {
    if segment == EMPTY {
        return Some(String::new());
    }
    let mut text = String::with_capacity(segment.len());
    let mut characters = segment.chars();
    while let Some(character) = characters.next() {
        if character != '~' {
            text.push(character);
            continue;
        }
        let digit = characters.next()?;
        text.push(ESCAPES.iter().find(|(found, _)| *found == digit)?.1);
    }
    (!text.is_empty()).then_some(text)
}

/// A part of a line, with its column.
#[derive(Clone, Copy)]
struct Part<'l> {
    line: usize,
    column: usize,
    text: &'l str,
}

impl<'l> Part<'l> {
    fn error(self, reason: impl Into<String>) -> MappingError {
        MappingError { line: self.line, column: self.column, reason: reason.into() }
    }

    /// The part from a byte on.
    fn from(self, at: usize) -> Self {
        let (before, text) = self.text.split_at_checked(at).unwrap_or((self.text, ""));
        Self { column: self.column + before.chars().count(), text, ..self }
    }

    fn trim(self) -> Self {
        let part = self.from(self.text.len() - self.text.trim_start().len());
        Self { text: part.text.trim_end(), ..part }
    }

    /// Splits at the first `separator`, which is in neither part.
    fn split(self, separator: &str) -> Option<(Self, Self)> {
        let at = self.text.find(separator)?;
        let before = Self { text: self.text.get(..at)?, ..self };
        Some((before, self.from(at + separator.len())))
    }

    fn steps(self) -> Result<Vec<Step>, MappingError> {
        let mut steps = Vec::new();
        let mut rest = Some(self);
        while let Some(part) = rest {
            let (segment, later) = match part.split("/") {
                Some((segment, later)) => (segment, Some(later)),
                None => (part, None),
            };
            rest = later;
            steps.push(match segment.text {
                "*" => Step::Any,
                "" => return Err(segment.error("an empty segment (an empty key is `~3`)")),
                text => {
                    Step::Key(unescape(text).ok_or_else(|| {
                        segment.error("an unknown escape (a `~` in a key is `~0`)")
                    })?)
                }
            });
        }
        Ok(steps)
    }
}

impl FromStr for Mapping {
    type Err = MappingError;

    /// # Errors
    /// A line is not a rule, with line and column.
    fn from_str(text: &str) -> Result<Self, MappingError> {
        let mut rules: Vec<(Part<'_>, Rule)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = Part { line: index + 1, column: 1, text: line }.trim();
            if !line.text.is_empty() && !line.text.starts_with('#') {
                rules.push(parse(line)?);
            }
        }
        let makers: Vec<Rule> = rules.iter().map(|(_, rule)| rule.clone()).collect();
        for (target, rule) in &mut rules {
            rule.within = within(rule, &makers, *target)?;
        }
        Ok(Self { rules: rules.into_iter().map(|(_, rule)| rule).collect() })
    }
}

/// Parses a rule. Returns the part with the target, for errors.
fn parse(line: Part<'_>) -> Result<(Part<'_>, Rule), MappingError> {
    let (source, right) =
        line.split("->").ok_or_else(|| line.error("a rule has the form `source -> target`"))?;
    let source = source.trim();
    let right = right.trim();
    if source.text.is_empty() {
        return Err(source.error("a rule without a source"));
    }
    let (kind, target) = kind_and_target(right)?;
    let is_whole = kind == Kind::Nothing || target.text == WHOLE_STATE;
    let rule = Rule {
        line: line.line,
        source: source.steps()?,
        kind,
        target: if is_whole { Vec::new() } else { target.steps()? },
        within: None,
    };
    let stars = |steps: &[Step]| steps.iter().filter(|step| **step == Step::Any).count();
    let (found, wanted) = (stars(&rule.source), stars(&rule.target));
    if kind.makes_elements() && (rule.source.last() != Some(&Step::Any) || found != wanted + 1) {
        return Err(source.error(
            "the source of a collection ends with `*`, and the target has all others of its `*`",
        ));
    }
    if !kind.makes_elements() && kind != Kind::Nothing && found != wanted {
        return Err(target.error(format!("{wanted} `*` in the target, and {found} in the source")));
    }
    Ok((target, rule))
}

fn kind_and_target(right: Part<'_>) -> Result<(Kind, Part<'_>), MappingError> {
    let word = right.text.find(char::is_whitespace);
    let named = |name: &str| KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    match word {
        None if right.text.is_empty() => Err(right.error("a rule without a target")),
        None if right.text == "nothing" => Ok((Kind::Nothing, right)),
        None => Ok((Kind::Register, right)),
        Some(end) => {
            let name = right.text.get(..end).unwrap_or_default();
            let kinds = || KINDS.map(|(name, _)| name).join(", ");
            let kind = named(name).ok_or_else(|| {
                right.error(format!(
                    "`{name}` is no kind of target: {} (a space in a key is `~5`)",
                    kinds()
                ))
            })?;
            let target = right.from(end).trim();
            if kind == Kind::Nothing {
                return Err(target.error("`nothing` has no target"));
            }
            match target.text.find(char::is_whitespace) {
                None => Ok((kind, target)),
                Some(at) => {
                    Err(target.from(at).error("text behind the target (a space in a key is `~5`)"))
                }
            }
        }
    }
}

/// The rule that makes the element of the last `*` of a target: see [`Rule::within`]. Checks all
/// `*` of the target.
fn within(
    rule: &Rule,
    rules: &[Rule],
    at: Part<'_>,
) -> Result<Option<(usize, usize, usize)>, MappingError> {
    let mut found = None;
    let stars = |steps: &[Step]| -> Vec<usize> {
        let numbered = steps.iter().enumerate();
        numbered.filter(|(_, step)| **step == Step::Any).map(|(at, _)| at).collect()
    };
    for (source_at, target_at) in stars(&rule.source).into_iter().zip(stars(&rule.target)) {
        let source = rule.source.get(..=source_at).unwrap_or_default();
        let target = rule.target.get(..target_at).unwrap_or_default();
        let makes = |maker: &Rule| {
            matches!(maker.kind, Kind::Map | Kind::MovableList)
                && maker.source == source
                && maker.target == target
        };
        let Some(maker) = rules.iter().position(makes) else {
            let path = |steps: &[Step]| {
                steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("/")
            };
            let (source, target) = (path(source), path(target));
            return Err(at.error(format!(
                "no rule `{source} -> map {target}` or `{source} -> movable-list {target}` makes \
                 the elements of `{target}`"
            )));
        };
        found = Some((maker, source_at + 1, target_at + 1));
    }
    Ok(found)
}

/// The segments of a target that are keys, as the document has them.
pub(super) fn join(path: &str, steps: &[Step]) -> String {
    steps.iter().fold(path.to_owned(), |path, step| match step {
        Step::Key(name) => key::join(&path, &key::escape(name)),
        Step::Any => path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_round_trip() {
        for segment in ["a", "", "~", "a/b", "*", "a*", " x ", "a b", "#1", "a#", "->", "@x", "~3"]
        {
            let path = path_of(&[segment.to_owned(), "x".to_owned()]);
            let rule: Mapping = format!("{path} -> y").parse().expect("a mapping");
            let expected = [Step::Key(segment.to_owned()), Step::Key("x".to_owned())];
            assert_eq!(rule.rules[0].source, expected, "{path}");
        }
    }

    #[test]
    fn errors_have_their_place() {
        for (text, line, column, reason) in [
            ("a", 1, 1, "source -> target"),
            ("\n  a -> ", 2, 7, "without a target"),
            ("  -> a", 1, 3, "without a source"),
            ("a//b -> c", 1, 3, "empty segment"),
            ("a/~9 -> c", 1, 3, "unknown escape"),
            ("ä -> c/~", 1, 8, "unknown escape"),
            ("a -> foo b", 1, 6, "no kind"),
            ("a -> text b c", 1, 12, "behind the target"),
            ("a -> nothing b", 1, 14, "no target"),
            ("a -> map b", 1, 1, "ends with `*`"),
            ("a/* -> map b/*", 1, 1, "ends with `*`"),
            ("a/* -> b", 1, 8, "0 `*` in the target, and 1"),
            ("a/* -> b/*", 1, 8, "makes the elements of `b`"),
            ("a/* -> set b\na/*/c -> b/*/c", 2, 10, "makes the elements of `b`"),
        ] {
            let error = text.parse::<Mapping>().expect_err(text);
            assert_eq!((error.line(), error.column()), (line, column), "{text}: {error}");
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in "[a*/ ~3>#\\-\\ntexmap]{0,40}") {
            let _ = text.parse::<Mapping>();
        }
    }
}
