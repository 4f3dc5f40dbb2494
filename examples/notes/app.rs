//! The editor: the list of notes, the open note, what the keys do, and the screen.

#![allow(clippy::disallowed_methods, reason = "it times its flushes")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use exostate::{State, Store, Text, UndoOptions};
use exostate_storage::{KeptUndo, OpenError, Persist, Status, StatusWatch, Storage};
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Position};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, List, ListState, Paragraph};

/// The document of a note. Its name in the storage is the name of the note.
#[derive(State, Clone, Debug, Default, PartialEq)]
pub struct Note {
    text: Text,
}

pub struct App {
    storage: Storage,
    names: Vec<String>,
    /// The damaged notes, and what is wrong with them.
    damaged: BTreeMap<String, String>,
    selected: usize,
    open: Option<Open>,
    /// The name of a new note, while the user types it.
    naming: Option<String>,
    pub message: String,
}

/// The note that is open.
pub struct Open {
    pub store: Store<Note>,
    /// `None` if the note is read-only.
    undo: Option<KeptUndo<Note>>,
    /// The place of the cursor, in characters.
    cursor: usize,
    status: Arc<Mutex<String>>,
    _watch: Option<StatusWatch>,
}

impl Open {
    fn new(store: Store<Note>, undo: Option<KeptUndo<Note>>) -> Self {
        let status = Arc::new(Mutex::new(store.storage_status().map_or_else(String::new, short)));
        let shown = Arc::clone(&status);
        // The storage calls this on a thread of its own, so it only puts the status aside.
        let watch = store.on_storage_status(move |status| {
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = short(status.clone());
        });
        let cursor = store.view().text.len();
        Self { store, undo, cursor, status, _watch: watch }
    }
}

fn short(status: Status) -> String {
    match status {
        Status::Kept => "saved".to_owned(),
        Status::Behind { .. } => "saving".to_owned(),
        Status::Failing { error, .. } => format!("NOT SAVED, the disk fails: {error}"),
        other => other.to_string(),
    }
}

impl App {
    pub fn new(storage: Storage) -> Result<Self> {
        let (names, damaged) = (Vec::new(), BTreeMap::new());
        let message = "Ctrl-N makes a note".to_owned();
        let mut app =
            Self { storage, names, damaged, selected: 0, open: None, naming: None, message };
        app.list()?;
        app.select(0);
        Ok(app)
    }

    /// Reads the names of the notes, and checks every note.
    fn list(&mut self) -> Result<()> {
        let report = self.storage.verify()?;
        self.names = report.documents.iter().map(|found| found.name.clone()).collect();
        let damaged =
            report.documents.into_iter().filter_map(|found| Some((found.name, found.damage?)));
        self.damaged = damaged.map(|(name, damage)| (name, damage.to_string())).collect();
        Ok(())
    }

    pub fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// The text of the open note.
    pub fn text(&self) -> String {
        self.open.as_ref().map(|open| open.store.view().text.to_string()).unwrap_or_default()
    }

    /// Opens a note, and closes the note that was open.
    pub fn select(&mut self, selected: usize) {
        let Some(name) = self.names.get(selected).cloned() else { return };
        self.selected = selected;
        // The undo stacks are written when they are dropped.
        self.open = None;
        self.open = self.opened(&name).unwrap_or_else(|error| {
            self.message = error.to_string();
            None
        });
    }

    pub fn select_name(&mut self, name: &str) {
        match self.names.iter().position(|found| found == name) {
            Some(at) => self.select(at),
            None => self.message = format!("{name}: there is no such note"),
        }
    }

    fn opened(&mut self, name: &str) -> Result<Option<Open>> {
        self.message.clear();
        match self.storage.open::<Note>(name) {
            Ok(store) => {
                if let Some(torn) = store.torn_tail() {
                    self.message = format!("the last {} bytes were cut off by a crash", torn.bytes);
                }
                let undo = KeptUndo::open(&store, "main", UndoOptions::default())?;
                Ok(Some(Open::new(store, Some(undo))))
            }
            Err(OpenError::Damaged { damage, .. }) => {
                self.damaged.insert(name.to_owned(), damage.to_string());
                self.message = format!("damaged ({damage}), Ctrl-R repairs");
                Ok(Some(Open::new(self.storage.open_damaged(name)?, None)))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn create(&mut self, name: &str) {
        match self.storage.create::<Note>(name) {
            Ok(_) => {
                let at = self.names.partition_point(|found| found.as_str() < name);
                self.names.insert(at, name.to_owned());
                self.select(at);
            }
            Err(error) => self.message = error.to_string(),
        }
    }

    pub fn type_text(&mut self, text: &str) {
        if let Some(Open { cursor, .. }) = self.open {
            self.splice(cursor..cursor, text);
        }
    }

    fn splice(&mut self, range: Range<usize>, insert: &str) {
        let Some(open) = &mut self.open else { return };
        let typing = open.store.transaction().label("Typing");
        match typing.run(|note| note.text().splice(range.clone(), insert)) {
            Ok(()) => open.cursor = range.start + insert.chars().count(),
            // For example, the disk fails and too much waits to be written.
            Err(error) => self.message = error.to_string(),
        }
    }

    pub fn undo(&mut self, is_redo: bool) {
        let Some(Open { store, undo: Some(undo), cursor, .. }) = &mut self.open else { return };
        self.message = match if is_redo { undo.redo() } else { undo.undo() } {
            Ok(Some(_)) => format!("{} steps can be undone", undo.undo_len()),
            Ok(None) => "there is no such step".to_owned(),
            Err(error) => error.to_string(),
        };
        *cursor = (*cursor).min(store.view().text.len());
    }

    /// Waits until everything is on disk.
    pub fn save(&mut self) {
        let Some(open) = &self.open else { return };
        // What is typed from now on is a step of its own.
        open.undo.iter().for_each(|undo| undo.split());
        let begin = Instant::now();
        self.message = match open.store.flush_blocking() {
            Ok(()) => {
                let length = open.store.view().text.len();
                format!("on disk: {length} characters, after {:.1?}", begin.elapsed())
            }
            Err(error) => error.to_string(),
        };
    }

    /// Repairs the open note. It must be closed meanwhile.
    pub fn repair(&mut self) -> Result<()> {
        let Some(name) = self.names.get(self.selected).cloned() else { return Ok(()) };
        self.open = None;
        let report = self.storage.repair(&name);
        self.list()?;
        self.select_name(&name);
        self.message = match report {
            Ok(report) => match report.aside {
                Some(aside) => format!(
                    "repaired; kept as found: {aside}; changes that wait for what is lost: {}",
                    report.behind
                ),
                None => "it is not damaged".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        Ok(())
    }

    /// Writes everything that is left.
    pub fn close(mut self) -> Result<()> {
        self.open = None;
        Ok(self.storage.close()?)
    }

    /// Handles a key. Returns whether the program continues.
    pub fn key(&mut self, key: KeyCode, modifiers: KeyModifiers) -> bool {
        if let Some(name) = &mut self.naming {
            match key {
                KeyCode::Char(char) => name.push(char),
                KeyCode::Backspace => _ = name.pop(),
                KeyCode::Enter => {
                    let name = std::mem::take(name);
                    self.naming = None;
                    self.create(&name);
                }
                _ => self.naming = None,
            }
            return true;
        }
        if modifiers.contains(KeyModifiers::CONTROL) {
            match key {
                KeyCode::Char('n') => self.naming = Some(String::new()),
                KeyCode::Char('s') => self.save(),
                KeyCode::Char('z') => self.undo(false),
                KeyCode::Char('y') => self.undo(true),
                KeyCode::Char('r') => {
                    if let Err(error) = self.repair() {
                        self.message = error.to_string();
                    }
                }
                KeyCode::Char('q' | 'c') => return false,
                _ => {}
            }
            return true;
        }
        let cursor = self.open.as_ref().map_or(0, |open| open.cursor);
        let length = self.open.as_ref().map_or(0, |open| open.store.view().text.len());
        match key {
            KeyCode::Char(char) => self.splice(cursor..cursor, char.encode_utf8(&mut [0; 4])),
            KeyCode::Enter => self.splice(cursor..cursor, "\n"),
            KeyCode::Backspace if cursor > 0 => self.splice(cursor - 1..cursor, ""),
            KeyCode::Delete if cursor < length => self.splice(cursor..cursor + 1, ""),
            KeyCode::Left => self.move_to(cursor.saturating_sub(1)),
            KeyCode::Right => self.move_to((cursor + 1).min(length)),
            KeyCode::Home => self.move_to(0),
            KeyCode::End => self.move_to(length),
            KeyCode::Tab | KeyCode::Down => self.select(self.selected + 1),
            KeyCode::BackTab | KeyCode::Up => self.select(self.selected.saturating_sub(1)),
            _ => {}
        }
        true
    }

    fn move_to(&mut self, cursor: usize) {
        self.open.iter_mut().for_each(|open| open.cursor = cursor);
    }

    pub fn draw(&self, frame: &mut Frame<'_>) {
        let [top, line, keys] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)])
                .areas(frame.area());
        let [left, right] =
            Layout::horizontal([Constraint::Length(24), Constraint::Fill(1)]).areas(top);
        let names = self.names.iter().map(|name| match self.damaged.contains_key(name) {
            true => Line::from(format!("{name} (damaged)")).red(),
            false => Line::from(name.as_str()),
        });
        let list = List::new(names).block(Block::bordered().title("Notes"));
        let mut state = ListState::default().with_selected(Some(self.selected));
        let list = list.highlight_symbol("> ").highlight_style(Style::new().bold());
        frame.render_stateful_widget(list, left, &mut state);

        let status = self
            .open
            .as_ref()
            .map(|open| open.status.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let (text, cursor) = (self.text(), self.open.as_ref().map_or(0, |open| open.cursor));
        let before: String = text.chars().take(cursor).collect();
        let cells = |count: usize| u16::try_from(count).unwrap_or(u16::MAX - 1);
        let row = cells(before.matches('\n').count());
        let column = cells(Span::raw(before.rsplit('\n').next().unwrap_or_default()).width());
        let block = Block::bordered().title(status.unwrap_or_default());
        let inner = block.inner(right);
        // The text is moved so far that the cursor is visible.
        let down = (row + 1).saturating_sub(inner.height);
        let aside = (column + 1).saturating_sub(inner.width);
        frame.render_widget(Paragraph::new(text).scroll((down, aside)).block(block), right);
        let (x, y) = (inner.x + (column - aside), inner.y + (row - down));
        frame.set_cursor_position(Position::new(x, y));

        let naming = self.naming.as_ref().map(|name| format!("Name of the new note: {name}"));
        frame.render_widget(Line::from(naming.unwrap_or_else(|| self.message.clone())), line);
        let help = "↑↓ note  ^N new  ^S save  ^Z undo  ^Y redo  ^R repair  ^Q quit";
        frame.render_widget(Line::from(help).dim(), keys);
    }
}
