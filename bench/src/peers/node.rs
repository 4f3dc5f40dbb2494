//! Peers that run in Node (`bench/node`), each script in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// The remark for a system that is not there.
pub const MISSING: &str = "left out: npm ci --prefix bench/node";

/// Ends a run that hangs. It measures nothing.
const HANG: Duration = Duration::from_secs(120);

/// Whether a package is installed.
pub fn has(package: &str) -> bool {
    folder().join("node_modules").join(package).is_dir()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node")
}

/// A Node process. Dropping this value ends it.
pub struct Node {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Drop for Node {
    fn drop(&mut self) {
        // This fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// Starts a script of the folder `node`.
    pub fn start(script: &str, arguments: &[String]) -> Result<Self> {
        let mut command = Command::new("node");
        command
            .arg(folder().join(script))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("`node` cannot be started")?;
        let stdout = child.stdout.take().context("the process says nothing")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        Ok(Self { child, lines })
    }

    /// Reads the next message. Skips the lines that the packages of Node print.
    pub fn line<T: DeserializeOwned>(&self) -> Result<T> {
        loop {
            let line = self.lines.recv_timeout(HANG).context("it has nothing more to say")?;
            if line.starts_with('{') {
                return Ok(serde_json::from_str(&line)?);
            }
        }
    }
}
