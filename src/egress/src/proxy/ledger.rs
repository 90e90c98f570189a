//! What is written down while the run goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::{Answer, Body, Exchange, Headers, Ledger, Tunnel};

/// Bytes of URLs, headers and reasons of one run: they are held in memory and in the run's record.
const TEXT_BYTES: usize = 32 << 20;

/// The ledger of a run, which takes only so much.
#[derive(Debug)]
pub(super) struct Book {
    exchanges_max: u32,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    ledger: Ledger,
    admitted: u32,
    text_bytes: usize,
}

impl Book {
    pub(super) fn new(exchanges_max: u32) -> Arc<Self> {
        Arc::new(Self {
            exchanges_max,
            pages: Mutex::default(),
        })
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.pages().ledger.clone()
    }

    pub(super) fn exchanges_since(&self, from: usize) -> Vec<Exchange> {
        let pages = self.pages();
        pages
            .ledger
            .exchanges
            .get(from..)
            .unwrap_or_default()
            .to_vec()
    }

    /// Opens an exchange, or says why there can be no more.
    pub(super) fn open(
        self: &Arc<Self>,
        method: String,
        url: String,
        headers: Headers,
    ) -> Result<Open, String> {
        let text_bytes = method.len()
            + url.len()
            + headers
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>();
        self.admit(text_bytes)?;
        Ok(Open {
            book: Arc::clone(self),
            started: Instant::now(),
            exchange: Some(Exchange {
                method,
                url,
                headers,
                body: None,
                answer: Answer::Closed {
                    reason: "the connection ended before the answer".to_owned(),
                },
                duration_ms: 0,
                bytes: 0,
            }),
        })
    }

    /// Opens a tunnel, or says why there can be no more.
    pub(super) fn open_tunnel(self: &Arc<Self>) -> Result<(), String> {
        self.admit(0)
    }

    pub(super) fn end_tunnel(&self, tunnel: Tunnel) {
        let mut pages = self.pages();
        pages.ledger.open -= 1;
        pages.ledger.tunnels.push(tunnel);
    }

    /// Counts what is turned away without being written down.
    pub(super) fn turn_away(&self) {
        let mut pages = self.pages();
        pages.ledger.turned_away = pages.ledger.turned_away.saturating_add(1);
    }

    fn admit(&self, text_bytes: usize) -> Result<(), String> {
        let mut pages = self.pages();
        let reason = if pages.admitted >= self.exchanges_max {
            format!(
                "this run has used up its {} requests; a larger budget would be needed",
                self.exchanges_max
            )
        } else if pages.text_bytes.saturating_add(text_bytes) > TEXT_BYTES {
            "the headers of this run's requests fill its record".to_owned()
        } else {
            pages.admitted += 1;
            pages.ledger.open += 1;
            pages.text_bytes += text_bytes;
            return Ok(());
        };
        pages.ledger.turned_away = pages.ledger.turned_away.saturating_add(1);
        Err(reason)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange that is under way. It is written down when it ends, or when it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    book: Arc<Book>,
    started: Instant,
    exchange: Option<Exchange>,
}

impl Open {
    /// Writes it down.
    pub(super) fn end(mut self, body: Option<Body>, answer: Answer, bytes: u64) {
        if let Some(exchange) = &mut self.exchange {
            exchange.body = body;
            exchange.answer = answer;
            exchange.bytes = bytes;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let elapsed = self.started.elapsed().as_millis();
        exchange.duration_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let mut pages = self.book.pages();
        pages.text_bytes += match &exchange.answer {
            Answer::Response { headers, .. } => headers
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum(),
            Answer::Refused { reason, .. }
            | Answer::Failed { reason, .. }
            | Answer::Closed { reason }
            | Answer::Unrecorded { reason } => reason.len(),
        };
        pages.ledger.open -= 1;
        pages.ledger.exchanges.push(exchange);
    }
}
