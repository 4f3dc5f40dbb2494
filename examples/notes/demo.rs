//! The editor without a terminal: scripts, and the demonstration that CI runs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use exostate_storage::Storage;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use crate::app::App;

/// Runs the commands of a script, and prints what the editor says.
pub fn play(mut app: App, script: &str) -> Result<()> {
    let input: Box<dyn Read> = match script {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(fs::File::open(path).with_context(|| path.to_owned())?),
    };
    for line in BufReader::new(input).lines() {
        let said = command(&mut app, &line?)?;
        if !said.is_empty() {
            println!("{said}");
        }
    }
    app.close()
}

fn command(app: &mut App, line: &str) -> Result<String> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    app.message.clear();
    match command {
        "new" => app.create(rest),
        "open" => app.select_name(rest),
        "type" => {
            for char in rest.chars() {
                app.key(KeyCode::Char(char), KeyModifiers::NONE);
            }
        }
        "paste" => app.type_text(rest),
        "save" => app.save(),
        "undo" => app.undo(false),
        "redo" => app.undo(true),
        "repair" => app.repair()?,
        other => app.message = format!("not a command: {other}"),
    }
    Ok(std::mem::take(&mut app.message))
}

/// Kills an editor that saves, and damages a file. Fails if something is lost.
pub fn run() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("exostate-notes-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = killed(&folder.join("notes.redb")).and_then(|()| damaged(&folder));
    fs::remove_dir_all(&folder)?;
    result?;
    println!("nothing that was on disk is lost");
    Ok(())
}

/// How many steps the editor that is killed may be behind.
const AHEAD: usize = 10;

/// What the editor that is killed types before it saves.
fn step(number: usize) -> String {
    format!("line {number}. ")
}

fn killed(file: &Path) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--headless", "-", "--file"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("it has an input")?;
    let output = BufReader::new(child.stdout.take().context("it has an output")?);
    writeln!(input, "new Diary")?;
    // The editor is always some steps behind, so it is never idle when it is killed.
    (1..=AHEAD).try_for_each(|number| writeln!(input, "type {}\nsave", step(number)))?;
    let mut acknowledged = 0;
    for (number, line) in output.lines().enumerate() {
        let line = line?;
        let length = line.strip_prefix("on disk: ").and_then(|rest| rest.split(' ').next());
        acknowledged = length.with_context(|| line.clone())?.parse()?;
        match number {
            ..20 => writeln!(input, "type {}\nsave", step(number + 1 + AHEAD))?,
            20 => child.kill()?,
            // It said this before it was killed.
            _ => {}
        }
    }
    child.wait()?;
    println!("an editor is killed while it types and saves");

    let mut app = App::new(Storage::open_file(file)?)?;
    let found = app.text();
    let typed: String = (1..=20 + AHEAD).map(step).collect();
    println!("it has said that {acknowledged} characters are on disk; {} are", found.len());
    ensure!(found.len() >= acknowledged, "{} characters are lost", acknowledged - found.len());
    ensure!(typed.starts_with(&found), "it is not what was typed: {found}");

    app.undo(false);
    let left = app.text();
    let undone = found.len() - left.len();
    println!("the next run undoes a step of the killed one: {undone} characters");
    ensure!((1..=step(100).len()).contains(&undone), "left: {left}");
    app.undo(true);
    ensure!(app.text() == found, "redo brings back what was undone");
    app.close()
}

fn damaged(folder: &Path) -> Result<()> {
    let file = folder.join("notes.redb");
    let mut app = App::new(Storage::open_file(&file)?)?;
    command(&mut app, "new Shopping")?;
    for text in ["milk, ", "bread and butter, ", "tea"] {
        command(&mut app, &format!("paste {text}"))?;
        command(&mut app, "save")?;
    }
    app.close()?;

    // A bit flips in the second change of the note, in a copy of the file. The undo stacks, which
    // are kept behind each change, hold the text too: there it follows "milk, ".
    let (copy, flipped) = (folder.join("copy.redb"), b"bread and butter");
    let mut bytes = fs::read(&file)?;
    for at in 0..bytes.len() - flipped.len() {
        if bytes[at..].starts_with(flipped) && !bytes[..at].ends_with(b"milk, ") {
            bytes[at] ^= 1;
        }
    }
    fs::write(&copy, bytes)?;

    let mut app = App::new(Storage::open_file(&copy)?)?;
    ensure!(app.text().starts_with(&step(1)), "the other note is not touched");
    println!("a note is damaged: {}", command(&mut app, "open Shopping")?);
    println!("what can be read: {:?}", app.text());
    println!("a change is refused: {}", command(&mut app, "type x")?);
    ensure!(app.text() == "milk, ");
    let mut terminal = Terminal::new(TestBackend::new(80, 8))?;
    terminal.draw(|frame| app.draw(frame))?;
    print!("{}", terminal.backend());
    println!("{}", command(&mut app, "repair")?);
    ensure!(app.text() == "milk, ");

    // Another replica of the note has what is lost: here, the first file.
    let mut original = App::new(Storage::open_file(&file)?)?;
    original.select_name("Shopping");
    let (mended, original) = (app.open().context("open")?, original.open().context("open")?);
    mended.store.merge(&original.store)?;
    println!("another replica brings what is lost: {:?}", app.text());
    ensure!(app.text() == "milk, bread and butter, tea");
    println!("after it {}", command(&mut app, "save")?);
    app.close()
}
