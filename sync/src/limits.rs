//! Every bound on what a peer may send, in one place. [`crate::Config`] may lower or raise those
//! that an application could want otherwise.

use std::time::Duration;

/// The protocol versions that this crate speaks, sent in `Hello`.
pub(crate) const PROTOCOL_NEWEST: u64 = 1;
pub(crate) const PROTOCOL_OLDEST: u64 = 1;
/// Bytes of one frame's payload, default: a version of 170,000 replicas.
pub(crate) const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one replica in a version on the backend `yrs`: its id and its clock (`docs/layout.md`).
/// What a Yjs client says to have may name no more clients than fit in a frame so.
#[cfg(feature = "websocket")]
pub(crate) const VERSION_REPLICA_BYTES: usize = 8 + 4;
/// The least that a frame's limit may be set to: a `Hello` with the longest names fits.
pub(crate) const FRAME_BYTES_MIN: usize = 1024;
/// Bytes of one update put together from fragments, default: as many as a store takes from a
/// stranger.
pub(crate) const UPDATE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an update carried by one `Fragment`: small, so that a slow line shows progress.
pub(crate) const FRAGMENT_BYTES: usize = 64 * 1024;
/// Bytes of a document's name.
pub(crate) const DOCUMENT_NAME_BYTES_MAX: usize = 255;
/// Bytes of a ticket's token. A `Hello` with a long one is over the least limit of a frame.
pub(crate) const TOKEN_BYTES_MAX: usize = 4096;
/// Bytes of a backend's name.
pub(crate) const BACKEND_NAME_BYTES_MAX: usize = 32;
/// Bytes of the message in a `Close`, and of the reason in one of a WebSocket (RFC 6455, 5.5).
pub(crate) const CLOSE_MESSAGE_BYTES_MAX: usize = 512;
pub(crate) const WEBSOCKET_REASON_BYTES_MAX: usize = 123;
/// Bytes of one message of a Yjs client, default: it cannot cut what was done offline.
pub(crate) const YJS_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that a LEB128 number may take.
pub(crate) const VARINT_BYTES_MAX: usize = 10;
/// Updates shorter than this are not compressed, default.
pub(crate) const COMPRESS_OVER_BYTES: usize = 512;
/// Updates, and bytes of them, that may be on their way without being acknowledged.
pub(crate) const IN_FLIGHT_UPDATES_MAX: usize = 4096;
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Numbers of updates remembered that came beyond a gap.
pub(crate) const AHEAD_MAX: usize = 1024;
/// Updates, and bytes of them, that came and are applied in one go.
pub(crate) const INBOX_UPDATES_MAX: usize = 1024;
pub(crate) const INBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers to a peer's version that a session works out at once, and how many more it may in each
/// keep-alive interval; those beyond wait.
pub(crate) const ANSWERS_AT_ONCE: u32 = 64;
pub(crate) const ANSWERS_PER_KEEP_ALIVE: u32 = 40;
/// How often a session makes its replica equal to a peer whose contents differ.
pub(crate) const REPAIRS_MAX: u32 = 3;
/// The highest lineage that a claim may have, and that a settled divergence leads to. Each one
/// raises it by 32 bits, so no honest one gets there.
pub(crate) const LINEAGE_MAX: u64 = u64::MAX / 2;
/// Received updates remembered by hash, so that they are not sent back.
pub(crate) const RECENT_UPDATES_MAX: usize = 2048;
/// Local updates waiting for the connection before they are dropped and computed anew, default.
pub(crate) const QUEUE_UPDATES_MAX: usize = 256;
/// Bytes of local updates waiting for the connection, default.
pub(crate) const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Frames waiting to be sent above which no local update is taken from the queue.
pub(crate) const TRANSMIT_SOFT_MAX: usize = 16;
/// Bytes of local updates waiting to be sent above which no more are taken from the queue; one
/// update may go beyond.
pub(crate) const TRANSMIT_SOFT_BYTES_MAX: usize = 1024 * 1024;
/// Updates over so many bytes are compressed and hashed where it may block, and not as they leave.
pub(crate) const LARGE_BYTES: usize = 16 * 1024;
/// Frames waiting to be sent above which nothing more is read. An honest peer never gets there.
pub(crate) const TRANSMIT_HARD_MAX: usize = 64;
/// Frames that wait for a transport, beside those that it is sending.
pub(crate) const WRITER_FRAMES_MAX: usize = 8;
/// Events kept for a listener that is slow to take them.
pub(crate) const EVENTS_MAX: usize = 256;
/// Frames received that are worked off in one go.
pub(crate) const BATCH_FRAMES_MAX: usize = 32;
/// A step of a conversation that takes no longer is worked off on the runtime's thread, once so
/// many in a row were: more of them where one was expected to be brief and was not.
pub(crate) const BRIEF: Duration = Duration::from_micros(200);
pub(crate) const BRIEF_STEPS: u32 = 16;
pub(crate) const LONG_STEPS_REMEMBERED: u32 = 256;
/// Bytes of frames received that may make a brief step.
pub(crate) const BRIEF_BYTES_MAX: usize = 4 * 1024;
/// A ping is sent after this long without a frame sent, default.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The connection counts as dead after this long without a frame received, default.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// What `disconnect` waits for the last updates to leave.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before connecting again, at first and at most, default.
pub(crate) const RECONNECT_LEAST: Duration = Duration::from_millis(250);
pub(crate) const RECONNECT_MOST: Duration = Duration::from_secs(30);
/// Connections that a server has at most, default.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Connections that a server has at most with one address, and new ones from it in a minute,
/// default.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: usize = 1024;
/// What a server may take to answer a connection attempt.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection that is open already may take until another document has its stream there;
/// then a new connection is opened for it.
pub(crate) const STREAM_TIMEOUT: Duration = Duration::from_secs(1);
/// What an embedder's hook has to say what a peer may do.
pub(crate) const ACCESS_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connecting peer has to say which document it wants.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait for their handshake on a server.
pub(crate) const INCOMING_MAX: usize = 1024;
/// Handshakes that a server begins in a second at each address where it listens, default, and how
/// many at once after a quiet time.
pub(crate) const HANDSHAKES_PER_SECOND: u32 = 40;
#[cfg(feature = "quic")]
pub(crate) const HANDSHAKES_AT_ONCE: u32 = 4;
/// How many may wait for theirs: as many as are begun within this time, which is less than they are
/// patient.
#[cfg(feature = "quic")]
pub(crate) const LOBBY_SECONDS: u32 = 5;
/// Those of them that come from one address.
#[cfg(feature = "quic")]
pub(crate) const WAITING_PER_ADDRESS_MAX: usize = 64;
/// Streams, so documents, that one connection may have open.
pub(crate) const STREAMS_MAX: u32 = 64;
/// Bytes that a server holds for one connection before the application reads them.
pub(crate) const RECEIVE_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Participants that a document has in all, those that one message may name, and those that the
/// side that was connected to may introduce, default.
pub(crate) const PARTICIPANTS_MAX: usize = 4096;
/// Participants that the side that connected may introduce to a document, default: itself, and a
/// few behind it.
pub(crate) const PARTICIPANTS_OF_CALLER_MAX: usize = 64;
/// The highest id of a participant: a replica's has 53 bits, and JavaScript reads no more.
pub(crate) const PARTICIPANT_ID_MAX: u64 = (1 << 53) - 1;
/// The highest clock of a participant's state, as some Yjs clients read no more than 32 bits: a
/// tick every 30 ms for four years.
pub(crate) const CLOCK_MAX: u64 = u32::MAX as u64;
/// How far what is heard of this replica itself may be ahead of its own clock to be believed:
/// nobody honest has heard what it has not said, unless that was so lately that it has forgotten.
pub(crate) const CLOCK_AHEAD_MAX: u64 = 1024;
/// Participants remembered after they have left.
pub(crate) const DEPARTED_MAX: usize = 1024;
/// Bytes of one participant's state, as JSON.
pub(crate) const STATE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of states in one frame, or one state.
pub(crate) const PRESENCE_BYTES: usize = 64 * 1024;
/// Bytes of a datagram, its number included: what QUIC's smallest packet of 1,200 bytes has room
/// for, within a WebTransport session too.
pub(crate) const DATAGRAM_BYTES: usize = 1_100;
/// Datagrams, and bytes of them, that wait on their way to a document.
#[cfg(feature = "quic")]
pub(crate) const DATAGRAMS_WAITING_MAX: usize = 128;
#[cfg(feature = "quic")]
pub(crate) const DATAGRAMS_WAITING_BYTES_MAX: usize = 256 * 1024;
/// How long a change of a state lasts at least before it is told again by the reliable way; at most
/// twice as long.
pub(crate) const PRESENCE_LASTS: Duration = Duration::from_millis(500);
/// How often a peer is told of changed states at most, and how seldom it gets where there are more
/// of them than can be told.
pub(crate) const PRESENCE_INTERVAL: Duration = Duration::from_millis(30);
pub(crate) const PRESENCE_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// How often a participant says that it is still there, and after how long without it counts as
/// gone: as in y-protocols.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
pub(crate) const ABSENT_AFTER: Duration = Duration::from_secs(30);

/// At how many pings in a row something that the replica's own storage has waits before it is
/// written again: a minute, with the usual keep-alive interval, in which this side has nothing else
/// to send.
pub(crate) const PINGS_BEFORE_PUT_BACK: u32 = 12;
