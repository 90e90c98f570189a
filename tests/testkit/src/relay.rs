//! A relay in front of the engine: another address for it, and a cable that can be cut.

use std::io;
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
        let open = Arc::new(Mutex::new(Vec::new()));
        let relay = Self {
            address,
            is_cut: Arc::clone(&is_cut),
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
                forward(&open, client, engine);
            }
        });
        relay
    }

    /// The address, as `DOCKER_HOST` wants it.
    pub fn docker_host(&self) -> String {
        format!("tcp://{}", self.address)
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

fn forward(open: &Mutex<Vec<(TcpStream, UnixStream)>>, client: TcpStream, engine: UnixStream) {
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
    thread::spawn(move || {
        drop(io::copy(&mut client_in, &mut engine_out));
        drop(engine_out.shutdown(Shutdown::Write));
    });
    thread::spawn(move || {
        drop(io::copy(&mut engine_in, &mut client_out));
        drop(client_out.shutdown(Shutdown::Write));
    });
}
