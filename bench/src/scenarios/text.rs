//! A typing session with one transaction for each keystroke. It is written on one replica and
//! applied on another, one by one and in batches. `resident` is the memory of a replica that has
//! received the whole recording.
//!
//! The systems take turns on slices of the recording. `board` does the same and gives the reason.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::allocation::megabytes_kept;
use crate::measure::{Lane, Progress};
use crate::options::Options;
use crate::peers::{NewText, System, TextPeer};
use crate::report::{Place, Report};
use crate::work::recording::Recording;

/// The number of updates in a batch.
const BATCH: usize = 64;

/// Recordings up to this many keystrokes are replayed three times, for the median.
const KEYSTROKES_SHORT: usize = 30_000;

/// The number of slices of a recording. The systems take turns between them.
const SLICES: usize = 40;

/// Measures every system on every recording.
pub fn run(options: &Options, systems: &[System], report: &mut Report) -> Result<()> {
    let recordings = if options.traces.is_empty() {
        vec![Recording::generated(if options.quick { 1_500 } else { 20_000 })?]
    } else {
        options.traces.iter().map(|path| Recording::read(path)).collect::<Result<_>>()?
    };
    for recording in &recordings {
        let n = recording.keystrokes.len();
        eprintln!("text n={n} is the recording {:?}", recording.name);
        let mut typists = Vec::new();
        for system in systems {
            let Some(new) = system.text else { continue };
            let place = Place { scenario: "text", n, system: system.name };
            typists.push(Typist { place, new, updates: Vec::new(), packed: Vec::new() });
        }
        let repeats = if options.quick || n > KEYSTROKES_SHORT { 1 } else { 3 };
        let session = Session { recording, repeats, limit: options.replay_limit() };
        for stage in [Stage::Local, Stage::RemoteBatch64, Stage::RemoteSingle] {
            session.run(stage, &mut typists, report);
        }
        for typist in typists.iter().filter(|typist| !typist.packed.is_empty()) {
            match typist.resident() {
                Ok(megabytes) => report.add(typist.place, "resident", megabytes, "MB"),
                Err(error) => report.failed(typist.place, "resident", &error),
            }
        }
    }
    Ok(())
}

/// The stages of the measurement, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The recording is typed.
    Local,
    /// Its updates arrive in batches.
    RemoteBatch64,
    /// Its updates arrive one by one.
    RemoteSingle,
}

impl Stage {
    /// The figure's name.
    fn metric(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::RemoteBatch64 => "remote_batch64",
            Self::RemoteSingle => "remote_single",
        }
    }
}

/// A system on one recording, and the bytes that its writer sent.
struct Typist {
    place: Place,
    new: NewText,
    updates: Vec<Vec<u8>>,
    packed: Vec<Vec<Vec<u8>>>,
}

impl Typist {
    /// Types a keystroke, or applies an update or a batch of updates.
    fn step(
        &mut self,
        peer: &mut dyn TextPeer,
        stage: Stage,
        recording: &Recording,
        index: usize,
    ) -> Result<()> {
        match stage {
            Stage::Local => self.updates.push(peer.local(&recording.keystrokes[index])?),
            Stage::RemoteBatch64 => peer.remote_batch(&self.packed[index])?,
            Stage::RemoteSingle => peer.remote(&self.updates[index])?,
        }
        Ok(())
    }

    /// The memory of a replica that has received the whole recording, in batches.
    fn resident(&self) -> Result<f64> {
        let (peer, megabytes) = megabytes_kept(|| -> Result<_> {
            let mut peer = (self.new)(3)?;
            self.packed.iter().try_for_each(|batch| peer.remote_batch(batch))?;
            Ok(peer)
        });
        peer.map(|_| megabytes)
    }

    /// Checks the text. The writer packs its updates for the later stages.
    fn finish(
        &mut self,
        peer: &mut dyn TextPeer,
        stage: Stage,
        recording: &Recording,
    ) -> Result<()> {
        ensure!(peer.text()? == recording.end, "the text differs from the recording's end");
        if stage == Stage::Local {
            let batches = self.updates.chunks(BATCH).enumerate();
            self.packed = batches
                .map(|(batch, updates)| peer.pack(batch * BATCH, updates))
                .collect::<Result<_>>()?;
        }
        Ok(())
    }
}

/// The replay of a system: `None` if the system takes no part, an error if it failed.
type Slot = Option<Result<(Lane, Box<dyn TextPeer>)>>;

/// All systems on one recording.
struct Session<'a> {
    recording: &'a Recording,
    repeats: usize,
    limit: Duration,
}

impl Session<'_> {
    /// Runs a stage with every system that has the inputs for it. Adds the medians of the repeats.
    fn run(&self, stage: Stage, typists: &mut [Typist], report: &mut Report) {
        let mut times = vec![Vec::new(); typists.len()];
        let mut out = vec![false; typists.len()];
        for (typist, out) in typists.iter().zip(&mut out) {
            if stage != Stage::Local && typist.packed.is_empty() {
                report.note(
                    typist.place,
                    format_args!("{}: left out, no updates to replay", stage.metric()),
                );
                *out = true;
            }
        }
        for repeat in 1..=self.repeats {
            eprintln!("text: {} {repeat} of {}", stage.metric(), self.repeats);
            for (index, outcome) in self.replay(stage, typists, &out).into_iter().enumerate() {
                let place = typists[index].place;
                match outcome {
                    Some(Ok(Progress::Done(took))) => times[index].push(took),
                    Some(Ok(Progress::TooLong(projected))) => {
                        let limit = self.limit.as_secs();
                        let pace = projected.as_secs();
                        let metric = stage.metric();
                        report.note(
                            place,
                            format_args!(
                                "{metric}: left out, over {limit} s ({pace} s at its pace)"
                            ),
                        );
                        out[index] = true;
                    }
                    Some(Ok(Progress::Running)) | None => {}
                    Some(Err(error)) => {
                        report.failed(place, stage.metric(), &error);
                        out[index] = true;
                    }
                }
            }
        }
        for (index, mut times) in times.into_iter().enumerate() {
            times.sort();
            if let Some(median) = times.get(times.len() / 2).filter(|_| !out[index]) {
                report.add(typists[index].place, stage.metric(), median.as_secs_f64() * 1e3, "ms");
            }
        }
    }

    /// Replays the recording once, in turns. Returns the result of each system, `None` for a system
    /// that takes no part.
    fn replay(
        &self,
        stage: Stage,
        typists: &mut [Typist],
        out: &[bool],
    ) -> Vec<Option<Result<Progress>>> {
        let total = match stage {
            Stage::RemoteBatch64 => self.recording.keystrokes.len().div_ceil(BATCH),
            Stage::Local | Stage::RemoteSingle => self.recording.keystrokes.len(),
        };
        let mut lanes: Vec<Slot> = Vec::with_capacity(typists.len());
        for (typist, out) in typists.iter_mut().zip(out) {
            if stage == Stage::Local {
                typist.updates.clear();
            }
            let peer = (!out).then(|| (typist.new)(if stage == Stage::Local { 1 } else { 2 }));
            lanes.push(peer.map(|peer| Ok((Lane::new(total, self.limit), peer?))));
        }
        for _ in 0..SLICES {
            for (typist, slot) in typists.iter_mut().zip(&mut lanes) {
                let Some(Ok((lane, peer))) = slot else {
                    continue;
                };
                let step = |index| typist.step(peer.as_mut(), stage, self.recording, index);
                if let Err(error) = lane.advance(total.div_ceil(SLICES), step) {
                    *slot = Some(Err(error));
                }
            }
        }
        let finish = |(typist, slot): (&mut Typist, Slot)| {
            let (lane, mut peer) = match slot? {
                Ok(running) => running,
                Err(error) => return Some(Err(error)),
            };
            let done = matches!(lane.progress(), Progress::Done(_));
            let finished =
                if done { typist.finish(peer.as_mut(), stage, self.recording) } else { Ok(()) };
            Some(finished.map(|()| lane.progress()))
        };
        typists.iter_mut().zip(lanes).map(finish).collect()
    }
}
