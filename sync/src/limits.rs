//! Every limit on what a peer may send, in one place. [`crate::Config`] can change those that an
//! application may want to change.

use std::time::Duration;

/// The protocol versions that this crate speaks, sent in `Hello`.
pub(crate) const PROTOCOL_NEWEST: u64 = 1;
pub(crate) const PROTOCOL_OLDEST: u64 = 1;
/// Bytes of one frame's payload, default. A version with 170,000 replicas fits.
pub(crate) const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one replica in a version on the backend `yrs`: its id and its clock (`docs/layout.md`).
/// The state vector of a Yjs client may name at most as many clients as fit into one frame in this
/// form.
#[cfg(feature = "websocket")]
pub(crate) const VERSION_REPLICA_BYTES: usize = 8 + 4;
/// The smallest frame limit that [`crate::Config`] accepts. A `Hello` with the longest names fits
/// into it.
pub(crate) const FRAME_BYTES_MIN: usize = 1024;
/// Bytes of one update that is assembled from fragments, default. A store accepts the same number
/// of bytes from an untrusted peer.
pub(crate) const UPDATE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an update in one `Fragment`. They are few, so that a slow connection shows progress.
pub(crate) const FRAGMENT_BYTES: usize = 64 * 1024;
/// Bytes of a document's name.
pub(crate) const DOCUMENT_NAME_BYTES_MAX: usize = 255;
/// Bytes of a ticket's token. A `Hello` with the longest token does not fit into the smallest frame
/// limit.
pub(crate) const TOKEN_BYTES_MAX: usize = 4096;
/// Bytes of a backend's name.
pub(crate) const BACKEND_NAME_BYTES_MAX: usize = 32;
/// Bytes of the message in a `Close` frame, and of the reason in a close frame of WebSocket (RFC
/// 6455, section 5.5).
pub(crate) const CLOSE_MESSAGE_BYTES_MAX: usize = 512;
pub(crate) const WEBSOCKET_REASON_BYTES_MAX: usize = 123;
/// Bytes of one message of a Yjs client, default. A Yjs client cannot split the edits that its user
/// made offline.
pub(crate) const YJS_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that a LEB128 number may take.
pub(crate) const VARINT_BYTES_MAX: usize = exostate::varint::BYTES_MAX;
/// Updates shorter than this are not compressed, default.
pub(crate) const COMPRESS_OVER_BYTES: usize = 512;
/// Updates, and bytes of updates, that a session may send before the peer acknowledges them.
pub(crate) const IN_FLIGHT_UPDATES_MAX: usize = 4096;
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Points that a session remembers in the updates, in each direction, that are applied and not kept
/// yet. Beyond that, later updates count as kept together.
pub(crate) const UNKEPT_MAX: usize = 1024;
/// Update numbers that a session remembers beyond a gap in the sequence.
pub(crate) const AHEAD_MAX: usize = 1024;
/// Received updates, and bytes of them, that a session applies in one batch.
pub(crate) const INBOX_UPDATES_MAX: usize = 1024;
pub(crate) const INBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers to a peer's version that a session computes at once, and the further answers that it may
/// compute in each keep-alive interval. Requests beyond that wait.
pub(crate) const ANSWERS_AT_ONCE: u32 = 64;
pub(crate) const ANSWERS_PER_KEEP_ALIVE: u32 = 40;
/// How many times a session repairs its replica after a peer with other contents.
pub(crate) const REPAIRS_MAX: u32 = 3;
/// The highest lineage of a claim, and the highest lineage after a settled divergence. Each
/// divergence raises the lineage by less than 2^33, so an honest replica never reaches this limit.
pub(crate) const LINEAGE_MAX: u64 = u64::MAX / 2;
/// Received updates that a session remembers by hash, so that it does not send them back.
pub(crate) const RECENT_UPDATES_MAX: usize = 2048;
/// Local updates that wait for the connection, default. Beyond that the queue is dropped, and the
/// updates are computed again.
pub(crate) const QUEUE_UPDATES_MAX: usize = 256;
/// Bytes of local updates that wait for the connection, default.
pub(crate) const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Frames that wait to be sent. Above this number no local update is taken from the queue.
pub(crate) const TRANSMIT_SOFT_MAX: usize = 16;
/// Bytes of local updates that wait to be sent. Above this number no more updates are taken from
/// the queue. One update may exceed the limit.
pub(crate) const TRANSMIT_SOFT_BYTES_MAX: usize = 1024 * 1024;
/// An update of more bytes than this is compressed and hashed where the work may block, not when it
/// is sent.
pub(crate) const LARGE_BYTES: usize = 16 * 1024;
/// Frames that wait to be sent. Above this number the session reads no more frames. An honest peer
/// never causes so many.
pub(crate) const TRANSMIT_HARD_MAX: usize = 64;
/// Frames that wait for a transport, besides the frames that it is sending.
pub(crate) const WRITER_FRAMES_MAX: usize = 8;
/// Events that are kept for a slow listener.
pub(crate) const EVENTS_MAX: usize = 256;
/// Received frames that are processed in one batch.
pub(crate) const BATCH_FRAMES_MAX: usize = 32;
/// A step of a conversation is brief if it takes no longer than `BRIEF`. After `BRIEF_STEPS` brief
/// steps in a row the next step runs on the runtime's thread. After a wrong expectation it takes
/// `LONG_STEPS_REMEMBERED` brief steps in a row.
pub(crate) const BRIEF: Duration = Duration::from_micros(200);
pub(crate) const BRIEF_STEPS: u32 = 16;
pub(crate) const LONG_STEPS_REMEMBERED: u32 = 256;
/// Bytes of received frames that a brief step may process.
pub(crate) const BRIEF_BYTES_MAX: usize = 4 * 1024;
/// After this time without a sent frame a ping is sent, default.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// After this time without a received frame the connection counts as dead, default.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long `disconnect` waits until the last updates are sent.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest and the longest wait before a reconnection, default.
pub(crate) const RECONNECT_LEAST: Duration = Duration::from_millis(250);
pub(crate) const RECONNECT_MOST: Duration = Duration::from_secs(30);
/// Connections of a server, default.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Connections of a server with one address, and new connections from it in a minute, default.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: usize = 1024;
/// How long a server may take to answer a connection attempt.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an open connection may take to open a stream for another document. After that a new
/// connection is opened for the document.
pub(crate) const STREAM_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an embedder's hook may take to decide what a peer may do.
pub(crate) const ACCESS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connecting peer may take to say which document it asks for.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections on a server that wait for their handshake.
pub(crate) const INCOMING_MAX: usize = 1024;
/// Handshakes that a server begins in a second at each address where it listens, default, and
/// handshakes that it may begin at once after a quiet time.
pub(crate) const HANDSHAKES_PER_SECOND: u32 = 40;
#[cfg(feature = "quic")]
pub(crate) const HANDSHAKES_AT_ONCE: u32 = 4;
/// The queue of waiting handshakes is as long as the number of handshakes that begin within this
/// many seconds. This is less than the time for which clients wait.
#[cfg(feature = "quic")]
pub(crate) const HANDSHAKE_QUEUE_SECONDS: u32 = 5;
/// Waiting handshakes from one address.
#[cfg(feature = "quic")]
pub(crate) const WAITING_PER_ADDRESS_MAX: usize = 64;
/// Streams, and therefore documents, on one connection.
pub(crate) const STREAMS_MAX: u32 = 64;
/// Bytes that a server holds for one connection until the application reads them.
pub(crate) const RECEIVE_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Participants of one document, participants that one message may name, and participants that the
/// accepting side of a connection may introduce, default.
pub(crate) const PARTICIPANTS_MAX: usize = 4096;
/// Participants that the connecting side may introduce to a document, default: itself, and a few
/// participants behind it.
pub(crate) const PARTICIPANTS_OF_CALLER_MAX: usize = 64;
/// The highest id of a participant. A replica id has 53 bits, and JavaScript reads no larger number
/// exactly.
pub(crate) const PARTICIPANT_ID_MAX: u64 = (1 << 53) - 1;
/// The highest clock of a participant's state. Some Yjs clients read at most 32 bits. One tick
/// every 30 ms lasts four years.
pub(crate) const CLOCK_MAX: u64 = u32::MAX as u64;
/// A peer may report a clock for this replica's own participant. The report is believed if the
/// clock is at most this far ahead of this replica's own clock. An honest peer reports a clock that
/// is ahead only if this replica used it shortly before and has forgotten it since.
pub(crate) const CLOCK_AHEAD_MAX: u64 = 1024;
/// Participants that are remembered after they left.
pub(crate) const DEPARTED_MAX: usize = 1024;
/// Bytes of one participant's state, encoded as JSON.
pub(crate) const STATE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the states in one frame. A single state may exceed the limit.
pub(crate) const PRESENCE_BYTES: usize = 64 * 1024;
/// Bytes of a datagram with its channel number. QUIC's smallest packet of 1,200 bytes has room for
/// them, also within a WebTransport session.
pub(crate) const DATAGRAM_BYTES: usize = 1_100;
/// Datagrams, and bytes of them, that wait for delivery to a document.
#[cfg(feature = "quic")]
pub(crate) const DATAGRAMS_WAITING_MAX: usize = 128;
#[cfg(feature = "quic")]
pub(crate) const DATAGRAMS_WAITING_BYTES_MAX: usize = 256 * 1024;
/// The shortest time for which a changed state must stay before it is sent again on the reliable
/// stream. The longest time is twice as long.
pub(crate) const PRESENCE_LASTS: Duration = Duration::from_millis(500);
/// The shortest interval between two messages about changed states to one peer. The interval grows
/// up to the longest one if more states change than can be sent.
pub(crate) const PRESENCE_INTERVAL: Duration = Duration::from_millis(30);
pub(crate) const PRESENCE_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// The interval in which a participant says that it is still present, and the time without such a
/// message after which it counts as absent. Both are as in y-protocols.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
pub(crate) const ABSENT_AFTER: Duration = Duration::from_secs(30);

/// The number of pings in a row after which an update that is pending in the replica's own storage
/// is written again. With the usual keep-alive interval this is a minute in which this side has
/// nothing else to send.
pub(crate) const PINGS_BEFORE_PUT_BACK: u32 = 12;
