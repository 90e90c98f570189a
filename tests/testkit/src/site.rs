//! A web site on loopback, with or without TLS, that counts who came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Response, Uri, header};
use axum::serve::Listener;
use futures::StreamExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use crate::authority::{Authority, Issued};

/// A server on 127.0.0.1 on a thread of its own, until dropped. What it answers depends on the path:
///
/// - `/big?N`: N mebibytes of `x`;
/// - `/redirect?URL`: status 302 to that URL;
/// - `/echo`: the request's body;
/// - `/simple/NAME/`: a page of a Python index with version 1.0 of NAME;
/// - all else: the method, the path and how many requests there were before.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    authority_pem: Option<String>,
    hits: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// A site without TLS.
    pub fn http() -> Self {
        Self::start(None, None)
    }

    /// A site with TLS, whose certificate is for these names.
    ///
    /// # Panics
    /// When a certificate cannot be made.
    pub fn https(names: &[&str]) -> Self {
        let authority = Authority::new();
        let Issued { certificate, key } = authority.issue(names);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate and key fit");
        Self::start(
            Some(Arc::new(config).into()),
            Some(authority.pem().to_owned()),
        )
    }

    fn start(tls: Option<TlsAcceptor>, authority_pem: Option<String>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a bound socket");
        let hits = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&hits);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(listener, tls, shared, stopped));
        Self {
            address,
            authority_pem,
            hits,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority that its certificate comes from, in PEM.
    ///
    /// # Panics
    /// When it has no TLS.
    pub fn authority_pem(&self) -> &str {
        self.authority_pem.as_deref().expect("a site with TLS")
    }

    /// The requests so far: method and target.
    pub fn hits(&self) -> Vec<String> {
        self.hits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the site's thread panicked"
            );
        }
    }
}

struct TlsListener {
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // Whoever does not speak TLS is not a visitor.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Serves until the other end of `stopped` is dropped; then all connections are, too.
fn serve(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    hits: Arc<Mutex<Vec<String>>>,
    stopped: oneshot::Receiver<Infallible>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("the listener is nonblocking");
        let router = Router::new().fallback(answer).with_state(hits);
        let served = async {
            match tls {
                None => axum::serve(listener, router).await,
                Some(tls) => axum::serve(TlsListener { listener, tls }, router).await,
            }
        };
        tokio::select! {
            served = served => served.expect("serving never ends"),
            _ = stopped => {}
        }
    });
}

async fn answer(
    State(hits): State<Arc<Mutex<Vec<String>>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response<Body> {
    let before = {
        let mut hits = hits.lock().unwrap_or_else(PoisonError::into_inner);
        hits.push(format!("{method} {uri}"));
        hits.len() - 1
    };
    let query = uri.query().unwrap_or_default();
    match uri.path() {
        "/big" => {
            let chunk = Bytes::from(vec![b'x'; 1 << 20]);
            let count = query.parse().unwrap_or(1);
            let chunks = futures::stream::iter(std::iter::repeat_n(chunk, count));
            Response::new(Body::from_stream(chunks.map(Ok::<_, Infallible>)))
        }
        "/redirect" => Response::builder()
            .status(302)
            .header(header::LOCATION, query)
            .body(Body::empty())
            .expect("a target that is a header's value"),
        "/echo" => Response::new(Body::from(body)),
        path if path.starts_with("/simple/") => {
            let name = path.trim_start_matches("/simple/").trim_end_matches('/');
            let file = format!("{name}-1.0-py3-none-any.whl");
            Response::builder()
                .header(header::CONTENT_TYPE, "text/html")
                .body(Body::from(format!(
                    "<!DOCTYPE html><html><body><a href=\"/files/{file}\">{file}</a></body></html>"
                )))
                .expect("a page")
        }
        path => Response::new(Body::from(format!("{method} {path} after {before}"))),
    }
}
