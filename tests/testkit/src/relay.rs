//! A relay in front of the engine: another address for it, and a cable that can be cut.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Forwards TCP connections on loopback to the engine's socket until it is cut or dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    /// The container whose removal is not passed on, so that nothing answers.
    held: Arc<Mutex<Option<String>>>,
    open: Arc<Mutex<Vec<(TcpStream, UnixStream)>>>,
}

/// Where Debian, Ubuntu and Docker's own packages put it.
const ENGINE: &str = "/var/run/docker.sock";

impl Relay {
    /// Begins to listen.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let is_cut = Arc::new(AtomicBool::new(false));
        let held = Arc::new(Mutex::new(None));
        let open = Arc::new(Mutex::new(Vec::new()));
        let relay = Self {
            address,
            is_cut: Arc::clone(&is_cut),
            held: Arc::clone(&held),
            open: Arc::clone(&open),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                if is_cut.load(Ordering::SeqCst) {
                    return; // The listener closes: nothing answers at this address any more.
                }
                let (Ok(client), Ok(engine)) = (client, UnixStream::connect(ENGINE)) else {
                    continue;
                };
                forward(&open, &held, client, engine);
            }
        });
        relay
    }

    /// The address, as `DOCKER_HOST` wants it.
    pub fn docker_host(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// From now on the engine seems to take forever to remove this container.
    pub fn hold_removal(&self, container: &str) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(container.to_owned());
    }

    /// Ends every connection, and answers no more.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        // Wakes the listener so that it closes.
        drop(TcpStream::connect(self.address));
        for (client, engine) in self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            drop(client.shutdown(Shutdown::Both));
            drop(engine.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

fn forward(
    open: &Mutex<Vec<(TcpStream, UnixStream)>>,
    held: &Arc<Mutex<Option<String>>>,
    client: TcpStream,
    engine: UnixStream,
) {
    let copies = (
        client.try_clone(),
        engine.try_clone(),
        client.try_clone(),
        engine.try_clone(),
    );
    let (Ok(mut client_in), Ok(mut engine_out), Ok(mut client_out), Ok(mut engine_in)) = copies
    else {
        return;
    };
    open.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((client, engine));
    let held = Arc::clone(held);
    thread::spawn(move || {
        drop(pass_on(&mut client_in, &mut engine_out, &held));
        drop(engine_out.shutdown(Shutdown::Write));
    });
    thread::spawn(move || {
        drop(io::copy(&mut engine_in, &mut client_out));
        drop(client_out.shutdown(Shutdown::Write));
    });
}

/// Copies requests until one is the removal that is held.
fn pass_on(
    client: &mut TcpStream,
    engine: &mut UnixStream,
    held: &Mutex<Option<String>>,
) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        // A client writes the head of a request at once, as the first bytes of a piece.
        let request = String::from_utf8_lossy(&piece[..length]);
        let held = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if held
            .is_some_and(|container| request.starts_with("DELETE ") && request.contains(&container))
        {
            // It waits for an answer as long as it likes.
            io::copy(client, &mut io::sink())?;
            return Ok(());
        }
        engine.write_all(&piece[..length])?;
    }
}
