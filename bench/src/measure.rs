//! Times: samples and their quantiles, and a time limit for long work.

use std::time::{Duration, Instant};

use anyhow::Result;

/// The times of many single steps, in microseconds.
#[derive(Debug, Default)]
pub struct Samples {
    micros: Vec<f64>,
}

impl Samples {
    /// Runs `step` and records its time.
    pub fn time<T>(&mut self, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let (result, took) = timed(step)?;
        self.micros.push(took.as_secs_f64() * 1e6);
        Ok(result)
    }

    /// Adds a time that was measured elsewhere.
    pub fn add(&mut self, took: Duration) {
        self.micros.push(took.as_secs_f64() * 1e6);
    }

    /// Adds the samples of another round.
    pub fn append(&mut self, mut round: Self) {
        self.micros.append(&mut round.micros);
    }

    /// How many steps were timed.
    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// The sum of all times.
    pub fn sum(&self) -> Duration {
        Duration::from_secs_f64(self.micros.iter().sum::<f64>() / 1e6)
    }

    /// The median, in microseconds.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The 99th percentile, in microseconds. `None` if there are too few samples.
    pub fn p99(&self) -> Option<f64> {
        (self.micros.len() >= 100).then(|| self.quantile(0.99))
    }

    /// The sample at the quantile `at`, from 0 to 1.
    fn quantile(&self, at: f64) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * at).round() as usize).copied().unwrap_or(f64::NAN)
    }
}

/// Runs `step`. Returns its result and its time.
pub fn timed<T>(step: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let result = step()?;
    Ok((result, start.elapsed()))
}

/// The progress of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Some steps are left.
    Running,
    /// All steps ran. The field is their time.
    Done(Duration),
    /// The lane was stopped. The field is a lower estimate of the time of all steps.
    TooLong(Duration),
}

/// Many steps whose time is summed. They run in slices, so that other lanes can take turns between
/// them.
#[derive(Debug)]
pub struct Lane {
    total: usize,
    done: usize,
    limit: Duration,
    spent: Duration,
    progress: Progress,
}

impl Lane {
    /// `total` steps, numbered from 0. None of them has run.
    pub fn new(total: usize, limit: Duration) -> Self {
        Self { total, done: 0, limit, spent: Duration::ZERO, progress: Progress::Running }
    }

    /// The progress so far.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Runs the next `steps` steps, or the remaining ones if there are fewer.
    ///
    /// Stops at the limit. Stops earlier once the estimated total is over twice the limit: in a
    /// growing document later steps are slower, not faster.
    pub fn advance(
        &mut self,
        steps: usize,
        mut step: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let before = self.spent;
        let start = Instant::now();
        let end = self.total.min(self.done + steps);
        while self.done < end && self.progress == Progress::Running {
            step(self.done)?;
            self.done += 1;
            if self.done.is_multiple_of(16) || self.done == end {
                self.spent = before + start.elapsed();
                let projected = self.spent.mul_f64(self.total as f64 / self.done as f64);
                if self.spent > self.limit
                    || (self.spent > self.limit / 20 && projected > self.limit * 2)
                {
                    self.progress = Progress::TooLong(projected);
                } else if self.done == self.total {
                    self.progress = Progress::Done(self.spent);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Lane, Progress, Samples};

    #[test]
    fn quantiles_of_known_samples() {
        let samples = Samples { micros: (0..=1000).rev().map(f64::from).collect() };
        assert_eq!(samples.median(), 500.0);
        assert_eq!(samples.p99(), Some(990.0));
        assert_eq!(Samples { micros: vec![1.0; 5] }.p99(), None);
    }

    #[test]
    fn a_lane_over_its_limit_stops() -> anyhow::Result<()> {
        let mut lane = Lane::new(1_000_000, Duration::ZERO);
        let mut steps = 0;
        lane.advance(1_000, |_| {
            steps += 1;
            Ok(())
        })?;
        assert!(matches!(lane.progress(), Progress::TooLong(_)));
        assert_eq!(steps, 16);
        Ok(())
    }

    #[test]
    fn a_lane_runs_every_step_once_for_any_slice_length() -> anyhow::Result<()> {
        let mut lane = Lane::new(100, Duration::from_secs(60));
        let mut seen = Vec::new();
        while lane.progress() == Progress::Running {
            lane.advance(7, |index| {
                seen.push(index);
                Ok(())
            })?;
        }
        assert!(seen.into_iter().eq(0..100));
        assert!(matches!(lane.progress(), Progress::Done(_)));
        Ok(())
    }
}
