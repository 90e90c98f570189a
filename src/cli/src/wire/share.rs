//! What commands that share versions print.

use orchestrator::trust::KeyInfo;
use serde::Serialize;
use spec::{Digest, RunId, SubagentName};

/// What a push or pull transferred.
#[derive(Debug, Serialize)]
pub(crate) struct MovedJson {
    bytes: u64,
    blobs: u64,
    /// Blobs that were there already.
    skipped: u64,
}

impl From<registry::Moved> for MovedJson {
    fn from(moved: registry::Moved) -> Self {
        Self {
            bytes: moved.bytes,
            blobs: moved.blobs,
            skipped: moved.skipped,
        }
    }
}

/// `push`.
#[derive(Debug, Serialize)]
pub(crate) struct PushJson {
    /// Its name here.
    pub(crate) name: Option<SubagentName>,
    /// The version.
    pub(crate) version: Digest,
    /// Where it is, with its tag.
    pub(crate) reference: String,
    /// How many versions went: it and what it depends on.
    pub(crate) versions: usize,
    /// How many manifests about them went.
    pub(crate) attachments: usize,
    /// The versions whose environment did not go along: its wheels are not on this machine.
    pub(crate) without_environment: Vec<Digest>,
    /// How many runs went.
    pub(crate) runs: usize,
    pub(crate) transferred: MovedJson,
}

/// `pull`.
#[derive(Debug, Serialize)]
pub(crate) struct PullJson {
    /// Its name here.
    pub(crate) name: SubagentName,
    /// The version.
    pub(crate) version: Digest,
    /// The head before.
    pub(crate) before: Option<Digest>,
    /// Whether the head moved.
    pub(crate) is_new: bool,
    /// How many versions came: it and what it depends on.
    pub(crate) versions: usize,
    /// How many manifests about them came.
    pub(crate) attachments: usize,
    /// How much of what is said about them was left there: environments that hold what no lock names, and
    /// what is of another form, incomplete or too large.
    pub(crate) refused: usize,
    /// The runs that came.
    pub(crate) runs: Vec<RunId>,
    pub(crate) transferred: MovedJson,
}

/// `key generate`, `key show`, and one of `key list`.
#[derive(Debug, Serialize)]
pub(crate) struct KeyJson {
    name: String,
    /// `ed25519:` and base64.
    public: String,
    /// By which envelopes name it.
    id: String,
}

impl From<&KeyInfo> for KeyJson {
    fn from(key: &KeyInfo) -> Self {
        Self {
            name: key.name.clone(),
            public: key.public.to_string(),
            id: key.public.id(),
        }
    }
}

/// `key list`.
#[derive(Debug, Serialize)]
pub(crate) struct KeysJson {
    pub(crate) keys: Vec<KeyJson>,
}

/// `sign`.
#[derive(Debug, Serialize)]
pub(crate) struct SignJson<'a> {
    pub(crate) version: Digest,
    pub(crate) key: &'a str,
    /// The digest of the manifest that carries it.
    pub(crate) signature: Digest,
    /// What it depends on, which was signed too.
    pub(crate) depends: Vec<Digest>,
}

/// `verify`.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyJson {
    pub(crate) version: Digest,
    /// Whether a known key vouches for it, and the policy is met.
    pub(crate) verified: bool,
    /// Why not.
    pub(crate) why: Option<String>,
    pub(crate) signatures: Vec<SignatureJson>,
}

/// One signature.
#[derive(Debug, Serialize)]
pub(crate) struct SignatureJson {
    /// `valid`, `unknown_key` or `wrong`.
    pub(crate) verdict: &'static str,
    /// The key that made it, where it is valid.
    pub(crate) key: Option<String>,
    /// What that key is called here.
    pub(crate) name: Option<String>,
    /// The key that it says made it.
    pub(crate) key_id: String,
    /// What is wrong.
    pub(crate) why: Option<String>,
}
