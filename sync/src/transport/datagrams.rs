//! Datagrams: packets that may be lost, duplicated, or reordered. Some connections have them
//! besides their streams. All documents of a connection share them, so each datagram begins with a
//! number (a varint) that names its document's channel.

use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Sends datagrams on a connection.
pub trait DatagramSender: Send + Sync + 'static {
    /// Sends one datagram of at most 1,100 bytes. It may be dropped, or replace older ones that
    /// wait. Never blocks.
    fn send(&self, datagram: Vec<u8>);
}

/// One document's share of a connection's datagrams.
///
/// A custom transport provides them by [`Transport::datagrams`](super::Transport::datagrams).
pub struct Datagrams {
    channel: u64,
    sender: Arc<dyn DatagramSender>,
    received: mpsc::Receiver<Vec<u8>>,
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Datagrams {
    /// `received` yields the datagrams that begin with `channel`, without this number. `sender`
    /// receives datagrams that already begin with the peer's number.
    pub fn new(
        channel: u64,
        sender: Arc<dyn DatagramSender>,
        received: mpsc::Receiver<Vec<u8>>,
    ) -> Self {
        Self { channel, sender, received }
    }

    pub(crate) fn channel(&self) -> u64 {
        self.channel
    }

    pub(crate) fn sender(&self) -> &dyn DatagramSender {
        self.sender.as_ref()
    }

    /// Receives the next datagrams: at least one and at most `limit`. Returns 0 when no more will
    /// come.
    pub(crate) async fn recv_many(&mut self, datagrams: &mut Vec<Vec<u8>>, limit: usize) -> usize {
        self.received.recv_many(datagrams, limit).await
    }
}

#[cfg(feature = "quic")]
pub(crate) use channels::{Carrier, Channels};

/// The documents of one connection, by their channel numbers.
#[cfg(feature = "quic")]
mod channels {
    use super::{DatagramSender, Datagrams};
    use crate::frame::FrameReader;
    use crate::limits::{DATAGRAM_BYTES, DATAGRAMS_WAITING_MAX};
    use std::collections::BTreeMap;
    use std::future::Future;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use tokio::sync::mpsc;
    use tokio::task::AbortHandle;

    /// A connection that has datagrams.
    pub(crate) trait Carrier: Clone + Send + Sync + 'static {
        /// The next received datagram; `None` when the connection is over.
        fn read(&self) -> impl Future<Output = Option<Vec<u8>>> + Send;
        /// The largest datagram in bytes; `None` if the peer takes no datagrams.
        fn bytes_max(&self) -> Option<usize>;
        /// Sends a datagram, or drops it.
        fn send(&self, datagram: Vec<u8>);
    }

    #[derive(Debug, Default)]
    struct Open {
        last: u64,
        receivers: BTreeMap<u64, mpsc::Sender<Vec<u8>>>,
    }

    /// Delivers received datagrams to their documents, until it is dropped.
    #[derive(Debug)]
    pub(crate) struct Channels<C> {
        carrier: C,
        open: Arc<Mutex<Open>>,
        reading: AbortHandle,
    }

    impl<C> Drop for Channels<C> {
        fn drop(&mut self) {
            // The task holds the connection, which ends with its last holder.
            self.reading.abort();
        }
    }

    fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
        open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl<C: Carrier> Channels<C> {
        pub(crate) fn new(carrier: C) -> Arc<Self> {
            let open = Arc::new(Mutex::new(Open::default()));
            let reading = tokio::spawn(read(carrier.clone(), Arc::clone(&open))).abort_handle();
            Arc::new(Self { carrier, open, reading })
        }

        /// Opens a channel for one more document; `None` if the peer takes no datagrams.
        pub(crate) fn open(self: &Arc<Self>) -> Option<Datagrams> {
            self.carrier.bytes_max().filter(|bytes_max| *bytes_max >= DATAGRAM_BYTES)?;
            let (sender, received) = mpsc::channel(DATAGRAMS_WAITING_MAX);
            let mut open = lock(&self.open);
            open.last += 1;
            let channel = open.last;
            open.receivers.insert(channel, sender);
            Some(Datagrams::new(
                channel,
                Arc::new(Opened { channel, channels: Arc::clone(self) }),
                received,
            ))
        }
    }

    /// The sender of one document. Dropping it closes the document's channel.
    struct Opened<C: Carrier> {
        channel: u64,
        channels: Arc<Channels<C>>,
    }

    impl<C: Carrier> Drop for Opened<C> {
        fn drop(&mut self) {
            lock(&self.channels.open).receivers.remove(&self.channel);
        }
    }

    impl<C: Carrier> DatagramSender for Opened<C> {
        fn send(&self, datagram: Vec<u8>) {
            self.channels.carrier.send(datagram);
        }
    }

    async fn read<C: Carrier>(carrier: C, open: Arc<Mutex<Open>>) {
        while let Some(mut datagram) = carrier.read().await {
            let mut reader = FrameReader::new(&datagram);
            // A datagram without a number, or for a document that is closed, may have arrived late.
            let Ok(channel) = reader.varint("a channel") else { continue };
            let at = reader.at();
            if let Some(receiver) = lock(&open).receivers.get(&channel) {
                datagram.drain(..at);
                // A document that does not keep up loses this datagram.
                let _ = receiver.try_send(datagram);
            }
        }
    }
}

#[cfg(all(test, feature = "webtransport"))]
mod tests {
    use super::Datagrams;
    use crate::config::Config;
    use crate::ticket::{Scheme, Ticket};
    use crate::transport::identity::Identity;
    use crate::transport::quic::{self, Quic};
    use crate::transport::rotation::Rotation;
    use crate::transport::webtransport::{self, WebTransport};
    use crate::transport::{Connection, FrameSink as _, FrameSource as _, Transport};
    use std::net::SocketAddr;
    use std::sync::Arc;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().expect("valid")
    }

    fn ticket(scheme: Scheme, addr: SocketAddr, identity: &Identity) -> Ticket {
        Ticket::new(scheme, "127.0.0.1", addr.port(), "d", Some(identity.fingerprint()))
            .expect("valid")
    }

    async fn first(datagrams: &mut Datagrams) -> Vec<u8> {
        let mut received = Vec::new();
        datagrams.recv_many(&mut received, 1).await;
        received.remove(0)
    }

    /// Datagrams from one end arrive at the other end's channel that they name, both ways, and
    /// nowhere else.
    async fn they_arrive_where_they_belong<C: Connection>(here: C, there: C) {
        let mut ends = Vec::new();
        for _ in 0..2 {
            let mut ours = here.open().await.expect("open");
            let datagrams = ours.datagrams().expect("the connection has them");
            let (mut sink, source) = ours.split();
            // The other end learns of the stream with the first frame.
            sink.send(crate::frame::Frame::Ping.encode()).await.expect("sent");
            let mut theirs = there.accept().await.expect("opened");
            ends.push((
                datagrams,
                theirs.datagrams().expect("here too"),
                sink,
                source,
                theirs.split(),
            ));
        }
        for (number, (ours, theirs, _, _, (_, source))) in (0_u8..).zip(&mut ends) {
            assert!(source.recv().await.expect("alive").is_some());
            let to = |end: &Datagrams| u8::try_from(end.channel()).expect("one of the first");
            ours.sender().send(vec![99, 1, 1]);
            ours.sender().send(Vec::new());
            ours.sender().send(vec![to(theirs), b'h', number]);
            theirs.sender().send([&[to(ours), b't', number][..], &[0; 1_097]].concat());
            assert_eq!(first(theirs).await, [b'h', number]);
            assert_eq!(first(ours).await.len(), 1_099);
        }
    }

    fn test(body: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let hang = std::time::Duration::from_secs(60);
        runtime.block_on(async { tokio::time::timeout(hang, body).await.expect("the test hangs") });
    }

    #[test]
    fn datagrams_arrive_over_quic() {
        test(async {
            let identity = Identity::generate().expect("an identity");
            let config = Config::default();
            let endpoint = quinn::Endpoint::server(
                quic::server_config(&identity, &config).expect("valid"),
                loopback(),
            )
            .expect("an address");
            let ticket = ticket(Scheme::Quic, endpoint.local_addr().expect("bound"), &identity);
            let accept =
                async { endpoint.accept().await.expect("open").await.expect("a connection") };
            let (here, there) = tokio::join!(quic::connect(&ticket, &config), accept);
            they_arrive_where_they_belong(here.expect("connected"), Quic::accepted(there, &config))
                .await;
        });
    }

    #[test]
    fn datagrams_arrive_over_webtransport() {
        test(async {
            let identity = Identity::generate().expect("an identity");
            let config = Config::default();
            let rotation = Arc::new(Rotation::new(&identity).expect("certificates"));
            let endpoint = webtransport::listen(loopback(), rotation, &config)
                .expect("valid")
                .start()
                .expect("an address");
            let ticket =
                ticket(Scheme::WebTransport, endpoint.local_addr().expect("bound"), &identity);
            let origins = crate::transport::origins::Origins::default();
            let accept = async {
                WebTransport::accepted(endpoint.accept().await, &origins, config.frame_bytes_max)
                    .await
            };
            let (here, there) = tokio::join!(webtransport::connect(&ticket, &config), accept);
            they_arrive_where_they_belong(
                here.expect("connected"),
                there.expect("a session").expect("no web page").0,
            )
            .await;
        });
    }
}
