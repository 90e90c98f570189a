//! The user's credentials, as Docker keeps them: in `config.json`, or in a program that it names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::RegistryError;

/// Bytes of Docker's configuration.
const CONFIG_MAX: u64 = 1 << 20;
/// Bytes of what a helper says.
const HELPER_MAX: u64 = 64 << 10;
/// How long a helper may take: it may ask a person to unlock something.
const HELPER_LIMIT: Duration = Duration::from_secs(60);
/// What a helper says when it has nothing. Source: docker-credential-helpers.
const NOT_FOUND: &str = "credentials not found";

/// Where Docker keeps credentials.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    /// The folder of its `config.json`; none means that there are no credentials.
    pub folder: Option<PathBuf>,
    /// The variables that a credential helper gets, and nothing else.
    pub environment: Vec<(OsString, OsString)>,
}

/// What is shown to one registry.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Password {
        user: String,
        password: SecretString,
    },
    /// It is given for tokens. Source: Docker's `identitytoken`.
    IdentityToken(SecretString),
}

/// Source: Docker's `config.json`; the rest of it is not read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
    identitytoken: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: SecretString,
}

impl DockerConfig {
    /// The credentials for a registry, if the user has logged in to it.
    pub(crate) async fn credential(&self, host: &str) -> Result<Option<Credential>, RegistryError> {
        let failed = |why: String| RegistryError::Credentials {
            host: host.to_owned(),
            why,
        };
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        let path = folder.join("config.json");
        let config = match read(&path).await {
            Ok(Some(config)) => config,
            Ok(None) => return Ok(None),
            Err(why) => return Err(failed(format!("`{}`: {why}", path.display()))),
        };
        let keys = keys(host);
        let helper = keys.iter().find_map(|key| kept(&config.cred_helpers, key));
        if let Some(helper) = helper.or(config.creds_store.as_ref()) {
            for key in &keys {
                let answer = self.help(helper, key).await;
                let answer =
                    answer.map_err(|why| failed(format!("the helper `{helper}` {why}")))?;
                if let Some(found) = answer {
                    return Ok(Some(found));
                }
            }
        }
        let entry = keys.iter().find_map(|key| kept(&config.auths, key));
        entry.map_or(Ok(None), |entry| entry.credential().map_err(failed))
    }

    /// Asks a credential helper. Source: docker-credential-helpers, the command `get`.
    async fn help(&self, helper: &str, key: &str) -> Result<Option<Credential>, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if helper.is_empty() || !helper.chars().all(plain) {
            return Err("has a name that no program has".to_owned());
        }
        let spawned = Command::new(format!("docker-credential-{helper}"))
            .arg("get")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.map_err(|error| format!("cannot be started: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err("has no pipes".to_owned());
        };
        let talk = async {
            // One that does not read has said what it wants to say.
            drop(stdin.write_all(format!("{key}\n").as_bytes()).await);
            drop(stdin);
            let mut said = Vec::new();
            stdout.take(HELPER_MAX).read_to_end(&mut said).await?;
            Ok::<_, io::Error>((said, child.wait().await?))
        };
        let (said, status) = match tokio::time::timeout(HELPER_LIMIT, talk).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return Err(format!("failed: {error}")),
            Err(_) => return Err(format!("took more than {} s", HELPER_LIMIT.as_secs())),
        };
        if !status.success() {
            let text = String::from_utf8_lossy(&said);
            if text.trim().starts_with(NOT_FOUND) {
                return Ok(None);
            }
            return Err(format!("failed: {}", spec::printable(text.trim(), 200)));
        }
        let answer: Helped =
            serde_json::from_slice(&said).map_err(|_| "did not say what it should".to_owned())?;
        // Source: docker-credential-helpers, a user name that marks a token.
        if answer.username == "<token>" {
            return Ok(Some(Credential::IdentityToken(answer.secret)));
        }
        Ok(Some(Credential::Password {
            user: answer.username,
            password: answer.secret,
        }))
    }
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, String> {
        use secrecy::ExposeSecret as _;
        let present = |secret: &&SecretString| !secret.expose_secret().is_empty();
        if let Some(token) = self.identitytoken.as_ref().filter(present) {
            return Ok(Some(Credential::IdentityToken(token.clone())));
        }
        if let Some(auth) = self.auth.as_ref().filter(present) {
            let pair = STANDARD.decode(auth.expose_secret().trim()).ok();
            let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
            let pair = pair.ok_or("its `auth` is not base64 of USER:PASSWORD")?;
            let (user, password) = pair
                .split_once(':')
                .ok_or("its `auth` is not base64 of USER:PASSWORD")?;
            return Ok(Some(Credential::Password {
                user: user.to_owned(),
                password: SecretString::from(password.trim_end_matches('\0')),
            }));
        }
        Ok(match (&self.username, &self.password) {
            (Some(user), Some(password)) => Some(Credential::Password {
                user: user.clone(),
                password: password.clone(),
            }),
            _ => None,
        })
    }
}

/// What is kept under a name, which Docker keeps as it was written at the login.
fn kept<'a, T>(all: &'a BTreeMap<String, T>, key: &str) -> Option<&'a T> {
    let mut all = all.iter();
    all.find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, one)| one)
}

/// The names under which Docker may keep a registry's credentials.
fn keys(host: &str) -> Vec<String> {
    match host {
        // Source: Docker keeps its default registry under its first address.
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
            vec!["https://index.docker.io/v1/".to_owned(), host.to_owned()]
        }
        _ => vec![
            host.to_owned(),
            format!("https://{host}"),
            format!("https://{host}/v1/"),
            format!("http://{host}"),
        ],
    }
}

async fn read(path: &Path) -> Result<Option<Config>, String> {
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let is_file = file.metadata().await.is_ok_and(|data| data.is_file());
    if !is_file {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let read = file.take(CONFIG_MAX + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > CONFIG_MAX {
        return Err("it is too large".to_owned());
    }
    // What the parser says could repeat a secret.
    let config = serde_json::from_slice(&bytes);
    config
        .map(Some)
        .map_err(|error| format!("it is not valid at line {}", error.line()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    async fn found(config: &str, host: &str) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let docker = DockerConfig {
            folder: Some(folder.path().to_owned()),
            environment: Vec::new(),
        };
        let credential = docker.credential(host).await.map_err(|e| e.to_string())?;
        Ok(credential.map(|one| match one {
            Credential::Password { user, password } => {
                format!("{user}:{}", password.expose_secret())
            }
            Credential::IdentityToken(token) => format!("token {}", token.expose_secret()),
        }))
    }

    #[tokio::test]
    async fn logins_are_found_where_docker_keeps_them() {
        let host = "registry.example.org";
        let auth = STANDARD.encode("me:secret:with colon");
        let config = format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"{auth}\"}}}}}}");
        let check = found(&config, host).await.unwrap();
        assert_eq!(check.as_deref(), Some("me:secret:with colon"));
        assert_eq!(found(&config, "other.example.org").await.unwrap(), None);
        let config = config.replace("registry.example", "Registry.Example");
        let check = found(&config, host).await.unwrap();
        assert_eq!(check.as_deref(), Some("me:secret:with colon"));
        let config = format!("{{\"auths\": {{\"https://{host}\": {{\"identitytoken\": \"t\"}}}}}}");
        let check = found(&config, host).await.unwrap();
        assert_eq!(check.as_deref(), Some("token t"));
        assert_eq!(found("{}", host).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_broken_is_said_without_what_is_in_it() {
        let host = "registry.example.org";
        let broken = format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"c2VjcmV0\"}}}}}}");
        let why = found(&broken, host).await.unwrap_err();
        assert!(why.contains("base64") && !why.contains("c2VjcmV0"), "{why}");
        let why = found("{\"auths\": \"hidden\"}", host).await.unwrap_err();
        assert!(why.contains("line 1") && !why.contains("hidden"), "{why}");
        let missing = format!("{{\"credHelpers\": {{\"{host}\": \"no-such-helper\"}}}}");
        let why = found(&missing, host).await.unwrap_err();
        assert!(why.contains("no-such-helper"), "{why}");
        let path = "{\"credsStore\": \"../../bin/sh\"}";
        assert!(found(path, host).await.unwrap_err().contains("no program"));
    }

    #[tokio::test]
    async fn a_helper_gets_only_what_it_may_have() {
        let folder = tempfile::tempdir().unwrap();
        let helper = folder.path().join("docker-credential-mine");
        let script = "#!/bin/sh\nread host\n[ \"$host\" = registry.example.org ] || { echo 'credentials not found in native keychain'; exit 1; }\nprintf '{\"ServerURL\":\"%s\",\"Username\":\"me\",\"Secret\":\"%s\"}' \"$host\" \"$ALLOWED-$HOME\"\n";
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let config = "{\"credsStore\": \"mine\"}";
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let docker = DockerConfig {
            folder: Some(folder.path().to_owned()),
            environment: vec![
                ("PATH".into(), path.into()),
                ("ALLOWED".into(), "yes".into()),
            ],
        };
        let found = docker.credential("registry.example.org").await.unwrap();
        let Some(Credential::Password { user, password }) = found else {
            panic!("no password");
        };
        assert_eq!((user.as_str(), password.expose_secret()), ("me", "yes-"));
        let none = docker.credential("other.example.org").await.unwrap();
        assert!(none.is_none());
    }
}
