//! The certificate authority of one run.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;

use crate::EgressError;
use crate::host::Host;

/// A sandbox whose clock is a little behind still trusts it.
const VALID_BEFORE: Duration = Duration::from_hours(24);
/// More than the longest run.
const VALID_AFTER: Duration = Duration::from_hours(24 * 14);
/// Leaf certificates that are kept; a subagent may ask for many names below a pattern.
const KEPT: usize = 256;

/// An authority that lives as long as its run, and its leaf certificates.
pub(super) struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
    /// One key for all leaves: they live in one process and end with one run.
    leaf_key: KeyPair,
    provider: Arc<CryptoProvider>,
    leaves: Mutex<HashMap<Host, Arc<ServerConfig>>>,
    /// The number of the next leaf. Source: RFC 5280, section 4.1.2.2: no two of one issuer are the same.
    next_serial: AtomicU64,
}

impl Certificates {
    /// Makes a new authority with a new key.
    pub(super) fn create() -> Result<Self, EgressError> {
        let key = KeyPair::generate().map_err(EgressError::Certificates)?;
        let mut params = params("AgentFactory egress of one run");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params
            .self_signed(&key)
            .map_err(EgressError::Certificates)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            leaf_key: KeyPair::generate().map_err(EgressError::Certificates)?,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            leaves: Mutex::default(),
            next_serial: AtomicU64::new(1),
        })
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// How to speak TLS as this host.
    pub(super) fn leaf(&self, host: &Host) -> Result<Arc<ServerConfig>, EgressError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(host) {
            return Ok(Arc::clone(leaf));
        }
        if leaves.len() >= KEPT {
            leaves.clear();
        }
        let leaf = Arc::new(self.make_leaf(host)?);
        leaves.insert(host.clone(), Arc::clone(&leaf));
        Ok(leaf)
    }

    fn make_leaf(&self, host: &Host) -> Result<ServerConfig, EgressError> {
        // A common name has at most 64 characters, so it is not the host's; the alternative is.
        let mut params = params("AgentFactory egress");
        params.subject_alt_names = vec![rcgen::SanType::DnsName(
            host.as_str()
                .try_into()
                .map_err(EgressError::Certificates)?,
        )];
        // Else it would be made from the key, which they share.
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(serial.into());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params
            .signed_by(&self.leaf_key, &self.issuer)
            .map_err(EgressError::Certificates)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(EgressError::Tls)?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), self.der.clone()], key)
            .map_err(EgressError::Tls)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

fn params(common_name: &str) -> CertificateParams {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = epoch + now.saturating_sub(VALID_BEFORE);
    params.not_after = epoch + now + VALID_AFTER;
    params
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}
