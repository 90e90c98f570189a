//! Who vouches for a version: keys, signatures and what is demanded of them.
//!
//! A signature is a DSSE envelope over an in-toto statement that names the digest of a version's
//! manifest, and with it everything that the version is. It is kept and sent as a manifest whose subject is the
//! version. What a version depends on has signatures of its own, because a policy may ask others of
//! it. No service and no clock is asked.

mod envelope;
mod error;
mod keys;
mod policy;
mod signatures;

pub use error::TrustError;
pub use keys::{KeyFolder, KeyInfo, PublicKey};
pub use policy::{Demand, TrustPolicy, TrustRule};
pub use signatures::{SignatureCheck, Signed, Verdict, sign, signatures};

/// What carries a signature.
pub const SIGNATURE_TYPE: &str = "application/vnd.agentfactory.signature.v1";
