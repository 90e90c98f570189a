//! The way through a proxy that stands between this machine and the world.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::budget::Metered;
use super::problem::{Problem, chain};
use crate::NextProxy;
use crate::host::Authority;

/// Bytes of a proxy's answer.
const HEAD_BYTES: usize = 16 << 10;

/// Has a proxy open a tunnel to a host. Source: RFC 9110, section 9.3.6.
pub(super) async fn tunnel(
    stream: Metered<TcpStream>,
    next: &NextProxy,
    authority: &Authority,
) -> Result<Metered<TcpStream>, Problem> {
    let failed = |why: &str| {
        Problem::failed(format!(
            "the proxy of this machine opens no way to {authority}: {why}"
        ))
    };
    let place = format!("{}:{}", authority.host, authority.port);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = place
        .parse::<Uri>()
        .map_err(|error| failed(&chain(&error)))?;
    let host = place.parse().map_err(|_| failed("its name is no header"))?;
    request.headers_mut().insert(header::HOST, host);
    if let Some(authorization) = &next.authorization {
        let value = authorization.header();
        let name = header::PROXY_AUTHORIZATION;
        request.headers_mut().insert(name, value);
    }
    let mut builder = http1::Builder::new();
    let handshake = builder
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream));
    let opened = handshake.await;
    let (mut sender, connection) = opened.map_err(|error| failed(&chain(&error)))?;
    let asking = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| failed(&chain(&error)))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::PROXY_AUTHENTICATION_REQUIRED if next.authorization.is_some() => {
                return Err(failed("it refuses the password (407)"));
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(failed("it wants a password (407)"));
            }
            other => return Err(failed(&format!("it refuses ({})", other.as_u16()))),
        }
        let upgraded = hyper::upgrade::on(answer).await;
        upgraded.map_err(|error| failed(&chain(&error)))
    };
    tokio::pin!(asking);
    // The connection is what carries the request; the answer decides. A proxy that refuses may hold its
    // side open, so nothing waits for that.
    let upgraded = tokio::select! {
        upgraded = &mut asking => upgraded,
        _ = connection.with_upgrades() => asking.await,
    };
    let parts = upgraded?.downcast::<TokioIo<Metered<TcpStream>>>();
    let parts = parts.map_err(|_| failed("its connection cannot be used"))?;
    if parts.read_buf.is_empty() {
        return Ok(parts.io.into_inner());
    }
    Err(failed("something speaks before it is asked"))
}
