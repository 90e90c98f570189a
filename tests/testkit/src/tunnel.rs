//! An HTTP proxy on loopback behind which every name is one server.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Answers `CONNECT` alone, with a connection to that server. It ends with the process.
#[derive(Debug)]
pub struct Tunnel {
    host: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    /// Starts one that leads to this address.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (known, to) = (Arc::clone(&seen), to.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (known, to) = (Arc::clone(&known), to.clone());
                // A client that goes away ends its connection, and nothing else.
                thread::spawn(move || drop(carry(client, &to, &known)));
            }
        });
        Self { host, seen }
    }

    /// Its address, as `HTTPS_PROXY` wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// The places that were asked for, `HOST:PORT`.
    pub fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn carry(client: TcpStream, to: &str, known: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    from_client.read_line(&mut request)?;
    let mut line = String::new();
    while from_client.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut to_client = client;
    let Some(place) = request
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next())
    else {
        return to_client.write_all(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n");
    };
    let mut seen = known.lock().unwrap_or_else(PoisonError::into_inner);
    seen.push(place.to_owned());
    drop(seen);
    let mut to_server = TcpStream::connect(to)?;
    let mut from_server = to_server.try_clone()?;
    to_client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let back = thread::spawn(move || {
        drop(io::copy(&mut from_server, &mut to_client));
        drop(to_client.shutdown(Shutdown::Write));
    });
    drop(io::copy(&mut from_client, &mut to_server));
    drop(to_server.shutdown(Shutdown::Write));
    drop(back.join());
    Ok(())
}
