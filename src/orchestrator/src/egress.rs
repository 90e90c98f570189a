//! Who may reach which host: what a version asks for, what a person grants, what the operator allows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use egress::{Answer, HostRule, Ledger, Policy, Proxy, Upstream};
use spec::{ByteSize, Digest, EgressUsage};
use store::{Exchange, ExchangeKind, Store};
use tokio::sync::OnceCell;

use crate::blobs::StoreBlobs;
use crate::error::FactoryError;

/// What the operator decides about the network. No version and no model can change it.
#[derive(Clone, Debug)]
pub struct EgressSettings {
    /// Whether every host that a version or a model names is reachable without a person naming it.
    pub allow_all: bool,
    /// Hosts that are reachable without a person naming them, when a version or a model does.
    pub allow: BTreeSet<HostRule>,
    /// Hosts that are never reachable, whoever names them. Without a port, on every port.
    pub deny: BTreeSet<HostRule>,
    /// Hosts whose TLS is passed on unread, which makes a run unfit for replay.
    pub opaque: BTreeSet<HostRule>,
    /// Where hosts really are, by `host` or `host:port`: the only way to an address of this machine
    /// or of a private network.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// Further certificate authorities that a host's certificate may come from, in PEM.
    pub authorities: Option<Authorities>,
    /// Bytes on the network per run, in both directions.
    pub bytes_max: ByteSize,
}

/// The way to the network, for all runs of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    settings: Arc<EgressSettings>,
    /// Reading the machine's certificates takes a while, so only a run that needs them does.
    upstream: Arc<OnceCell<Upstream>>,
}

/// Certificate authorities from a file of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// The file, for messages.
    pub file: String,
    /// Its content.
    pub pem: Vec<u8>,
}

impl Default for EgressSettings {
    fn default() -> Self {
        Self {
            allow_all: false,
            allow: BTreeSet::new(),
            deny: BTreeSet::new(),
            opaque: BTreeSet::new(),
            hosts: BTreeMap::new(),
            authorities: None,
            bytes_max: Policy::default().bytes_max,
        }
    }
}

impl Egress {
    /// The way to the network under these settings. Nothing is read yet.
    pub fn new(settings: EgressSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            upstream: Arc::default(),
        }
    }

    /// What the operator decides.
    pub fn settings(&self) -> &EgressSettings {
        &self.settings
    }

    /// The proxy of one run, or none for a run that may reach nothing.
    pub(crate) async fn proxy(
        &self,
        allow: &BTreeSet<HostRule>,
        store: &Arc<Store>,
    ) -> Result<Option<Door>, FactoryError> {
        if allow.is_empty() {
            return Ok(None);
        }
        let upstream = self.upstream().await?;
        let bodies = Arc::new(StoreBlobs(Arc::clone(store)));
        let proxy = Proxy::live(self.settings.policy(allow), bodies, upstream.clone())?;
        let mut certificates_pem = proxy.certificates_pem().to_owned();
        let opaque = &self.settings.opaque;
        if allow
            .iter()
            .any(|host| opaque.iter().any(|rule| meet(rule, host)))
        {
            certificates_pem.push_str(upstream.authorities_pem());
        }
        Ok(Some(Door {
            proxy,
            certificates_pem,
        }))
    }

    /// Whom the proxies of this process trust and ask for addresses.
    pub(crate) async fn upstream(&self) -> Result<Upstream, FactoryError> {
        let read = || async {
            let settings = Arc::clone(&self.settings);
            let read = tokio::task::spawn_blocking(move || {
                let extra = settings.authorities.as_ref();
                Upstream::of_machine(extra.map(|extra| (extra.file.as_str(), &*extra.pem)))
            });
            Ok::<_, FactoryError>(read.await??)
        };
        Ok(self.upstream.get_or_try_init(read).await?.clone())
    }

    /// The same, where others are trusted too.
    pub(crate) async fn upstream_with(
        &self,
        more: Option<&Authorities>,
    ) -> Result<Upstream, FactoryError> {
        let Some(more) = more else {
            return self.upstream().await;
        };
        let (file, mut pem) = (more.file.clone(), more.pem.clone());
        if let Some(settings) = &self.settings.authorities {
            pem.push(b'\n');
            pem.extend_from_slice(&settings.pem);
        }
        let read = move || Upstream::of_machine(Some((&file, &pem)));
        Ok(tokio::task::spawn_blocking(read).await??)
    }
}

/// One run's way to the network.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) proxy: Proxy,
    /// What the program trusts: the run's own authority and, where hosts are opaque, the world's.
    pub(crate) certificates_pem: String,
}

impl EgressSettings {
    /// Whether a host is reachable for whoever names it, given what a person has granted.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check(&self, wanted: &HostRule, granted: &BTreeSet<HostRule>) -> Result<(), String> {
        if let Some(rule) = self.deny.iter().find(|rule| meet(rule, wanted)) {
            return Err(format!(
                "the configuration's `[egress] deny` names `{rule}`"
            ));
        }
        let mut allowed = self.allow.iter().chain(granted);
        if self.allow_all || allowed.any(|rule| covers(rule, wanted)) {
            return Ok(());
        }
        Err("nobody has allowed it".to_owned())
    }

    /// The rules of one run.
    pub(crate) fn policy(&self, allow: &BTreeSet<HostRule>) -> Policy {
        Policy {
            allow: allow.clone(),
            opaque: self.opaque.clone(),
            hosts: self.hosts.clone(),
            bytes_max: self.bytes_max,
            ..Policy::default()
        }
    }
}

/// Whether everything that `wanted` means is meant by `rule` too.
pub(crate) fn covers(rule: &HostRule, wanted: &HostRule) -> bool {
    let host = if rule.is_pattern() {
        is_below(wanted.host(), rule.host())
            || (wanted.is_pattern() && wanted.host() == rule.host())
    } else {
        !wanted.is_pattern() && wanted.host() == rule.host()
    };
    host && rule.port() == wanted.port()
}

/// Whether there is a host that both mean. A rule without a port means every port here.
fn meet(a: &HostRule, b: &HostRule) -> bool {
    let host = match (a.is_pattern(), b.is_pattern()) {
        (false, false) => a.host() == b.host(),
        (true, false) => is_below(b.host(), a.host()),
        (false, true) => is_below(a.host(), b.host()),
        (true, true) => {
            a.host() == b.host() || is_below(a.host(), b.host()) || is_below(b.host(), a.host())
        }
    };
    let web = |port: Option<u16>| port.is_none_or(|port| port == 80 || port == 443);
    let port = match (a.port(), b.port()) {
        (None, _) => true,
        (Some(_), None) => web(a.port()),
        (Some(a), Some(b)) => a == b,
    };
    host && port
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// What a version's manifest names. What is no host in today's spelling grants nothing.
pub(crate) fn rules(texts: &BTreeSet<String>) -> BTreeSet<HostRule> {
    let parsed = texts.iter().filter_map(|text| match text.parse() {
        Ok(rule) => Some(rule),
        Err(error) => {
            tracing::warn!(host = %spec::printable(text, 100), %error, "a version names no host");
            None
        }
    });
    parsed.collect()
}

/// What a run's proxy did, in numbers.
pub(crate) fn usage(ledger: &Ledger) -> EgressUsage {
    let mut used = EgressUsage {
        exchanges: ledger.tunnels.len() as u64,
        refused: ledger.turned_away,
        ..EgressUsage::default()
    };
    for exchange in &ledger.exchanges {
        match &exchange.answer {
            Answer::Response { body, .. } => {
                used.exchanges += 1;
                used.bytes_down = used.bytes_down.saturating_add(body.size);
            }
            Answer::Failed { .. } | Answer::Closed { .. } => used.exchanges += 1,
            Answer::Refused { .. } | Answer::Unrecorded { .. } => {
                used.refused += 1;
                continue;
            }
        }
        let sent = exchange.body.map_or(0, |body| body.size);
        used.bytes_up = used.bytes_up.saturating_add(sent);
    }
    for tunnel in &ledger.tunnels {
        used.bytes_up = used.bytes_up.saturating_add(tunnel.up_bytes);
        used.bytes_down = used.bytes_down.saturating_add(tunnel.down_bytes);
    }
    used
}

/// An exchange as a run's record holds it.
pub(crate) fn recorded(exchange: &egress::Exchange) -> Exchange {
    let body = |body: &egress::Body| (body.size > 0).then_some(body.digest);
    let mut blobs: BTreeSet<Digest> = exchange.body.as_ref().and_then(body).into_iter().collect();
    if let Answer::Response { body: given, .. } = &exchange.answer {
        blobs.extend(body(given));
    }
    let request = serde_json::json!({
        "method": exchange.method,
        "url": exchange.url,
        "headers": exchange.headers,
        "body": exchange.body,
    });
    let response = serde_json::json!({ "answer": exchange.answer, "bytes": exchange.bytes });
    Exchange {
        kind: ExchangeKind::Http,
        blobs,
        tool: spec::printable(&exchange.method, 40),
        request_digest: Exchange::digest_of(&request),
        request,
        response,
        duration_ms: exchange.duration_ms,
        input_tokens: 0,
        output_tokens: 0,
    }
}

/// The exchange that a record holds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn replayed(exchange: &Exchange) -> Result<egress::Exchange, serde_json::Error> {
    let mut whole = exchange.request.clone();
    if let (Some(whole), Some(response)) = (whole.as_object_mut(), exchange.response.as_object()) {
        whole.extend(response.clone());
        whole.insert("duration_ms".to_owned(), exchange.duration_ms.into());
    }
    serde_json::from_value(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(texts: &[&str]) -> BTreeSet<HostRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_host_is_reachable_when_somebody_who_may_has_said_so() {
        let check =
            |allow_all: bool, deny: &[&str], granted: &[&str], wanted: &str, expected: bool| {
                let settings = EgressSettings {
                    allow_all,
                    deny: rules_of(deny),
                    ..EgressSettings::default()
                };
                let checked = settings.check(&wanted.parse().unwrap(), &rules_of(granted));
                assert_eq!(checked.is_ok(), expected, "{deny:?} {granted:?} {wanted}");
            };
        check(false, &[], &[], "a.b", false);
        check(true, &[], &[], "a.b", true);
        check(false, &[], &["a.b"], "a.b", true);
        check(false, &[], &["a.b"], "x.a.b", false);
        check(false, &[], &["*.a.b"], "x.a.b", true);
        check(false, &[], &["*.a.b"], "*.x.a.b", true);
        check(false, &[], &["*.a.b"], "*.a.b", true);
        check(false, &[], &["*.a.b"], "a.b", false);
        check(false, &[], &["*.a.b"], "xa.b", false);
        check(false, &[], &["x.a.b"], "*.a.b", false);
        check(false, &[], &["a.b:8443"], "a.b", false);
        check(false, &[], &["a.b"], "a.b:8443", false);
        check(true, &["a.b"], &["a.b"], "a.b:8443", false);
        check(true, &["a.b:8443"], &[], "a.b", true);
        check(true, &["a.b:443"], &[], "a.b", false);
        check(true, &["x.a.b"], &[], "*.a.b", false);
        check(true, &["*.a.b"], &[], "x.a.b", false);
        check(true, &["*.a.b"], &[], "a.b", true);
    }

    #[test]
    fn a_recorded_exchange_is_read_back() {
        let body = |text: &[u8]| egress::Body {
            digest: Digest::of(text),
            size: text.len() as u64,
        };
        let exchange = egress::Exchange {
            method: "GET".to_owned(),
            url: "https://a.b/\u{e9}".to_owned(),
            headers: vec![("accept".to_owned(), "*/*".to_owned())],
            body: Some(body(b"sent")),
            answer: Answer::Response {
                status: 200,
                headers: Vec::new(),
                body: body(b"hello"),
                cut: None,
            },
            duration_ms: 7,
            bytes: 1_234,
        };
        let recorded = recorded(&exchange);
        assert_eq!(
            recorded.blobs,
            [Digest::of(b"hello"), Digest::of(b"sent")].into()
        );
        assert_eq!(replayed(&recorded).unwrap(), exchange);
        let ledger = Ledger {
            exchanges: vec![exchange],
            ..Ledger::default()
        };
        let expected = EgressUsage {
            exchanges: 1,
            bytes_up: 4,
            bytes_down: 5,
            ..EgressUsage::default()
        };
        assert_eq!(usage(&ledger), expected);
    }
}
