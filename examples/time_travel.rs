//! Shows the history of a board in a terminal: every revision, its changes and its author. It also
//! names, restores and branches.
//!
//! `cargo run --example time_travel`. Without a terminal it plays some keys to a screen in memory,
//! and prints that screen.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use exostate::{Counter, History, HistoryOptions, Map, Origin, Revision, State, Store, Text};
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, List, ListState, Paragraph};
use ratatui::{Frame, Terminal};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    title: String,
    notes: Text,
    done: Map<String, bool>,
    votes: Counter,
}

/// The state of the screen: the present, and the selected place in the history.
struct App {
    store: Store<Board>,
    history: History<Board>,
    revisions: Vec<Revision>,
    selected: usize,
    message: String,
}

/// A board that two people have worked on.
fn sample() -> Result<(Store<Board>, History<Board>)> {
    let store = Store::<Board>::new();
    let history = store.history(HistoryOptions::default())?;
    let ada = |label: &str| store.transaction().author("Ada").label(label);
    ada("Title").run(|board| board.title().set("Trip"))?;
    ada("Plan").run(|board| board.done().insert("book the train", false))?;
    ada("Notes").run(|board| board.notes().push_str("We meet at nine."))?;
    history.name("first draft")?;
    // Another author edits on another replica. Their edits arrive here by a merge; their author and
    // label do not.
    let theirs = store.fork()?;
    theirs.change(|board| {
        board.notes().splice(11..15, "eight")?;
        board.votes().add(1)
    })?;
    store.merge(&theirs)?;
    ada("Done").run(|board| board.done().insert("book the train", true))?;
    ada("Title").run(|board| board.title().set("Trip to the sea"))?;
    Ok((store, history))
}

impl App {
    fn new() -> Result<Self> {
        let (store, history) = sample()?;
        let revisions = history.revisions();
        let selected = revisions.len() - 1;
        let message = String::new();
        Ok(Self { store, history, revisions, selected, message })
    }

    /// Handles a key. Returns whether the program continues.
    fn key(&mut self, key: KeyCode) -> Result<bool> {
        let id = self.revisions[self.selected].id();
        match key {
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected = (self.selected + 1).min(self.revisions.len() - 1),
            KeyCode::Char('n') => self.history.name_revision(id, format!("version {id}"))?,
            KeyCode::Char('r') => self.history.restore(id)?,
            KeyCode::Char('v') => self
                .store
                .transaction()
                .author("You")
                .label("Vote")
                .run(|board| board.votes().add(1))?,
            // Creates a branch at this revision, and merges its edits into the present.
            KeyCode::Char('b') => {
                let branch = self.history.branch(id)?;
                branch.change(|board| board.done().insert(format!("from {id}"), false))?;
                self.store.merge(&branch)?;
            }
            KeyCode::Char('q') => return Ok(false),
            _ => return Ok(true),
        }
        self.revisions = self.history.revisions();
        if !matches!(key, KeyCode::Up | KeyCode::Down | KeyCode::Char('n')) {
            self.selected = self.revisions.len() - 1;
        }
        let blame = self.history.blame(Board::path().title()).and_then(|blame| blame.revision);
        let author = blame.as_ref().and_then(|revision| revision.meta()?.author());
        self.message = format!("the title is by {}", author.unwrap_or("somebody"));
        Ok(true)
    }

    fn draw(&self, frame: &mut Frame<'_>) -> Result<()> {
        let [top, bottom] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
        let [left, right] =
            Layout::horizontal([Constraint::Length(38), Constraint::Fill(1)]).areas(top);
        let revisions =
            List::new(self.revisions.iter().map(line)).block(Block::bordered().title("Revisions"));
        let mut state = ListState::default().with_selected(Some(self.selected));
        frame.render_stateful_widget(
            revisions.highlight_symbol("> ").highlight_style(Style::new().bold()),
            left,
            &mut state,
        );
        frame.render_widget(
            Paragraph::new(self.board()?).block(Block::bordered().title("The board then")),
            right,
        );
        let keys = "↑↓ look  n name  r restore  b branch  v vote  q quit   ";
        frame.render_widget(Line::from(vec![keys.dim(), self.message.as_str().into()]), bottom);
        Ok(())
    }

    /// The board at the selected revision. The changes of that revision are coloured.
    fn board(&self) -> Result<Vec<Line<'static>>> {
        let id = self.revisions[self.selected].id();
        let before = self.selected.checked_sub(1).map_or(id, |before| self.revisions[before].id());
        let diff = self.history.diff(before, id)?;
        let board = diff.new();
        let changed = |path: &str| diff.paths().any(|found| found.starts_with(path));
        let coloured = |path: &str, text: String| {
            if changed(path) { Line::from(text).fg(Color::Green) } else { Line::from(text) }
        };
        let mut lines = vec![
            coloured("title", format!("# {}", board.title)),
            coloured("notes", board.notes.to_string()),
        ];
        for (text, done) in &board.done {
            lines.push(coloured(
                &format!("done/{text}"),
                format!("[{}] {text}", if *done { "x" } else { " " }),
            ));
        }
        lines.push(coloured("votes", format!("{} votes", board.votes.value())));
        Ok(lines)
    }
}

fn line(revision: &Revision) -> String {
    let meta = revision.meta();
    let author = meta.and_then(|meta| meta.author()).unwrap_or("-");
    let label = meta.and_then(|meta| meta.label()).unwrap_or(match revision.origin() {
        None => "it begins",
        Some(Origin::Remote) => "from others",
        Some(_) => "a change",
    });
    let name = revision.name().map(|name| format!(" [{name}]")).unwrap_or_default();
    format!("{:>2} {author:<3} {label}{name}", revision.id())
}

/// The same program for a screen in memory.
fn headless(mut app: App) -> Result<()> {
    let mut terminal = Terminal::new(TestBackend::new(96, 14))?;
    let keys = [
        KeyCode::Up,
        KeyCode::Up,
        KeyCode::Char('n'),
        KeyCode::Char('b'),
        KeyCode::Up,
        KeyCode::Up,
        KeyCode::Up,
        KeyCode::Char('r'),
    ];
    for key in keys {
        app.key(key)?;
        let mut drawn = Ok(());
        terminal.draw(|frame| drawn = app.draw(frame))?;
        drawn?;
    }
    print!("{}", terminal.backend());
    let first = app.history.find("version 5").map(|id| app.history.view_at(id)).transpose()?;
    assert_eq!(first.map(|board| board.notes.to_string()).as_deref(), Some("We meet at eight."));
    assert_eq!(app.store.view(), app.history.view_at(app.history.latest())?);
    println!("what was restored is what was there: {}", app.store.view().title);
    Ok(())
}

fn main() -> Result<()> {
    let mut app = App::new()?;
    if !std::io::stdout().is_terminal() {
        return headless(app);
    }
    let mut terminal = ratatui::init();
    let mut run = || -> Result<()> {
        loop {
            let mut drawn = Ok(());
            terminal.draw(|frame| drawn = app.draw(frame))?;
            drawn?;
            if event::poll(Duration::from_millis(200))?
                && let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && !app.key(key.code)?
            {
                return Ok(());
            }
        }
    };
    let result = run();
    ratatui::restore();
    result
}
