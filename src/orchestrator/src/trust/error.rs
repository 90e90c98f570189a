//! Why a version is not trusted, or a key cannot be used.

use std::io;
use std::path::PathBuf;

use spec::{Digest, SubagentName};
use store::StoreError;

/// Why a version is not trusted, or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The library failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy wants a signature, and there is none.
    #[error("the version {} is not signed, and [trust] demands it", .version.short())]
    Unsigned {
        /// The version.
        version: Digest,
    },
    /// The policy wants a signature by a key that it names, and there are only others.
    #[error(
        "no trusted key has signed the version {}: {why}",
        .version.short()
    )]
    Untrusted {
        /// The version.
        version: Digest,
        /// What there is.
        why: String,
    },
    /// Nobody who is trusted vouches for something that it depends on.
    #[error("the version {} depends on `{name}`", .version.short())]
    Dependency {
        /// The version that was asked for.
        version: Digest,
        /// What it depends on, directly or not.
        name: SubagentName,
        /// Why that is not trusted.
        source: Box<TrustError>,
    },
    /// There is no such key.
    #[error("there is no key `{name}`")]
    UnknownKey {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A key of this name is there.
    #[error("there is a key `{name}` already")]
    KeyExists {
        /// The name.
        name: String,
    },
    /// It cannot name a key.
    #[error("`{name}` cannot name a key")]
    BadName {
        /// What was written, printable.
        name: String,
    },
    /// It is no public key.
    #[error("`{text}` is not a public key")]
    BadPublicKey {
        /// What was written, printable.
        text: String,
    },
    /// A private key cannot be used.
    #[error("the key `{}` cannot be used: {why}", .path.display())]
    BadKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A key's file cannot be read or written.
    #[error("the key `{}` cannot be {action}", .path.display())]
    KeyFile {
        /// Its file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The machine gives no randomness, or cannot sign.
    #[error("the cryptographic library failed to {action}")]
    Crypto {
        /// What was being done.
        action: &'static str,
    },
}

impl TrustError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Store(error) => return error.hint(),
            Self::Unsigned { version } => {
                let whole = version;
                format!("look at it with `show {whole} --code`, then sign it with `sign {whole} --key NAME`, or pull it from where it is signed")
            }
            Self::Dependency { source, .. } => return source.hint(),
            Self::Untrusted { .. } => {
                "if you trust that key, add it to `keys` in [trust]; `verify` shows all signatures".to_owned()
            }
            Self::UnknownKey { known, .. } if known.is_empty() => {
                "make one with `key generate NAME`".to_owned()
            }
            Self::UnknownKey { known, .. } => format!("the keys here: {}", known.join(", ")),
            Self::KeyExists { .. } => "choose another name; keys are never replaced".to_owned(),
            Self::BadName { .. } => "use 1 to 64 of a-z, 0-9, `-`, `_` and `.`".to_owned(),
            Self::BadPublicKey { .. } => {
                "write `ed25519:` and what `key show NAME` prints after it, or the name of a key here".to_owned()
            }
            Self::BadKey { .. } => {
                "its file must belong to you alone (chmod 600) and be an Ed25519 key in PKCS #8".to_owned()
            }
            Self::KeyFile { .. } => "check the permissions of the home".to_owned(),
            Self::Crypto { .. } => return None,
        };
        Some(text)
    }
}
