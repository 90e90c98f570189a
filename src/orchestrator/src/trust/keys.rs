//! Ed25519 keys: private ones in files of their owner alone, public ones as text.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use spec::Digest;

use super::TrustError;

/// What public keys begin with.
const PREFIX: &str = "ed25519:";
/// What precedes the key in a `SubjectPublicKeyInfo`. Source: RFC 8410, section 4.
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// Bytes of a key's file.
const FILE_MAX: u64 = 16 << 10;
/// The label of a private key. Source: RFC 7468, section 10.
const LABEL: &str = "PRIVATE KEY";

/// A public Ed25519 key. Written and parsed as `ed25519:` and its 32 bytes in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// A key of this home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub name: String,
    /// Its public half.
    pub public: PublicKey,
}

/// The folder with this home's keys: `NAME.pem`, each an Ed25519 key in PKCS #8 with mode 0600.
#[derive(Clone, Debug)]
pub struct KeyFolder(PathBuf);

/// A private key, which is never shown.
pub(super) struct PrivateKey {
    pair: Ed25519KeyPair,
    pub(super) public: PublicKey,
}

impl PublicKey {
    /// The digest by which envelopes name it: of its `SubjectPublicKeyInfo`.
    pub fn id(&self) -> String {
        Digest::of(&[SPKI.as_slice(), &self.0].concat()).hex()
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(message, signature).is_ok()
    }
}

impl PrivateKey {
    fn of_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TrustError> {
        let signature = self.pair.try_sign(message);
        let signature = signature.map_err(|_| TrustError::Crypto { action: "sign" })?;
        Ok(signature.as_ref().to_vec())
    }
}

impl KeyFolder {
    /// The keys of this home.
    pub fn new(home: &Path) -> Self {
        Self(home.join("keys"))
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`TrustError::BadName`], [`TrustError::KeyExists`], and the file system's.
    pub fn generate(&self, name: &str) -> Result<KeyInfo, TrustError> {
        let path = self.path(name)?;
        let failed = |source| match io::Error::kind(&source) {
            io::ErrorKind::AlreadyExists => TrustError::KeyExists {
                name: name.to_owned(),
            },
            _ => TrustError::KeyFile {
                path: path.clone(),
                action: "written",
                source,
            },
        };
        let crypto = TrustError::Crypto {
            action: "make a key",
        };
        let Ok(document) = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()) else {
            return Err(crypto);
        };
        let key = PrivateKey::of_pkcs8(document.as_ref()).ok_or(crypto)?;
        let text = pem::encode(&pem::Pem::new(LABEL, document.as_ref()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(failed)?;
        // A file that is there under this name was written whole: it is linked to it, not written.
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&self.0)
            .map_err(failed)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .map_err(failed)?;
        let kept = file.persist_noclobber(&path);
        kept.map_err(|error| failed(error.error))?;
        let synced = File::open(&self.0).and_then(|folder| folder.sync_all());
        synced.map_err(failed)?;
        Ok(KeyInfo {
            name: name.to_owned(),
            public: key.public,
        })
    }

    /// The keys, by name.
    ///
    /// # Errors
    /// The file system's, and [`TrustError::BadKey`].
    pub fn list(&self) -> Result<Vec<KeyInfo>, TrustError> {
        let mut keys = Vec::new();
        for name in self.names()? {
            let public = self.open(&name)?.public;
            keys.push(KeyInfo { name, public });
        }
        Ok(keys)
    }

    /// The public half of a key.
    ///
    /// # Errors
    /// [`TrustError::UnknownKey`], [`TrustError::BadKey`], and the file system's.
    pub fn public(&self, name: &str) -> Result<PublicKey, TrustError> {
        Ok(self.open(name)?.public)
    }

    /// A public key as it is written in a configuration: itself, or the name of one here.
    ///
    /// # Errors
    /// [`TrustError::BadPublicKey`], and as [`Self::public`].
    pub fn resolve(&self, text: &str) -> Result<PublicKey, TrustError> {
        if text.starts_with(PREFIX) {
            return text.parse();
        }
        self.public(text)
    }

    fn names(&self) -> Result<Vec<String>, TrustError> {
        let failed = |source| TrustError::KeyFile {
            path: self.0.clone(),
            action: "listed",
            source,
        };
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(failed)?.file_name();
            let name = file.to_str().and_then(|name| name.strip_suffix(".pem"));
            names.extend(name.filter(|name| is_name(name)).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn path(&self, name: &str) -> Result<PathBuf, TrustError> {
        if !is_name(name) {
            return Err(TrustError::BadName {
                name: spec::printable(name, 80),
            });
        }
        Ok(self.0.join(format!("{name}.pem")))
    }

    pub(super) fn open(&self, name: &str) -> Result<PrivateKey, TrustError> {
        let path = self.path(name)?;
        let bad = |why: &str| TrustError::BadKey {
            path: path.clone(),
            why: why.to_owned(),
        };
        let failed = |source| TrustError::KeyFile {
            path: path.clone(),
            action: "read",
            source,
        };
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).expect("open flags fit the system's type");
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&path);
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TrustError::UnknownKey {
                    name: name.to_owned(),
                    known: self.names()?,
                });
            }
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(bad("it is not a file"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(bad("others may read it"));
        }
        let mut text = String::new();
        let read = file.take(FILE_MAX).read_to_string(&mut text);
        read.map_err(failed)?;
        let parsed = pem::parse(text.as_bytes()).ok();
        let parsed = parsed.filter(|pem| pem.tag() == LABEL);
        let parsed = parsed.ok_or_else(|| bad("it is not a private key in PEM"))?;
        PrivateKey::of_pkcs8(parsed.contents()).ok_or_else(|| bad("it is not an Ed25519 key"))
    }
}

fn is_name(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    (1..=64).contains(&name.len()) && plain && !name.starts_with(['.', '-'])
}

impl FromStr for PublicKey {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix(PREFIX).map(|key| STANDARD.decode(key));
        let bytes = bytes.and_then(Result::ok);
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| TrustError::BadPublicKey {
            text: spec::printable(text, 80),
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_kept_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let keys = KeyFolder::new(home.path());
        assert_eq!(keys.list().unwrap(), []);
        let made = keys.generate("release").unwrap();
        assert_eq!(keys.list().unwrap(), std::slice::from_ref(&made));
        assert_eq!(
            made.public.to_string().parse::<PublicKey>().unwrap(),
            made.public
        );
        let path = home.path().join("keys/release.pem");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(home.path().join("keys")).unwrap().mode() & 0o777,
            0o700
        );
        let text = fs::read_to_string(&path).unwrap();
        let again = keys.generate("release").unwrap_err();
        assert!(matches!(again, TrustError::KeyExists { .. }), "{again}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = keys.public("release").unwrap_err();
        assert!(error.to_string().contains("others may read it"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        let error = keys.public("release").unwrap_err();
        assert!(matches!(error, TrustError::BadKey { .. }), "{error}");
        let error = keys.public("other").unwrap_err();
        assert!(error.hint().unwrap().contains("release"), "{error}");
        for name in ["", "../x", "A", ".x", "a/b", "-a"] {
            assert!(keys.generate(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_public_key_is_parsed_only_in_its_one_spelling() {
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", "release"] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
        let zeros = format!("ed25519:{}=", "A".repeat(43));
        assert_eq!(zeros.parse::<PublicKey>().unwrap().to_string(), zeros);
    }
}
