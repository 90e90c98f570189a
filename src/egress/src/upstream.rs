//! How the world is reached: names, certificates, time.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::EgressError;

/// Turns names into addresses.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Every address of a name.
    ///
    /// # Errors
    /// The I/O error; no address included.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the machine. A name is taken as it is: without the domains that the machine
/// would try after it, in which somebody else may have such a name. The machine's hosts file is not
/// for the hosts of a run either; the operator's map is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((absolute(name), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A name that ends where it ends. Source: RFC 1034, section 3.1.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

/// Whom the proxy trusts and whom it asks for addresses. Cheap to clone: made once, for many runs.
#[derive(Clone)]
pub struct Upstream {
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) resolver: Arc<dyn Resolver>,
    roots: usize,
    /// For programs that see the host's own certificate: behind a tunnel nothing is terminated.
    pem: Arc<str>,
}

impl Upstream {
    /// Trusts the machine's certificate authorities and, if given, those in a PEM file of the
    /// operator; asks the machine's resolver. Blocks while it reads the certificates.
    ///
    /// A machine without certificates is no error here: only HTTPS does not work then.
    ///
    /// # Errors
    /// [`EgressError::CaFile`] and [`EgressError::Tls`].
    pub fn of_machine(extra: Option<(&str, &[u8])>) -> Result<Self, EgressError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate authority of this machine is not readable");
        }
        let mut pem = String::new();
        for certificate in &found.certs {
            pem.push_str(&pem::encode(&pem::Pem::new("CERTIFICATE", &**certificate)));
        }
        let (_, unusable) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(
            roots = roots.len(),
            unusable,
            "certificate authorities loaded"
        );
        if let Some((file, more)) = extra {
            add_pem(&mut roots, file, more)?;
            pem.push_str(&String::from_utf8_lossy(more));
        }
        Ok(Self {
            pem: pem.into(),
            ..Self::new(roots, Arc::new(SystemResolver))?
        })
    }

    /// Trusts exactly these certificate authorities and asks this resolver.
    ///
    /// # Errors
    /// [`EgressError::Tls`].
    pub fn new(roots: RootCertStore, resolver: Arc<dyn Resolver>) -> Result<Self, EgressError> {
        let count = roots.len();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(EgressError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            resolver,
            roots: count,
            pem: "".into(),
        })
    }

    /// The authorities of the machine and the operator, in PEM: what a program must trust that speaks
    /// TLS with an `opaque` host. Empty for one of [`Self::new`].
    pub fn authorities_pem(&self) -> &str {
        &self.pem
    }

    /// How many certificate authorities it trusts; with none, no HTTPS host can be reached.
    pub fn roots(&self) -> usize {
        self.roots
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("roots", &self.roots)
            .field("resolver", &self.resolver)
            .finish_non_exhaustive()
    }
}

fn add_pem(roots: &mut RootCertStore, file: &str, pem: &[u8]) -> Result<(), EgressError> {
    let error = |reason: String| EgressError::CaFile {
        file: file.to_owned(),
        reason,
    };
    let mut added = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| error(e.to_string()))?;
        roots.add(certificate).map_err(|e| error(e.to_string()))?;
        added += 1;
    }
    if added == 0 {
        return Err(error("there is no CERTIFICATE block in it".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_domain_is_tried_after_a_name() {
        assert_eq!(absolute("a.test"), "a.test.");
    }

    #[test]
    fn a_file_of_authorities_holds_certificates_or_is_refused() {
        let check = |pem: &str, expected: Result<usize, &str>| {
            let mut roots = RootCertStore::empty();
            let added = add_pem(&mut roots, "ca.pem", pem.as_bytes());
            let added = added.map(|()| roots.len()).map_err(|e| e.to_string());
            match (added, expected) {
                (Ok(added), Ok(expected)) => assert_eq!(added, expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (added, expected) => panic!("{added:?} instead of {expected:?}"),
            }
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        check(&pem, Ok(1));
        check(&format!("a comment\n{pem}\n{pem}"), Ok(2));
        check(
            &key.serialize_pem(),
            Err("there is no CERTIFICATE block in it"),
        );
        check("", Err("there is no CERTIFICATE block in it"));
        check(
            &pem.replace("-----END", "!-----END"),
            Err("`ca.pem` holds no usable"),
        );
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(nonsense, Err("`ca.pem` holds no usable certificate"));
    }
}
