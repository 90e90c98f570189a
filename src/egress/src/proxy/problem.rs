//! Answers of our own: what was not done, and why.

use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use spec::printable;

use super::body::Passing;
use crate::Answer;

/// Characters of an error's text that a program and a record get.
const REASON_CHARS: usize = 500;

/// Why a request got no answer from its host.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    kind: Kind,
    status: StatusCode,
    reason: String,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Refused,
    Failed,
    Unrecorded,
}

impl Problem {
    /// Something that is not allowed.
    pub(super) fn forbidden(reason: impl Into<String>) -> Self {
        Self::refused(StatusCode::FORBIDDEN, reason)
    }

    /// Something that is not allowed, or not understood.
    pub(super) fn refused(status: StatusCode, reason: impl Into<String>) -> Self {
        Self::new(Kind::Refused, status, &reason.into())
    }

    /// Something that is allowed and did not work.
    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self::new(Kind::Failed, StatusCode::BAD_GATEWAY, &reason.into())
    }

    /// Something that took too long.
    pub(super) fn late(reason: impl Into<String>) -> Self {
        Self::new(Kind::Failed, StatusCode::GATEWAY_TIMEOUT, &reason.into())
    }

    /// Something that a replay does not have.
    pub(super) fn unrecorded(reason: impl Into<String>) -> Self {
        Self::new(Kind::Unrecorded, StatusCode::BAD_GATEWAY, &reason.into())
    }

    /// The problem of a recorded exchange; none if it got an answer from its host.
    pub(super) fn recorded(answer: &Answer) -> Option<Self> {
        let status = |status: u16| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        match answer {
            Answer::Refused { status: s, reason } => Some(Self::refused(status(*s), reason)),
            Answer::Failed { status: s, reason } => {
                Some(Self::new(Kind::Failed, status(*s), reason))
            }
            Answer::Unrecorded { reason } => Some(Self::unrecorded(reason)),
            Answer::Response { .. } | Answer::Closed { .. } => None,
        }
    }

    fn new(kind: Kind, status: StatusCode, reason: &str) -> Self {
        Self {
            kind,
            status,
            // A recorded reason has been through this already, and comes out as it was.
            reason: if reason.bytes().all(|b| (b' '..=b'~').contains(&b)) {
                reason.chars().take(REASON_CHARS).collect()
            } else {
                printable(reason, REASON_CHARS)
            },
        }
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// As it is written down.
    pub(super) fn answer(&self) -> Answer {
        let reason = self.reason.clone();
        let status = self.status.as_u16();
        match self.kind {
            Kind::Refused => Answer::Refused { status, reason },
            Kind::Failed => Answer::Failed { status, reason },
            Kind::Unrecorded => Answer::Unrecorded { reason },
        }
    }

    /// As the program gets it. The reason is also the reason phrase, because that is all that
    /// most clients show of a refused CONNECT.
    pub(super) fn response(&self) -> Response<Passing> {
        let mut response = Response::new(Passing::from(format!("{}\n", self.reason)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if let Ok(phrase) = ReasonPhrase::try_from(self.reason.as_bytes()) {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}

/// An error with everything that caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}
