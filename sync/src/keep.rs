//! Keeps a replica connected to a server: connects, runs the conversation, and reconnects after a
//! while.

use crate::client::Client;
use crate::config::Config;
use crate::driver::{Start, drive, stopped};
use crate::peer::{Handles, Status};
use crate::session::{CloseReason, ConnectFailure, Role};
use crate::ticket::Ticket;
use crate::transport::link::Joined;
use exostate::Retry;
use std::time::Duration;
use tokio::time::sleep;

/// A connection that is kept open.
pub(crate) struct Kept {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) ticket: Ticket,
    pub(crate) handles: Handles,
}

/// Connects again and again until it is stopped, or until an error that would occur at every
/// further attempt.
pub(crate) async fn keep(mut kept: Kept, mut first: Option<Joined>) {
    let mut attempts = 0;
    let reason = loop {
        let reason = kept.once(first.take(), &mut attempts).await;
        let retry_in = kept.config.retry_in(attempts, fastrand::f64);
        let Some(retry_in) = retry_in.filter(|_| !reason.is_final()) else { break reason };
        attempts += 1;
        kept.handles.reports.status.send_replace(Status::Offline { reason, retry_in });
        tokio::select! {
            biased;
            reason = stopped(&mut kept.handles.stop) => break reason,
            () = sleep(retry_in) => {}
        }
        kept.handles.reports.status.send_replace(Status::Connecting);
    };
    kept.handles.reports.status.send_replace(Status::Closed { reason });
}

impl Kept {
    /// Runs one connection and its conversation. Returns why it ended, or was not made.
    async fn once(&mut self, first: Option<Joined>, attempts: &mut u32) -> CloseReason {
        let opened = match first {
            Some(joined) => Ok(joined),
            None => tokio::select! {
                biased;
                reason = stopped(&mut self.handles.stop) => return reason,
                opened = self.client.open(&self.ticket) => opened,
            },
        };
        let joined = match opened {
            Ok(joined) => joined,
            Err(error) => {
                let is_final = error.is_final();
                return CloseReason::NotConnected(ConnectFailure::new(error, is_final));
            }
        };
        let start = Start {
            config: self.config.clone(),
            role: Role::Initiator,
            key: self.handles.key,
            token: self.ticket.token().map(str::to_owned),
            document: self.ticket.document().to_owned(),
            room: self.handles.room.clone(),
            reports: self.handles.reports.clone(),
            outbox: self.handles.outbox.clone(),
            stop: self.handles.stop.clone(),
            first: None,
        };
        let ended = drive(start, joined).await;
        if ended.lived {
            *attempts = 0;
        }
        ended.reason
    }
}

impl Config {
    /// How long to wait before another attempt, after `attempts` failed ones: exponential back-off
    /// with jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015; "equal jitter").
    /// `None` means never. `chance` returns a number between 0 and 1.
    fn retry_in(&self, attempts: u32, chance: impl FnOnce() -> f64) -> Option<Duration> {
        let (least, most) = self.reconnect?;
        let longest = Retry::new(1).with_pauses(least, most).pause_max(attempts);
        Some(longest / 2 + (longest / 2).mul_f64(chance()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_waits_grow_to_their_limit_with_jitter() {
        let config = Config::default();
        let seconds = |attempts, chance: f64| {
            config.retry_in(attempts, || chance).map(|wait| wait.as_secs_f64())
        };
        assert_eq!((seconds(0, 0.0), seconds(0, 1.0)), (Some(0.125), Some(0.25)));
        assert_eq!(seconds(3, 1.0), Some(2.0));
        assert_eq!((seconds(7, 1.0), seconds(u32::MAX, 0.0)), (Some(30.0), Some(15.0)));
        assert_eq!(config.without_reconnecting().retry_in(0, || 0.5), None);
    }
}
