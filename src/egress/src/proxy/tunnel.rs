//! Tunnels to opaque hosts: only the first message is read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::time::{Instant, sleep, timeout};

use super::budget::Meter;
use super::connection::check_sni;
use super::ledger::Book;
use super::problem::chain;
use super::world::{Route, World};
use crate::Tunnel;
use crate::host::Authority;

/// Source: a TLS record has at most 16 KiB; post-quantum keys make a first message of some 2 KiB.
const HELLO_BYTES: usize = 32 << 10;

/// A tunnel that is under way. It is written down when it ends, or when it is dropped.
struct Open<'t> {
    book: &'t Book,
    authority: &'t Authority,
    meter: Arc<Meter>,
    started: Instant,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed().as_millis();
        self.book.end_tunnel(Tunnel {
            host: self.authority.host.to_string(),
            port: self.authority.port,
            up_bytes: self.meter.up(),
            down_bytes: self.meter.down(),
            duration_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
        });
    }
}

/// Carries a TLS connection to its host, unread. An error says why it came to no tunnel.
pub(super) async fn run<S>(
    book: &Arc<Book>,
    world: &World,
    authority: &Authority,
    route: &Route,
    mut stream: S,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let timeouts = world.policy().timeouts;
    let started = Instant::now();
    let hello = match timeout(timeouts.handshake, read_hello(&mut stream, authority)).await {
        Err(_) => return Err("no TLS handshake came in time".to_owned()),
        Ok(hello) => hello?,
    };
    let mut host = world
        .dial(route, authority)
        .await
        .map_err(|problem| problem.reason().to_owned())?;
    book.open_tunnel()?;
    let meter = host.meter();
    let open = Open {
        book,
        authority,
        meter: Arc::clone(&meter),
        started,
    };
    let carried = async {
        host.write_all(&hello).await?;
        copy_bidirectional(&mut stream, &mut host).await
    };
    // What ends a tunnel is not known to be an error: its content is not read.
    let ended: io::Result<_> = tokio::select! {
        ended = carried => ended,
        () = idle(&meter, timeouts.answer) => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, host = authority.host.as_str(), "a tunnel ended");
    }
    drop(open);
    Ok(())
}

/// Reads the first message and checks for whom it is.
async fn read_hello<S>(stream: &mut S, authority: &Authority) -> Result<Vec<u8>, String>
where
    S: AsyncRead + Unpin,
{
    let mut hello = Vec::new();
    let mut acceptor = Acceptor::default();
    let mut chunk = [0; 4 << 10];
    loop {
        let read = stream
            .read(&mut chunk)
            .await
            .map_err(|error| format!("no TLS handshake came: {}", chain(&error)))?;
        if read == 0 {
            return Err("no TLS handshake came: it was closed".to_owned());
        }
        if hello.len() + read > HELLO_BYTES {
            return Err("its TLS handshake begins with too large a message".to_owned());
        }
        hello.extend_from_slice(&chunk[..read]);
        let mut unread = &chunk[..read];
        while !unread.is_empty() {
            // It takes what it has room for; it has looked at that before it takes more.
            if let Err(error) = acceptor.read_tls(&mut unread) {
                return Err(format!("no TLS handshake came: {}", chain(&error)));
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    check_sni(accepted.client_hello().server_name(), authority)?;
                    return Ok(hello);
                }
                Err((error, _)) => {
                    return Err(format!("no TLS handshake came: {}", chain(&error)));
                }
            }
        }
    }
}

/// Returns when nothing has gone through for so long.
async fn idle(meter: &Meter, patience: Duration) {
    let mut seen = meter.both();
    loop {
        sleep(patience).await;
        let now = meter.both();
        if now == seen {
            return;
        }
        seen = now;
    }
}
