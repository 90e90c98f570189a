//! Why a proxy cannot be made.

use crate::host::HostError;

/// Why a proxy cannot be made. What fails later is an answer to the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EgressError {
    /// The run's certificate authority could not be made.
    #[error("the certificates of this run cannot be made")]
    Certificates(#[source] rcgen::Error),
    /// TLS does not work with this provider or these certificates.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The operator's file of certificate authorities is not usable.
    #[error("`{file}` holds no usable certificate: {reason}")]
    CaFile {
        /// What the operator called it.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key of the operator's map is not a host.
    #[error("the map of egress hosts names `{key}`")]
    MappedHost {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: HostError,
    },
    /// A mapped host cannot be a pattern.
    #[error("the map of egress hosts names the pattern `{0}`")]
    MappedPattern(String),
    /// A limit of nothing permits nothing.
    #[error("the egress limit `{0}` is zero")]
    ZeroLimit(&'static str),
}

impl EgressError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Certificates(_) | Self::Tls(_) => None,
            Self::CaFile { .. } => {
                Some("use a PEM file with one or more CERTIFICATE blocks".to_owned())
            }
            Self::MappedHost { source, .. } => source.hint(),
            Self::MappedPattern(_) => Some("map each host by its own name".to_owned()),
            Self::ZeroLimit(_) => Some("grant no host at all to forbid egress".to_owned()),
        }
    }
}
