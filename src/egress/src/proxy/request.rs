//! What the program asks for.

use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use spec::printable;

use super::problem::Problem;
use crate::Headers;
use crate::host::{Authority, Scheme};

/// The most of a hostile text that a record repeats, in characters.
const SHOWN_CHARS: usize = 1_000;

/// Headers that are between two neighbours. Source: RFC 9110, section 7.6.1, and the old
/// `Proxy-Connection` and `Keep-Alive`; `Trailer`, because trailers are dropped.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Where a request arrived.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// On the connection to the proxy itself.
    Proxy,
    /// In a TLS connection that the program believes to be with this host.
    Host(Authority),
}

/// A request that could be sent on, if it were allowed.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    /// Path and query, as the program wrote them.
    pub(super) target: Uri,
    /// What goes to the host.
    pub(super) headers: HeaderMap,
    /// Whether the program sends its body only when it is told to go on.
    pub(super) expects_continue: bool,
}

impl Asked {
    /// Understands a request, or says what is wrong with it.
    pub(super) fn of<B>(request: &Request<B>, place: &Place) -> Result<Self, Problem> {
        let bad = |reason: &str| Problem::refused(StatusCode::BAD_REQUEST, reason);
        let uri = request.uri();
        let (scheme, authority) = match place {
            Place::Proxy => (Scheme::Http, Self::absolute(uri)?),
            Place::Host(authority) => {
                check_host(uri, request.headers(), authority)?;
                (Scheme::Https, authority.clone())
            }
        };
        let target = match uri.path_and_query().map_or("/", |target| target.as_str()) {
            query if query.starts_with('?') => format!("/{query}"),
            target if target.starts_with('/') => target.to_owned(),
            _ => return Err(bad("a request needs a path")),
        };
        if !is_chunked_alone(request.headers()) {
            return Err(Problem::refused(
                StatusCode::NOT_IMPLEMENTED,
                "this proxy knows no transfer coding but `chunked`",
            ));
        }
        if request
            .headers()
            .get(header::UPGRADE)
            .is_some_and(|value| value != "h2c")
        {
            return Err(Problem::refused(
                StatusCode::NOT_IMPLEMENTED,
                "this proxy cannot switch a connection to another protocol; \
                 the host would have to be listed as opaque",
            ));
        }
        let mut headers = end_to_end(request.headers());
        // The proxy answers an expectation itself, when it begins to read the body.
        let expects_continue = headers.remove(header::EXPECT).is_some();
        let host = HeaderValue::from_str(&host_header(scheme, &authority))
            .map_err(|_| bad("the host cannot be sent"))?;
        headers.insert(header::HOST, host);
        Ok(Self {
            method: request.method().clone(),
            scheme,
            target: target.parse().map_err(|_| bad("the path cannot be sent"))?,
            authority,
            headers,
            expects_continue,
        })
    }

    /// The part of the content that it asks for, where it is not the whole.
    pub(super) fn range(&self) -> Option<String> {
        range_of(&recorded(&self.headers))
    }

    fn absolute(uri: &Uri) -> Result<Authority, Problem> {
        let bad = |reason: &str| Problem::refused(StatusCode::BAD_REQUEST, reason);
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => {
                Authority::parse(authority.as_str(), Some(Scheme::Http.port()))
                    .map_err(|error| Problem::forbidden(error.to_string()))
            }
            (Some("https"), Some(_)) => Err(bad("an https URL needs a CONNECT to its host first")),
            (Some(_), _) => Err(bad("this proxy carries http and https alone")),
            (None, _) => Err(bad("this is a proxy; a request to it needs a whole URL")),
        }
    }

    /// As it is recorded and matched.
    pub(super) fn url(&self) -> String {
        let host = host_header(self.scheme, &self.authority);
        format!("{}://{host}{}", self.scheme.name(), self.target)
    }
}

/// The part of the content that a request with these headers asks for.
pub(super) fn range_of(headers: &Headers) -> Option<String> {
    let mut headers = headers.iter();
    let range = headers.find(|(name, _)| name == header::RANGE.as_str());
    range.map(|(_, value)| value.clone())
}

/// Whether a body has no other coding than the one that this proxy takes off and puts on.
fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// `host`, or `host:port` where the port is not the scheme's own.
fn host_header(scheme: Scheme, authority: &Authority) -> String {
    if authority.port == scheme.port() {
        authority.host.to_string()
    } else {
        authority.to_string()
    }
}

/// Refuses a request for another host than the one that its connection was made to.
fn check_host(uri: &Uri, headers: &HeaderMap, expected: &Authority) -> Result<(), Problem> {
    let mut names: Vec<&str> = Vec::new();
    if let Some(authority) = uri.authority() {
        if uri.scheme_str() != Some("https") {
            return Err(Problem::refused(
                StatusCode::BAD_REQUEST,
                "an http URL does not belong in a TLS connection",
            ));
        }
        names.push(authority.as_str());
    }
    for host in headers.get_all(header::HOST) {
        names.push(host.to_str().unwrap_or("?"));
    }
    for name in names {
        let asked = Authority::parse(name, Some(Scheme::Https.port())).ok();
        if asked.as_ref() != Some(expected) {
            return Err(Problem::forbidden(format!(
                "the request names `{}` in a connection to {expected}",
                printable(name, SHOWN_CHARS)
            )));
        }
    }
    Ok(())
}

/// What a request that was not understood is recorded as.
pub(super) fn shown_url<B>(request: &Request<B>, place: &Place) -> String {
    let url = match place {
        Place::Host(authority) if request.uri().authority().is_none() => {
            let host = host_header(Scheme::Https, authority);
            format!("https://{host}{}", request.uri())
        }
        Place::Host(_) | Place::Proxy => request.uri().to_string(),
    };
    printable(&url, SHOWN_CHARS)
}

/// The headers that go on, without those that are between two neighbours.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut dropped: Vec<HeaderName> = HOP_BY_HOP.into();
    for value in headers.get_all(header::CONNECTION) {
        let names = value.to_str().unwrap_or_default().split(',');
        dropped.extend(names.filter_map(|name| name.trim().parse().ok()));
    }
    // A length belongs to the message, whoever lists it; without it a body has no end.
    dropped.retain(|name| name != header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) {
        dropped.push(header::CONTENT_LENGTH);
    }
    let kept = headers.iter().filter(|(name, _)| !dropped.contains(name));
    kept.fold(HeaderMap::new(), |mut kept, (name, value)| {
        kept.append(name.clone(), value.clone());
        kept
    })
}

/// Makes the length in a message's head the one that its body really has; a message without a
/// body keeps what it says, because an answer to HEAD says how long another one would be.
pub(super) fn set_length(headers: &mut HeaderMap, length: Length) {
    let value = match length {
        Length::Known(bytes) => Some(HeaderValue::from(bytes)),
        Length::Unknown => None,
        Length::NoBody => headers.get(header::CONTENT_LENGTH).cloned(),
    };
    match value {
        // Where it was: the order is part of what the program sees. Said twice, it is said once.
        Some(value) if headers.contains_key(header::CONTENT_LENGTH) => {
            headers.insert(header::CONTENT_LENGTH, value);
        }
        Some(_) => {}
        None => {
            headers.remove(header::CONTENT_LENGTH);
        }
    }
}

/// How much is known of a body before it is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    NoBody,
    Known(u64),
    Unknown,
}

impl Length {
    pub(super) fn of(body: &impl Body) -> Self {
        if body.is_end_stream() {
            Self::NoBody
        } else {
            body.size_hint().exact().map_or(Self::Unknown, Self::Known)
        }
    }
}

/// As headers are recorded.
pub(super) fn recorded(headers: &HeaderMap) -> Headers {
    headers
        .iter()
        .map(|(name, value)| {
            let value = value.as_bytes().iter().map(|&byte| char::from(byte));
            (name.as_str().to_owned(), value.collect())
        })
        .collect()
}

/// What was recorded by [`recorded`]; what cannot be a header is left out.
pub(super) fn restored(headers: &Headers) -> HeaderMap {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let bytes: Option<Vec<u8>> = value
                .chars()
                .map(|c| u8::try_from(u32::from(c)).ok())
                .collect();
            Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_bytes(&bytes?).ok()?,
            ))
        })
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(place: &Place, method: &str, uri: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match Asked::of(&request.body(()).unwrap(), place) {
            Ok(asked) => format!(
                "{} {}",
                asked.url(),
                asked.headers[header::HOST].to_str().unwrap()
            ),
            Err(problem) => problem.reason().to_owned(),
        }
    }

    #[test]
    fn a_request_to_the_proxy_needs_an_http_url_with_a_name() {
        let check = |uri: &str, expected: &str| {
            assert_eq!(asked(&Place::Proxy, "GET", uri, &[]), expected, "{uri}");
        };
        check("http://a.b/c?d=%41", "http://a.b/c?d=%41 a.b");
        check("http://A.B:80/", "http://a.b/ a.b");
        check("http://a.b", "http://a.b/ a.b");
        check("http://a.b?c=d", "http://a.b/?c=d a.b");
        check("http://a.b:8080/x", "http://a.b:8080/x a.b:8080");
        check("http://a.b:443/x", "http://a.b:443/x a.b:443");
        check("http://a.b./", "`a.b.` ends in a dot");
        check("http://127.0.0.1/", "`127.0.0.1` is an address, not a name");
        check("http://[::1]/", "`[::1]` is an address, not a name");
        check("http://0x7f.1/", "`0x7f.1` is an address, not a name");
        check("http://user@a.b/", "`user@a.b` is more than a host");
        check("http://a.b@c.d/", "`a.b@c.d` is more than a host");
        check(
            "https://a.b/",
            "an https URL needs a CONNECT to its host first",
        );
        check("ftp://a.b/", "this proxy carries http and https alone");
        check("/x", "this is a proxy; a request to it needs a whole URL");
    }

    #[test]
    fn a_body_with_a_coding_that_stays_is_refused() {
        let check = |codings: &[&str], is_fine: bool| {
            let headers: Vec<_> = codings
                .iter()
                .map(|it| ("transfer-encoding", *it))
                .collect();
            let answer = asked(&Place::Proxy, "POST", "http://a.b/", &headers);
            assert_eq!(
                answer == "http://a.b/ a.b",
                is_fine,
                "{codings:?}: {answer}"
            );
        };
        check(&[], true);
        check(&[" Chunked"], true);
        check(&["gzip, chunked"], false);
        check(&["gzip", "chunked"], false);
        check(&["identity"], false);
    }

    #[test]
    fn a_request_inside_a_connection_is_for_the_host_of_the_connection() {
        let place = Place::Host(Authority::parse("a.b:443", None).unwrap());
        let check = |uri: &str, hosts: &[&str], expected: &str| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(
                asked(&place, "GET", uri, &headers),
                expected,
                "{uri} {hosts:?}"
            );
        };
        check("/c", &["a.b"], "https://a.b/c a.b");
        check("/c", &["A.B:443"], "https://a.b/c a.b");
        check("/c", &[], "https://a.b/c a.b");
        check("https://a.b/c", &["a.b"], "https://a.b/c a.b");
        let other = "the request names `c.d` in a connection to a.b:443";
        check("/c", &["c.d"], other);
        check("/c", &["a.b", "c.d"], other);
        check("https://c.d/", &["a.b"], other);
        check(
            "/c",
            &["a.b:80"],
            "the request names `a.b:80` in a connection to a.b:443",
        );
        check(
            "http://a.b/",
            &["a.b"],
            "an http URL does not belong in a TLS connection",
        );
    }

    #[test]
    fn headers_between_neighbours_stay_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-mine, Content-Length"),
            ("x-mine", "1"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("content-length", "3"),
            ("authorization", "Bearer x"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let kept = recorded(&end_to_end(&headers));
        let expected = [("content-length", "3"), ("authorization", "Bearer x")];
        let expected: Headers = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(kept, expected);
    }

    #[test]
    fn any_header_is_restored_as_it_was_recorded() {
        let mut headers = HeaderMap::new();
        let all: Vec<u8> = (b' '..=b'~').chain(0x80..=0xff).collect();
        headers.append("b", HeaderValue::from_bytes(&all).unwrap());
        headers.append("a", HeaderValue::from_static("2"));
        headers.append("a", HeaderValue::from_static("1"));
        let text = recorded(&headers);
        assert_eq!(text[1], ("a".to_owned(), "2".to_owned()));
        assert_eq!(restored(&text), headers);
        assert_eq!(recorded(&restored(&text)), text);
    }
}
