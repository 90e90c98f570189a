//! Hosts to reach, a program that reaches them, and the proxy in between.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use egress::{Answer, Exchange, Ledger, MemoryBodies, Policy, Proxy, Resolver, Timeouts, Upstream};
use futures::future::BoxFuture;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Longer than anything here takes; reached only by a hang.
pub(crate) const HANG: Duration = Duration::from_secs(60);

pub(crate) type OriginBody = BoxBody<Bytes, io::Error>;
type Handler =
    Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<OriginBody>> + Send + Sync>;

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> OriginBody {
    Full::new(bytes.into()).map_err(|e| match e {}).boxed()
}

/// The authority that the hosts' certificates come from.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        roots
    }

    fn server(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap()
    }
}

/// A host on loopback.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _jobs: JoinSet<()>,
}

impl Origin {
    /// Answers plain HTTP.
    pub(crate) async fn http<F, R>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<OriginBody>> + Send + 'static,
    {
        Self::start(None, Arc::new(move |request| Box::pin(handler(request)))).await
    }

    /// Answers HTTPS with a certificate for this name.
    pub(crate) async fn https<F, R>(authority: &Authority, name: &str, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<OriginBody>> + Send + 'static,
    {
        let tls = TlsAcceptor::from(Arc::new(authority.server(name)));
        Self::start(Some(tls), Arc::new(move |r| Box::pin(handler(r)))).await
    }

    /// Does with each connection what it is told to.
    pub(crate) async fn raw<F, R>(serve: F) -> Self
    where
        F: Fn(tokio::net::TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let mut jobs = JoinSet::new();
        jobs.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                served.spawn(serve(stream));
            }
        });
        Self {
            address,
            connections,
            _jobs: jobs,
        }
    }

    async fn start(tls: Option<TlsAcceptor>, handler: Handler) -> Self {
        Self::raw(move |stream| {
            let tls = tls.clone();
            let handler = Arc::clone(&handler);
            async move {
                match tls {
                    None => answer(stream, handler).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, handler).await;
                        }
                    }
                }
            }
        })
        .await
    }

    /// Connections that were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn answer<S>(stream: S, handler: Handler)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler(request).await) }
    });
    // What the proxy makes of a bad end is seen on its other side.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

/// A resolver that gives these answers, one after the other, then the last one for ever.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers
            .iter()
            .map(|answer| answer.iter().map(|a| a.parse().unwrap()).collect());
        Arc::new(Self {
            answers: Mutex::new(answers.collect()),
            asked: AtomicUsize::new(0),
        })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolver for Scripted {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// A policy that grants these hosts and maps these names.
pub(crate) fn policy(allow: &[&str], hosts: &[(&str, SocketAddr)]) -> Policy {
    Policy {
        allow: allow.iter().map(|rule| rule.parse().unwrap()).collect(),
        hosts: hosts
            .iter()
            .map(|(name, address)| ((*name).to_owned(), *address))
            .collect(),
        timeouts: Timeouts {
            connect: Duration::from_millis(500),
            ..Timeouts::default()
        },
        ..Policy::default()
    }
}

/// A proxy, and a program behind it.
pub(crate) struct Sandbox {
    pub(crate) proxy: Proxy,
    pub(crate) bodies: MemoryBodies,
    connections: JoinSet<()>,
}

/// What the program got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) is_whole: bool,
}

impl Got {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) type Client = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

impl Sandbox {
    pub(crate) fn live(policy: Policy, roots: RootCertStore) -> Self {
        Self::resolving(policy, roots, Scripted::new(&[]))
    }

    pub(crate) fn resolving(
        policy: Policy,
        roots: RootCertStore,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let bodies = MemoryBodies::default();
        let upstream = Upstream::new(roots, resolver).unwrap();
        let proxy = Proxy::live(policy, Arc::new(bodies.clone()), upstream).unwrap();
        Self::new(proxy, bodies)
    }

    /// A program behind a replay.
    pub(crate) fn replay(exchanges: Vec<Exchange>, bodies: MemoryBodies) -> Self {
        let proxy = Proxy::replay(exchanges, Arc::new(bodies.clone())).unwrap();
        Self::new(proxy, bodies)
    }

    fn new(proxy: Proxy, bodies: MemoryBodies) -> Self {
        Self {
            proxy,
            bodies,
            connections: JoinSet::new(),
        }
    }

    /// A connection to the proxy.
    pub(crate) fn dial(&mut self) -> DuplexStream {
        let (mine, its) = tokio::io::duplex(16 << 10);
        let proxy = self.proxy.clone();
        self.connections
            .spawn(async move { proxy.serve(its).await });
        mine
    }

    /// Sends bytes and reads all that comes back.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> String {
        let mut stream = self.dial();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(HANG, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// An HTTP client of the proxy itself.
    pub(crate) async fn client(&mut self) -> Client {
        let stream = self.dial();
        self.speak(stream).await
    }

    pub(crate) async fn speak<S>(&mut self, stream: S) -> Client
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        self.connections.spawn(async move {
            // How it ends is seen by the requests on it.
            drop(connection.await);
        });
        client
    }

    /// Asks for a tunnel: the answer's head and, when it is 200, the stream.
    pub(crate) async fn connect(&mut self, target: &str) -> (String, DuplexStream) {
        let mut stream = self.dial();
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap(), stream)
    }

    /// What the program trusts.
    pub(crate) fn trust(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let pem = self.proxy.certificates_pem().as_bytes();
        roots
            .add(CertificateDer::from_pem_slice(pem).unwrap())
            .unwrap();
        roots
    }

    /// Speaks TLS on a tunnel, naming this host.
    pub(crate) async fn tls(
        roots: RootCertStore,
        name: &str,
        stream: DuplexStream,
    ) -> io::Result<tokio_rustls::client::TlsStream<DuplexStream>> {
        let config = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// An HTTP client of a host, by TLS that the proxy terminates.
    pub(crate) async fn https(&mut self, target: &str) -> Client {
        let (head, stream) = self.connect(target).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let name = target.split(':').next().unwrap();
        let stream = Self::tls(self.trust(), name, stream).await.unwrap();
        self.speak(stream).await
    }

    /// One request to a plain host, on a connection of its own.
    pub(crate) async fn get(&mut self, url: &str) -> Got {
        let mut client = self.client().await;
        let host = url.split('/').nth(2).unwrap();
        let request = Request::get(url).header("host", host);
        send(&mut client, request.body(Full::default()).unwrap()).await
    }

    /// One request to a host by TLS, on a connection of its own.
    pub(crate) async fn get_https(&mut self, host: &str, path: &str) -> Got {
        let mut client = self.https(&format!("{host}:443")).await;
        let request = Request::get(path).header("host", host);
        send(&mut client, request.body(Full::default()).unwrap()).await
    }

    /// What is written down once all connections are closed.
    pub(crate) async fn ledger(mut self) -> (Ledger, MemoryBodies) {
        let closed = async { while self.connections.join_next().await.is_some() {} };
        tokio::time::timeout(HANG, closed).await.unwrap();
        (self.proxy.ledger(), self.bodies)
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn send(client: &mut Client, request: Request<Full<Bytes>>) -> Got {
    try_send(client, request).await.unwrap()
}

/// Sends a request and reads as much of the answer as there is.
pub(crate) async fn try_send(
    client: &mut Client,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Got> {
    tokio::time::timeout(HANG, client.ready()).await.unwrap()?;
    let response = tokio::time::timeout(HANG, client.send_request(request))
        .await
        .unwrap()?;
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    let mut is_whole = true;
    while let Some(frame) = tokio::time::timeout(HANG, incoming.frame()).await.unwrap() {
        let Ok(frame) = frame else {
            is_whole = false;
            break;
        };
        body.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    Ok(Got {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        is_whole,
    })
}

/// The answers of a ledger, in short: `METHOD URL how`.
pub(crate) fn summary(ledger: &Ledger) -> Vec<String> {
    ledger
        .exchanges
        .iter()
        .map(|exchange| {
            let answer = match &exchange.answer {
                Answer::Response { status, cut, .. } => match cut {
                    None => format!("{status}"),
                    Some(why) => format!("{status} cut: {why}"),
                },
                Answer::Refused { status, reason } => format!("refused {status}: {reason}"),
                Answer::Failed { status, reason } => format!("failed {status}: {reason}"),
                Answer::Closed { reason } => format!("closed: {reason}"),
                Answer::Unrecorded { reason } => format!("unrecorded: {reason}"),
            };
            format!("{} {} {answer}", exchange.method, exchange.url)
        })
        .collect()
}
