//! What an application may choose about a session. Both sides may choose differently.

use crate::frame::flag;
use crate::limits::{
    COMPRESS_OVER_BYTES, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, FRAME_BYTES_MAX,
    FRAME_BYTES_MIN, HANDSHAKES_PER_SECOND, IDLE_TIMEOUT, KEEP_ALIVE, PARTICIPANTS_MAX,
    PARTICIPANTS_OF_CALLER_MAX, QUEUE_BYTES_MAX, QUEUE_UPDATES_MAX, RECONNECT_LEAST,
    RECONNECT_MOST, UPDATE_BYTES_MAX, YJS_MESSAGE_BYTES_MAX,
};
use crate::session::Role;
use std::time::Duration;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The keep-alive has to be shorter than the idle time-out, and neither zero.
    #[error("a keep-alive of {keep_alive:?} does not fit an idle time-out of {idle_timeout:?}")]
    Times {
        /// The interval asked for.
        keep_alive: Duration,
        /// The time-out asked for.
        idle_timeout: Duration,
    },
    /// The first wait has to be longer than nothing and no longer than the longest.
    #[error("a first wait of {least:?} does not fit a longest one of {most:?}")]
    Reconnect {
        /// The first wait asked for.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// What should be allowed is no origin.
    #[error(
        "`{origin}` is no origin as a browser writes it, `https://app.example` or `http://localhost:5173`"
    )]
    Origin {
        /// What was given.
        origin: String,
    },
    /// A size is under its minimum.
    #[error("{what} of {value} is under the minimum of {min}")]
    TooSmall {
        /// The setting.
        what: &'static str,
        /// What was asked for.
        value: usize,
        /// The least that works.
        min: usize,
    },
}

/// Limits and intervals of a session.
///
/// ```
/// use exostate_sync::Config;
/// use std::time::Duration;
///
/// let config = Config::default().times(Duration::from_secs(2), Duration::from_secs(10))?;
/// assert!(Config::default().times(Duration::from_secs(10), Duration::from_secs(2)).is_err());
/// # Ok::<(), exostate_sync::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Config {
    pub(crate) keep_alive: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) frame_bytes_max: usize,
    pub(crate) update_bytes_max: usize,
    pub(crate) yjs_message_bytes_max: usize,
    pub(crate) queue_updates_max: usize,
    pub(crate) queue_bytes_max: usize,
    pub(crate) compress_over: Option<usize>,
    pub(crate) takes_updates: bool,
    pub(crate) sends_updates: bool,
    pub(crate) yields: bool,
    pub(crate) reconnect: Option<(Duration, Duration)>,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) handshakes_per_second: u32,
    pub(crate) participants_max: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep_alive: KEEP_ALIVE,
            idle_timeout: IDLE_TIMEOUT,
            frame_bytes_max: FRAME_BYTES_MAX,
            update_bytes_max: UPDATE_BYTES_MAX,
            yjs_message_bytes_max: YJS_MESSAGE_BYTES_MAX,
            queue_updates_max: QUEUE_UPDATES_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            compress_over: Some(COMPRESS_OVER_BYTES),
            takes_updates: true,
            sends_updates: true,
            yields: true,
            reconnect: Some((RECONNECT_LEAST, RECONNECT_MOST)),
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            handshakes_per_second: HANDSHAKES_PER_SECOND,
            participants_max: None,
        }
    }
}

impl Config {
    /// After how long without a frame sent a ping goes out, and after how long without one received
    /// the connection counts as dead.
    pub fn times(self, keep_alive: Duration, idle_timeout: Duration) -> Result<Self, ConfigError> {
        if keep_alive.is_zero() || keep_alive >= idle_timeout {
            return Err(ConfigError::Times { keep_alive, idle_timeout });
        }
        Ok(Self { keep_alive, idle_timeout, ..self })
    }

    /// Bytes of one frame's payload that are sent and accepted. Larger updates travel in fragments.
    pub fn frame_bytes_max(self, frame_bytes_max: usize) -> Result<Self, ConfigError> {
        at_least("a frame's limit", frame_bytes_max, FRAME_BYTES_MIN)?;
        Ok(Self { frame_bytes_max, ..self })
    }

    /// Bytes of one update that are accepted, whole or put together from fragments.
    pub fn update_bytes_max(self, update_bytes_max: usize) -> Result<Self, ConfigError> {
        at_least("an update's limit", update_bytes_max, FRAME_BYTES_MIN)?;
        Ok(Self { update_bytes_max, ..self })
    }

    /// Bytes of one message that a server takes from a Yjs client, which sends in one all that was
    /// done offline. It is cut into updates of the usual size before it is applied and passed
    /// on. A longer one ends the connection with a Close that says so (1009). Each connection may
    /// take as much memory while such a message comes. Default: 16 MiB.
    pub fn yjs_message_bytes_max(self, yjs_message_bytes_max: usize) -> Result<Self, ConfigError> {
        at_least("a Yjs message's limit", yjs_message_bytes_max, FRAME_BYTES_MIN)?;
        Ok(Self { yjs_message_bytes_max, ..self })
    }

    /// How many updates, and bytes of them, wait for a slow connection. Past that they are dropped
    /// and what the peer lacks is computed once it keeps up again: nothing is lost, edits never
    /// wait.
    pub fn queue_max(self, updates: usize, bytes: usize) -> Result<Self, ConfigError> {
        at_least("a queue's length", updates, 1)?;
        Ok(Self { queue_updates_max: updates, queue_bytes_max: bytes, ..self })
    }

    /// Updates over so many bytes are compressed where that makes them shorter; `None` compresses
    /// nothing. Default: 512.
    pub fn compress_over(self, compress_over: Option<usize>) -> Self {
        Self { compress_over, ..self }
    }

    /// Lets peers read, and refuses every update of theirs. They are told, so that an honest one
    /// sends none.
    pub fn read_only(self) -> Self {
        Self { takes_updates: false, ..self }
    }

    /// Only reads: what is edited here stays here.
    pub fn only_reads(self) -> Self {
        Self { sends_updates: false, ..self }
    }

    /// Never takes over a peer's document when the contents diverge: the peer has to. For the one
    /// that all others go by.
    pub fn never_yields(self) -> Self {
        Self { yields: false, ..self }
    }

    /// How long a peer waits before it connects again: at first at most `least`, then twice as long
    /// after every attempt in vain, at most `most`; between half of that and all of it by
    /// chance, so that not all peers come at once. Default: 250 ms and 30 s.
    pub fn reconnect(self, least: Duration, most: Duration) -> Result<Self, ConfigError> {
        if least.is_zero() || least > most {
            return Err(ConfigError::Reconnect { least, most });
        }
        Ok(Self { reconnect: Some((least, most)), ..self })
    }

    /// A lost connection stays lost.
    pub fn without_reconnecting(self) -> Self {
        Self { reconnect: None, ..self }
    }

    /// How many connections a server has at most; further ones are refused. Default: 4,096.
    pub fn connections_max(self, connections_max: usize) -> Result<Self, ConfigError> {
        at_least("a server's connections", connections_max, 1)?;
        Ok(Self { connections_max, ..self })
    }

    /// How many connections a server has at most with one address (an IPv4 address, or a network of
    /// 64 bits of IPv6), and how many new ones from it in a minute; further ones are refused.
    /// Default: 1,024. Connections over WebSocket without encryption are not counted
    /// so, as they come by a proxy, which has to count them itself.
    pub fn connections_per_address_max(
        self,
        connections_per_address_max: usize,
    ) -> Result<Self, ConfigError> {
        at_least("an address's connections", connections_per_address_max, 1)?;
        Ok(Self { connections_per_address_max, ..self })
    }

    /// How many participants a peer may introduce to a document: itself, and those whom it tells
    /// of. Default: 64 where the peer connected to this side, and 4,096 where this side
    /// connected to it, as a server tells of everybody. A server to which other servers connect,
    /// with clients of theirs behind them, wants more. A document has 4,096 participants in
    /// all, whatever is set here: where there are as many, one who comes by a connection with
    /// few takes the place of one who came by the connection with the most.
    pub fn participants_max(self, participants_max: usize) -> Result<Self, ConfigError> {
        at_least("a peer's participants", participants_max, 1)?;
        Ok(Self { participants_max: Some(participants_max), ..self })
    }

    /// How many participants the peer may introduce to this side, in its role.
    pub(crate) fn participants_of(&self, role: Role) -> usize {
        self.participants_max.unwrap_or(match role {
            Role::Initiator => PARTICIPANTS_MAX,
            Role::Responder => PARTICIPANTS_OF_CALLER_MAX,
        })
    }

    /// How many handshakes a server begins in a second over QUIC and WebTransport, at each address
    /// where it listens. Others wait, by turns of where they come from, for up to five seconds;
    /// more than that are refused and come again later. A handshake costs as much as
    /// hundreds of edits, so this is what a flood of connections can take from those who are in.
    /// Default: 40.
    pub fn handshakes_per_second(self, handshakes_per_second: u32) -> Result<Self, ConfigError> {
        at_least("a server's handshakes in a second", handshakes_per_second as usize, 1)?;
        Ok(Self { handshakes_per_second, ..self })
    }

    /// What the `Hello` says of it.
    pub(crate) fn flags(&self) -> u64 {
        let when = |set: bool, flag: u64| if set { flag } else { 0 };
        flag::READS_DEFLATE
            | when(!self.takes_updates, flag::TAKES_NONE)
            | when(!self.sends_updates, flag::SENDS_NONE)
            | when(!self.yields, flag::NEVER_YIELDS)
    }
}

fn at_least(what: &'static str, value: usize, min: usize) -> Result<(), ConfigError> {
    if value < min { Err(ConfigError::TooSmall { what, value, min }) } else { Ok(()) }
}
