//! Settings of a session that an application may choose. The two sides may choose differently.

use crate::frame::flag;
use crate::limits::{
    COMPRESS_OVER_BYTES, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, FRAME_BYTES_MAX,
    FRAME_BYTES_MIN, HANDSHAKES_PER_SECOND, IDLE_TIMEOUT, KEEP_ALIVE, PARTICIPANTS_MAX,
    PARTICIPANTS_OF_CALLER_MAX, QUEUE_BYTES_MAX, QUEUE_UPDATES_MAX, RECONNECT_LEAST,
    RECONNECT_MOST, UPDATE_BYTES_MAX, YJS_MESSAGE_BYTES_MAX,
};
use crate::session::Role;
use std::time::Duration;

/// A setting with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The keep-alive interval is zero, or not shorter than the idle time-out.
    #[error("a keep-alive of {keep_alive:?} does not fit an idle time-out of {idle_timeout:?}")]
    Times {
        /// The interval asked for.
        keep_alive: Duration,
        /// The time-out asked for.
        idle_timeout: Duration,
    },
    /// The first wait is zero, or longer than the longest wait.
    #[error("a first wait of {least:?} does not fit a longest one of {most:?}")]
    Reconnect {
        /// The first wait asked for.
        least: Duration,
        /// The longest wait asked for.
        most: Duration,
    },
    /// The text is not an origin.
    #[error(
        "`{origin}` is no origin as a browser writes it, `https://app.example` or `http://localhost:5173`"
    )]
    Origin {
        /// The text that was given.
        origin: String,
    },
    /// A size is below its minimum.
    #[error("{what} of {value} is under the minimum of {min}")]
    TooSmall {
        /// The setting.
        what: &'static str,
        /// The value asked for.
        value: usize,
        /// The smallest valid value.
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
    /// Sets two times. After `keep_alive` without a sent frame, a ping is sent. After
    /// `idle_timeout` without a received frame, the connection counts as dead. Defaults: 5 and 30
    /// seconds.
    ///
    /// # Errors
    /// `keep_alive` is zero, or not shorter than `idle_timeout`.
    pub fn times(self, keep_alive: Duration, idle_timeout: Duration) -> Result<Self, ConfigError> {
        if keep_alive.is_zero() || keep_alive >= idle_timeout {
            return Err(ConfigError::Times { keep_alive, idle_timeout });
        }
        Ok(Self { keep_alive, idle_timeout, ..self })
    }

    /// The largest payload of one frame, in bytes, that is sent and accepted. Larger updates are
    /// sent in fragments.
    pub fn frame_bytes_max(self, frame_bytes_max: usize) -> Result<Self, ConfigError> {
        at_least("a frame's limit", frame_bytes_max, FRAME_BYTES_MIN)?;
        Ok(Self { frame_bytes_max, ..self })
    }

    /// The largest update that is accepted, in bytes, whole or assembled from fragments.
    pub fn update_bytes_max(self, update_bytes_max: usize) -> Result<Self, ConfigError> {
        at_least("an update's limit", update_bytes_max, FRAME_BYTES_MIN)?;
        Ok(Self { update_bytes_max, ..self })
    }

    /// The largest message, in bytes, that a server accepts from a Yjs client. Default: 16 MiB.
    ///
    /// A Yjs client sends everything that was edited offline in one message. The server cuts it
    /// into updates of the usual size before it applies them and passes them on. A longer message
    /// ends the connection with the close code 1009. Each connection may take that much memory
    /// while such a message arrives.
    pub fn yjs_message_bytes_max(self, yjs_message_bytes_max: usize) -> Result<Self, ConfigError> {
        at_least("a Yjs message's limit", yjs_message_bytes_max, FRAME_BYTES_MIN)?;
        Ok(Self { yjs_message_bytes_max, ..self })
    }

    /// The number of updates, and of their bytes, that may wait for a slow connection. Beyond that,
    /// the queue is dropped, and the updates that the peer lacks are computed once the connection
    /// is fast enough again. No update is lost, and edits never wait.
    pub fn queue_max(self, updates: usize, bytes: usize) -> Result<Self, ConfigError> {
        at_least("a queue's length", updates, 1)?;
        Ok(Self { queue_updates_max: updates, queue_bytes_max: bytes, ..self })
    }

    /// Compresses updates that are longer than this many bytes, if that makes them shorter; `None`
    /// compresses nothing. Default: 512.
    pub fn compress_over(self, compress_over: Option<usize>) -> Self {
        Self { compress_over, ..self }
    }

    /// Lets peers read, and refuses each update of a peer. The peer is told, so an honest peer
    /// sends no updates.
    pub fn read_only(self) -> Self {
        Self { takes_updates: false, ..self }
    }

    /// Only receives updates: edits of this replica are not sent to the peer.
    pub fn only_reads(self) -> Self {
        Self { sends_updates: false, ..self }
    }

    /// Never takes over a peer's document when the contents diverge: the peer has to take over this
    /// one. Use it for the replica that all others follow.
    pub fn never_yields(self) -> Self {
        Self { yields: false, ..self }
    }

    /// Sets how long a peer waits before it reconnects. The first wait is at most `least`. Each
    /// failed attempt doubles the wait, up to `most`. The actual wait is a random time between half
    /// of it and all of it, so that not all peers reconnect at once. Defaults: 250 ms and 30 s.
    ///
    /// # Errors
    /// `least` is zero or longer than `most`.
    pub fn reconnect(self, least: Duration, most: Duration) -> Result<Self, ConfigError> {
        if least.is_zero() || least > most {
            return Err(ConfigError::Reconnect { least, most });
        }
        Ok(Self { reconnect: Some((least, most)), ..self })
    }

    /// Never reconnects after the connection is lost.
    pub fn without_reconnecting(self) -> Self {
        Self { reconnect: None, ..self }
    }

    /// The largest number of connections of a server. Further connections are refused. Default:
    /// 4,096.
    pub fn connections_max(self, connections_max: usize) -> Result<Self, ConfigError> {
        at_least("a server's connections", connections_max, 1)?;
        Ok(Self { connections_max, ..self })
    }

    /// The largest number of connections of a server with one address, and of new connections from
    /// it in a minute. An address is an IPv4 address, or an IPv6 network of 64 bits. Further
    /// connections are refused. Default: 1,024.
    ///
    /// Connections over WebSocket without encryption are not counted per address. They come through
    /// a proxy, which has to count them itself.
    pub fn connections_per_address_max(
        self,
        connections_per_address_max: usize,
    ) -> Result<Self, ConfigError> {
        at_least("an address's connections", connections_per_address_max, 1)?;
        Ok(Self { connections_per_address_max, ..self })
    }

    /// The largest number of participants that a peer may introduce to a document: the peer itself,
    /// and those that it tells about. Defaults:
    ///
    /// - 64 if the peer connected to this side;
    /// - 4,096 if this side connected to the peer, because a server tells about all participants.
    ///
    /// A server needs a higher limit if other servers connect to it on behalf of their own clients.
    ///
    /// A document has at most 4,096 participants in all, independent of this setting. When it is
    /// full, a participant from a connection with few participants replaces one from the connection
    /// with the most.
    pub fn participants_max(self, participants_max: usize) -> Result<Self, ConfigError> {
        at_least("a peer's participants", participants_max, 1)?;
        Ok(Self { participants_max: Some(participants_max), ..self })
    }

    /// The number of participants that the peer may introduce, if this side has that role.
    pub(crate) fn participants_of(&self, role: Role) -> usize {
        self.participants_max.unwrap_or(match role {
            Role::Initiator => PARTICIPANTS_MAX,
            Role::Responder => PARTICIPANTS_OF_CALLER_MAX,
        })
    }

    /// The number of handshakes that a server begins in a second over QUIC and WebTransport, at
    /// each address where it listens. Default: 40.
    ///
    /// Further connections wait for up to five seconds, and the client addresses take turns. Beyond
    /// that, connections are refused and the clients try again later. A handshake costs as much as
    /// hundreds of edits, so this setting limits what a flood of connections takes from the peers
    /// that are connected.
    pub fn handshakes_per_second(self, handshakes_per_second: u32) -> Result<Self, ConfigError> {
        at_least("a server's handshakes in a second", handshakes_per_second as usize, 1)?;
        Ok(Self { handshakes_per_second, ..self })
    }

    /// The flags of these settings in the `Hello`.
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
