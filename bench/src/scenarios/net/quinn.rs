//! A bare QUIC stream: the lower bound for the other QUIC figures.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use anyhow::{Context, Result};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::latency::{collect, pace};
use super::runtime;
use crate::measure::Samples;

/// Sends messages of `bytes` bytes at a steady rate. Each time runs from the write until the other
/// end has read the whole message.
pub fn one_way(rate: usize, count: usize, bytes: usize) -> Result<Samples> {
    let runtime = runtime()?;
    let (_server, _client, mut sender, mut receiver) = runtime.block_on(connected())?;
    let (seen, sightings) = mpsc::channel();
    runtime.spawn(async move {
        let mut message = vec![0; bytes];
        for number in 1.. {
            if receiver.read_exact(&mut message).await.is_err()
                || seen.send((number, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    let (messages, mut waiting) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    runtime.spawn(async move {
        while let Some(message) = waiting.recv().await {
            if sender.write_all(&message).await.is_err() {
                return;
            }
        }
    });
    let mut begun = Vec::with_capacity(count);
    pace(rate, count, |_| {
        begun.push(Instant::now());
        messages.send(vec![1; bytes]).context("the stream has ended")
    })?;
    collect(&begun, &sightings)
}

/// Sends `bytes` bytes over a stream. Returns the time from the first byte to the last, in
/// milliseconds.
pub fn transfer(bytes: usize) -> Result<f64> {
    let runtime = runtime()?;
    let (_server, _client, mut sender, mut receiver) = runtime.block_on(connected())?;
    let start = Instant::now();
    let read = runtime.spawn(async move {
        let mut left = bytes;
        while left > 0 {
            let chunk =
                receiver.read_chunk(usize::MAX, true).await?.context("the stream has ended")?;
            left -= chunk.bytes.len();
        }
        anyhow::Ok(Instant::now())
    });
    runtime.spawn(async move {
        let data = vec![1; bytes];
        // The reader reports an error, so this result is ignored.
        let _ = sender.write_all(&data).await;
        let _ = sender.finish();
        let _ = sender.stopped().await;
    });
    let end = runtime.block_on(read)??;
    Ok(end.duration_since(start).as_secs_f64() * 1e3)
}

/// A stream between two endpoints. It has been used once, so the handshake is over.
async fn connected() -> Result<(Endpoint, Endpoint, quinn::SendStream, quinn::RecvStream)> {
    let identity = rcgen::generate_simple_self_signed(vec!["bench".to_owned()])?;
    let certificate = CertificateDer::from(identity.cert);
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let server =
        Endpoint::server(ServerConfig::with_crypto(Arc::new(tls)), "127.0.0.1:0".parse()?)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = Endpoint::client("127.0.0.1:0".parse()?)?;
    client.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)));
    let accepting = tokio::spawn({
        let server = server.clone();
        async move {
            let connection = server.accept().await.context("the endpoint is closed")?.await?;
            let (_, mut receiver) = connection.accept_bi().await?;
            receiver.read_exact(&mut [0]).await?;
            anyhow::Ok(receiver)
        }
    });
    let connection = client.connect(server.local_addr()?, "bench")?.await?;
    let (mut sender, _) = connection.open_bi().await?;
    sender.write_all(&[0]).await?;
    let receiver = accepting.await??;
    Ok((server, client, sender, receiver))
}
