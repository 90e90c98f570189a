//! Blobs there and back: what is there already is not sent, what was interrupted goes on.

use std::io::{self, Read};

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use spec::Digest;
use tokio::time::Instant;

use crate::connection::{Access, Answer, Call, SMALL, is_transient, limit_of};
use crate::{Content, Descriptor, RegistryError, Repository, Sink};

/// Bytes that one request uploads. Source: registries on object stores want at least 5 MiB.
const PART: usize = 8 << 20;
/// Bytes that are handed to a sink at a time.
const BATCH: usize = 1 << 20;
/// How often a transfer goes on where it was without another [`BATCH`] of bytes.
const ATTEMPTS: u32 = 5;

impl Repository {
    /// Whether the registry has a blob.
    ///
    /// # Errors
    /// Those of a registry.
    pub async fn has_blob(&self, blob: &Descriptor) -> Result<bool, RegistryError> {
        let url = self.url(&format!("blobs/{}", blob.digest));
        // Whoever asks wants to write next, and one authorization serves both.
        let call = Call::new(Method::HEAD, url, Access::Write, &of_blob(blob.digest));
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::OK => {
                let size = answer.response.headers().get(CONTENT_LENGTH);
                let size = size.and_then(|size| size.to_str().ok()?.parse::<u64>().ok());
                Ok(size.is_none_or(|size| size == blob.size))
            }
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(answer, Access::Write).await),
        }
    }

    /// Uploads a blob that the registry does not have. `done` is told how many bytes are there.
    ///
    /// # Errors
    /// Those of a registry; [`RegistryError::Content`] when the blob cannot be read, or is not
    /// what the descriptor says.
    pub async fn push_blob(
        &self,
        content: &dyn Content,
        blob: &Descriptor,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RegistryError> {
        let mut attempt = 1;
        loop {
            match self.upload(content, blob, done).await {
                // The registry has lost the upload: it begins again.
                Err(RegistryError::NotFound { .. }) if attempt < ATTEMPTS => attempt += 1,
                ended => return ended,
            }
        }
    }

    async fn upload(
        &self,
        content: &dyn Content,
        blob: &Descriptor,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RegistryError> {
        let what = format!("the upload of {}", blob.digest);
        let begin = Call::new(
            Method::POST,
            self.url("blobs/uploads/"),
            Access::Write,
            &what,
        );
        let answer = self.send(&begin).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(self.refusal(answer, Access::Write).await);
        }
        let mut url = self.own_location(&answer)?;
        let mut source = Source::open(content, blob)?;
        let mut last = source.part().await?;
        while source.sent + (last.len() as u64) < blob.size {
            url = self.upload_part(&what, url, source.sent, &last).await?;
            source.sent += last.len() as u64;
            done(source.sent);
            last = source.part().await?;
            if last.is_empty() {
                break;
            }
        }
        source.check()?;
        let sent = source.sent;
        // An empty body, or the only part, or the last one.
        if sent > 0 && !last.is_empty() {
            url = self.upload_part(&what, url, sent, &last).await?;
            last = Bytes::new();
        }
        url.query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let mut end = Call::new(Method::PUT, url, Access::Write, &what);
        end.limit = limit_of(last.len() as u64);
        end.headers.insert(CONTENT_TYPE, OCTETS);
        end.body = last;
        let answer = self.send(&end).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer, Access::Write).await);
        }
        if answer.digest().is_some_and(|found| found != blob.digest) {
            return Err(answer.untrue("it was kept under another digest"));
        }
        done(blob.size);
        Ok(())
    }

    /// Sends one part of an upload, as often as it takes, and says where the next one goes.
    async fn upload_part(
        &self,
        what: &str,
        mut url: Url,
        begin: u64,
        part: &Bytes,
    ) -> Result<Url, RegistryError> {
        let end = begin + part.len() as u64;
        let mut rest = begin;
        let mut attempt = 1;
        loop {
            let at = usize::try_from(rest - begin).unwrap_or(part.len());
            let mut call = Call::new(Method::PATCH, url.clone(), Access::Write, what);
            call.body = part.slice(at..);
            call.limit = limit_of(call.body.len() as u64);
            call.headers.insert(CONTENT_TYPE, OCTETS);
            let range = format!("{rest}-{}", end - 1);
            let range = HeaderValue::from_str(&range).expect("digits are a header");
            call.headers.insert(CONTENT_RANGE, range);
            let failed = match self.send_once(&call).await {
                Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                    return self.own_location(&answer);
                }
                Ok(answer) => {
                    let status = answer.status();
                    let refusal = self.refusal(answer, Access::Write).await;
                    let asks = status == StatusCode::RANGE_NOT_SATISFIABLE;
                    if !asks && !is_transient(status) {
                        return Err(refusal);
                    }
                    refusal
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            if attempt == ATTEMPTS {
                return Err(failed);
            }
            attempt += 1;
            tracing::debug!(what, rest, "an upload was interrupted");
            // Source: OCI distribution specification, the state of an upload.
            let state = Call::new(Method::GET, url.clone(), Access::Write, what);
            let answer = self.send(&state).await?;
            if answer.status() != StatusCode::NO_CONTENT && !answer.status().is_success() {
                return Err(self.refusal(answer, Access::Write).await);
            }
            url = self.own_location(&answer)?;
            rest = received(&answer);
            if rest == end {
                return Ok(url);
            }
            if rest < begin || rest > end {
                return Err(RegistryError::NotFound {
                    what: what.to_owned(),
                });
            }
        }
    }

    /// Downloads a blob, goes on where it was interrupted, and keeps it if it is what the
    /// descriptor says. `done` is told how many bytes are here.
    ///
    /// # Errors
    /// Those of a registry; [`RegistryError::Content`] when it cannot be kept.
    pub async fn pull_blob(
        &self,
        content: &dyn Content,
        blob: &Descriptor,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RegistryError> {
        let url = self.url(&format!("blobs/{}", blob.digest));
        let mut call = Call::new(Method::GET, url, Access::Read, &of_blob(blob.digest));
        call.limit = limit_of(blob.size);
        let mut target = Target::create(content, blob)?;
        // All attempts together may take little more than one: what is slower is not waited for.
        let deadline = Instant::now() + limit_of(blob.size) + SMALL * ATTEMPTS;
        let (mut idle, mut reached) = (1, 0);
        loop {
            match self.download(&call, content, &mut target, done).await {
                Ok(()) => break,
                Err(error) if error.is_transient() => {
                    // Whoever sends a byte at a time would never be done.
                    if target.received() >= reached + BATCH as u64 {
                        (idle, reached) = (1, target.received());
                    } else {
                        idle += 1;
                    }
                    if idle > ATTEMPTS || Instant::now() >= deadline {
                        return Err(error);
                    }
                    tracing::debug!(digest = %blob.digest, %error, "a download was interrupted");
                }
                Err(error) => return Err(error),
            }
        }
        target.finish(self).await
    }

    /// Downloads what is missing.
    async fn download(
        &self,
        call: &Call,
        content: &dyn Content,
        target: &mut Target<'_>,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RegistryError> {
        let size = target.blob.size;
        let begin = target.received();
        let mut call = call.clone();
        if begin > 0 {
            let range = HeaderValue::from_str(&format!("bytes={begin}-"));
            let range = range.expect("digits are a header");
            call.headers.insert(RANGE, range);
        }
        let mut answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if begin > 0 => {
                let range = answer.response.headers().get(CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok()).unwrap_or("");
                if !range.starts_with(&format!("bytes {begin}-")) {
                    return Err(answer.untrue("it is another part than was asked for"));
                }
            }
            // It does not know parts, so all of it comes again.
            StatusCode::OK if begin > 0 => *target = Target::create(content, target.blob)?,
            StatusCode::OK => {}
            _ => return Err(self.refusal(answer, Access::Read).await),
        }
        loop {
            let Some(chunk) = answer.chunk().await? else {
                break;
            };
            if target.received() + chunk.len() as u64 > size {
                return Err(answer.untrue(&format!("it has more than its {size} bytes")));
            }
            target.write(&chunk).await?;
            done(target.received());
        }
        if target.received() < size {
            return Err(RegistryError::Unreachable {
                host: self.name().host().to_owned(),
                why: format!("it ended after {} of {size} bytes", target.received()),
            });
        }
        Ok(())
    }
}

/// Whether a blob on this side is what its descriptor says. A part of it at a time is in memory.
pub(crate) async fn is_whole(content: &dyn Content, blob: &Descriptor) -> bool {
    let Ok(mut source) = Source::open(content, blob) else {
        return false;
    };
    loop {
        match source.part().await {
            Ok(part) if part.is_empty() => return source.check().is_ok(),
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

fn of_blob(digest: Digest) -> String {
    format!("the blob {digest}")
}

/// How many bytes of an upload the registry has. Source: OCI distribution specification: `0-N`.
fn received(answer: &Answer) -> u64 {
    let range = answer.response.headers().get(RANGE);
    let range = range.and_then(|range| range.to_str().ok()).unwrap_or("");
    let end = range.trim_start_matches("bytes=").strip_prefix("0-");
    let end = end.and_then(|end| end.parse::<u64>().ok());
    // `0-0` is what registries say of one byte and of none; a byte again does no harm.
    end.filter(|end| *end > 0)
        .map_or(0, |end| end.saturating_add(1))
}

/// A blob that is read and hashed on its way out.
struct Source<'a> {
    blob: &'a Descriptor,
    reader: Option<Box<dyn Read + Send>>,
    hash: Sha256,
    read: u64,
    sent: u64,
}

impl<'a> Source<'a> {
    fn open(content: &dyn Content, blob: &'a Descriptor) -> Result<Self, RegistryError> {
        let reader = content.open(&blob.digest);
        let reader = reader.map_err(|source| unreadable(blob, source))?;
        Ok(Self {
            blob,
            reader: Some(reader),
            hash: Sha256::new(),
            read: 0,
            sent: 0,
        })
    }

    /// The next bytes; empty at the end.
    async fn part(&mut self) -> Result<Bytes, RegistryError> {
        let Some(mut reader) = self.reader.take() else {
            return Ok(Bytes::new());
        };
        let read = blocking(move || {
            let mut part = Vec::new();
            let read = (&mut reader).take(PART as u64).read_to_end(&mut part);
            read.map(|_| (part, reader))
        });
        let (part, reader) = read.await.map_err(|source| unreadable(self.blob, source))?;
        if !part.is_empty() {
            self.reader = Some(reader);
        }
        self.hash.update(&part);
        self.read += part.len() as u64;
        if self.read > self.blob.size {
            return Err(self.changed());
        }
        Ok(part.into())
    }

    /// Whether what was read is what the descriptor says.
    fn check(&self) -> Result<(), RegistryError> {
        let digest = Digest::from_sha256(self.hash.clone().finalize().into());
        if self.read == self.blob.size && digest == self.blob.digest {
            return Ok(());
        }
        Err(self.changed())
    }

    fn changed(&self) -> RegistryError {
        let source = io::Error::new(
            io::ErrorKind::InvalidData,
            "its bytes are not those that its digest and size say",
        );
        unreadable(self.blob, source)
    }
}

fn unreadable(blob: &Descriptor, source: io::Error) -> RegistryError {
    RegistryError::Content {
        action: "read",
        digest: blob.digest,
        source,
    }
}

fn unkept(blob: &Descriptor, source: io::Error) -> RegistryError {
    RegistryError::Content {
        action: "kept",
        digest: blob.digest,
        source,
    }
}

/// A blob that is hashed and kept on its way in.
struct Target<'a> {
    blob: &'a Descriptor,
    sink: Option<Box<dyn Sink>>,
    hash: Sha256,
    batch: Vec<u8>,
    written: u64,
}

impl<'a> Target<'a> {
    fn create(content: &dyn Content, blob: &'a Descriptor) -> Result<Self, RegistryError> {
        let sink = content.create().map_err(|source| unkept(blob, source))?;
        Ok(Self {
            blob,
            sink: Some(sink),
            hash: Sha256::new(),
            batch: Vec::new(),
            written: 0,
        })
    }

    fn received(&self) -> u64 {
        self.written + self.batch.len() as u64
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        self.hash.update(bytes);
        self.batch.extend_from_slice(bytes);
        if self.batch.len() >= BATCH {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), RegistryError> {
        let (batch, sink) = (std::mem::take(&mut self.batch), self.sink.take());
        let Some(mut sink) = sink else {
            return Err(unkept(self.blob, io::ErrorKind::BrokenPipe.into()));
        };
        self.written += batch.len() as u64;
        let kept = blocking(move || sink.write_all(&batch).map(|()| sink)).await;
        self.sink = Some(kept.map_err(|source| unkept(self.blob, source))?);
        Ok(())
    }

    async fn finish(mut self, repository: &Repository) -> Result<(), RegistryError> {
        let found = Digest::from_sha256(self.hash.clone().finalize().into());
        if found != self.blob.digest {
            return Err(RegistryError::Untrue {
                host: repository.name().host().to_owned(),
                what: of_blob(self.blob.digest),
                why: format!("its bytes have the digest {found}"),
            });
        }
        self.flush().await?;
        let (blob, sink) = (self.blob, self.sink.take());
        if let Some(sink) = sink {
            let kept = blocking(move || sink.finish()).await;
            kept.map_err(|source| unkept(blob, source))?;
        }
        Ok(())
    }
}

/// Does what blocks where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(io::Error::other(error)))
}
