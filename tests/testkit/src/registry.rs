//! Registries on loopback: Debian's own `docker-registry`, and one that says whatever a test wants.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::authority::{Authority, Issued};

/// A line of an htpasswd file, as registries take it: the user `me` with the password `secret`.
pub const HTPASSWD: &str = "me:$2b$05$aw8TQ4FCyA/5TgDUgntReuwM1ervfzOh5VJIkBS3FJIgOk9Vc3yKq";

/// Debian's `docker-registry` with a configuration of its own. It ends with the value.
#[derive(Debug)]
pub struct RegistryServer {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl RegistryServer {
    /// Starts one, where the program is installed; `extra` is added to its configuration.
    ///
    /// # Panics
    /// When it is installed and does not start, or is missing where tests may not be skipped.
    pub fn start(extra: &str) -> Option<Self> {
        Self::start_as(None, extra)
    }

    /// The same with TLS, and a certificate for these names and 127.0.0.1.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_tls(authority: &Authority, names: &[&str], extra: &str) -> Option<Self> {
        let issued = authority.issue(&[names, &["127.0.0.1"]].concat());
        Self::start_as(Some(&issued), extra)
    }

    #[expect(clippy::print_stderr, reason = "a skip must be seen")]
    fn start_as(tls: Option<&Issued>, extra: &str) -> Option<Self> {
        let found = Command::new("docker-registry").arg("--version").output();
        if found.is_err() {
            assert!(!crate::env::is_required(), "docker-registry is missing");
            eprintln!("SKIPPED: there is no docker-registry");
            return None;
        }
        let folder = TempDir::new().expect("a temporary folder");
        let tls = tls.map_or(String::new(), |issued| {
            let files = [
                ("certificate", issued.certificate.pem()),
                ("key", issued.key.serialize_pem()),
            ];
            let named = files.map(|(name, pem)| {
                let file = folder.path().join(format!("{name}.pem"));
                std::fs::write(&file, pem).expect("a file");
                format!("{name}: '{}'", file.display())
            });
            format!(", tls: {{{}}}", named.join(", "))
        });
        // Somebody else may take the port between here and its start: then it is tried again.
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = listener.local_addr().expect("an address").port();
            drop(listener);
            if let Some(child) = Self::serve(folder.path(), port, &tls, extra) {
                return Some(Self {
                    child,
                    port,
                    folder,
                });
            }
        }
        panic!("docker-registry does not start");
    }

    fn serve(folder: &Path, port: u16, tls: &str, extra: &str) -> Option<Child> {
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}', secret: test{tls}}}\n{extra}\n",
            folder.join("data").display()
        );
        let file = folder.join("registry.yml");
        std::fs::write(&file, config).expect("the configuration is written");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let stderr = child.stderr.take();
        let mut lines = BufReader::new(stderr.expect("it is piped")).lines();
        let listens = lines.any(|line| line.is_ok_and(|line| line.contains("listening on")));
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        if listens {
            return Some(child);
        }
        drop(child.wait());
        None
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file of a blob that it keeps.
    pub fn blob(&self, hex: &str) -> std::path::PathBuf {
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs");
        blobs.join("sha256").join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A request that a [`ScriptedServer`] got.
#[derive(Clone, Debug)]
pub struct ServerRequest {
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What it uploaded.
    pub body: Vec<u8>,
}

/// What a [`ScriptedServer`] answers.
#[derive(Clone, Debug)]
pub struct ServerReply {
    /// The status and its headers, without `Content-Length`.
    pub head: String,
    /// What comes first.
    pub body: Vec<u8>,
    /// The length that is said, if it is not that of the body.
    pub says: Option<u64>,
    /// What comes after the body.
    pub then: Then,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection is closed.
    Close,
    /// Zeros without an end.
    Endless,
    /// A byte now and then, without an end.
    Drip,
}

impl ServerReply {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self {
            head: format!("HTTP/1.1 {status} X\r\n"),
            body: Vec::new(),
            says: None,
            then: Then::Close,
        }
    }

    /// Status 200 with a body.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::status(200)
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        for part in [name, ": ", value, "\r\n"] {
            self.head.push_str(part);
        }
        self
    }

    /// Says another length than it has.
    #[must_use]
    pub fn saying(mut self, length: u64) -> Self {
        self.says = Some(length);
        self
    }

    /// Ends otherwise.
    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// A server on loopback that answers each request as a test says.
#[derive(Debug)]
pub struct ScriptedServer {
    host: String,
    seen: Arc<Mutex<Vec<ServerRequest>>>,
}

impl ScriptedServer {
    /// Starts one. It ends with the process.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start(answer: impl Fn(&ServerRequest) -> ServerReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let seen: Arc<Mutex<Vec<ServerRequest>>> = Arc::default();
        let (answer, known) = (Arc::new(answer), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, known) = (Arc::clone(&answer), Arc::clone(&known));
                std::thread::spawn(move || {
                    let Some(request) = read_request(&stream) else {
                        return;
                    };
                    let mut seen = known.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push(request.clone());
                    drop(seen);
                    // A client that has seen enough goes away.
                    drop(write_reply(stream, &request, &answer(&request)));
                });
            }
        });
        Self { host, seen }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<ServerRequest> {
        let seen = self.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<ServerRequest> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(ServerRequest {
        method,
        target,
        headers,
        body,
    })
}

fn write_reply(
    mut stream: TcpStream,
    request: &ServerRequest,
    reply: &ServerReply,
) -> std::io::Result<()> {
    let length = reply.says.unwrap_or(reply.body.len() as u64);
    let length = match reply.then {
        Then::Close => format!("Content-Length: {length}\r\n"),
        Then::Endless | Then::Drip => String::new(),
    };
    let head = format!("{}Connection: close\r\n{length}\r\n", reply.head);
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    stream.write_all(&reply.body)?;
    match reply.then {
        Then::Close => Ok(()),
        Then::Endless => loop {
            stream.write_all(&[0; 4096])?;
        },
        Then::Drip => loop {
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(&[0])?;
        },
    }
}
