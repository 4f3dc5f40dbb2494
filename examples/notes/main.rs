//! An editor for notes in a terminal. Each note is a document that a storage keeps in one file:
//! what is typed is written within milliseconds, Ctrl-S waits for the disk, and undo goes on after
//! a restart. A note that is damaged opens read-only, and can be repaired.
//!
//! - `cargo run --release --example notes` keeps the notes in `exostate/notes.redb` in the folder
//!   for the data of your programs (`$XDG_DATA_HOME` or `~/.local/share`). It uses `notes.redb` in
//!   the current folder if there is no such folder. `-- --file PATH` names another file.
//! - `-- --demo` needs no terminal. It kills the editor while the editor saves, and damages a file,
//!   and checks that nothing is lost that was on disk.
//! - `-- --file PATH --headless SCRIPT` runs the commands of a file, or of its input if SCRIPT is
//!   `-`: `new NAME`, `open NAME`, `type TEXT`, `paste TEXT`, `save`, `undo`, `redo`, `repair`.

mod app;
mod demo;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use app::App;
use exostate_storage::Storage;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyEventKind,
};
use ratatui::crossterm::execute;

/// What the arguments ask for.
#[derive(Default)]
struct Arguments {
    file: Option<PathBuf>,
    script: Option<String>,
    demo: bool,
}

fn arguments() -> Result<Arguments> {
    let mut found = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--file" => found.file = Some(given.next().context("--file needs a path")?.into()),
            "--headless" => found.script = Some(given.next().context("--headless needs a path")?),
            "--demo" => found.demo = true,
            other => bail!("not an argument: {other}"),
        }
    }
    Ok(found)
}

/// The file in the user's folder for data, or in the current folder.
fn default_file() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home);
    let Some(data) = data.filter(|folder| folder.is_dir()) else { return Ok("notes.redb".into()) };
    std::fs::create_dir_all(data.join("exostate"))?;
    Ok(data.join("exostate/notes.redb"))
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let is_headless = arguments.script.is_some();
    if arguments.demo || !is_headless && !std::io::stdout().is_terminal() {
        return demo::run();
    }
    let file = arguments.file.map_or_else(default_file, Ok)?;
    let app = App::new(Storage::open_file(&file)?)?;
    match arguments.script {
        Some(script) => demo::play(app, &script),
        None => {
            let left = edit(app);
            println!("The notes are in {}.", file.display());
            left
        }
    }
}

/// Runs the editor in the terminal, until the user leaves it.
fn edit(mut app: App) -> Result<()> {
    let mut terminal = ratatui::init();
    let mut run = || -> Result<()> {
        execute!(std::io::stdout(), EnableBracketedPaste)?;
        loop {
            terminal.draw(|frame| app.draw(frame))?;
            // The status may change without a key, so the screen is drawn again after a while.
            if !event::poll(Duration::from_millis(100))? {
                continue;
            }
            let goes_on = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    app.key(key.code, key.modifiers)
                }
                Event::Paste(text) => {
                    app.type_text(&text.replace('\r', "\n"));
                    true
                }
                _ => true,
            };
            if !goes_on {
                return Ok(());
            }
        }
    };
    let result = run();
    let _ = execute!(std::io::stdout(), DisableBracketedPaste);
    ratatui::restore();
    result.and(app.close())
}
