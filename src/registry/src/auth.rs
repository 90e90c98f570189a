//! What a registry wants to see before it answers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_auth::ChallengeRef;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connection::{Access, Call};
use crate::credentials::Credential;
use crate::{RegistryError, Repository};

/// Bytes of a token with what surrounds it.
const TOKEN_MAX: usize = 64 << 10;
/// Challenges of one answer.
const CHALLENGES_MAX: usize = 8;

/// What was found out about authorization.
#[derive(Debug, Default)]
pub(crate) struct Authorizations(Mutex<BTreeMap<Access, HeaderValue>>);

impl Authorizations {
    pub(crate) async fn get(&self, access: Access) -> Option<HeaderValue> {
        self.0.lock().await.get(&access).cloned()
    }
}

/// A way to be authorized that a registry offers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    /// A token from elsewhere.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// The challenges that are understood.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let parsed = texts.take(CHALLENGES_MAX).flat_map(|text| {
        let all = http_auth::parser::ChallengeParser::new(text);
        all.take(CHALLENGES_MAX)
            .filter_map(Result::ok)
            .filter_map(|one| understood(&one))
            .collect::<Vec<_>>()
    });
    parsed.collect()
}

fn understood(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    let parameter = |wanted: &str| {
        let mut all = challenge.params.iter();
        all.find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.to_unescaped())
    };
    if challenge.scheme.eq_ignore_ascii_case("basic") {
        Some(Challenge::Basic)
    } else if challenge.scheme.eq_ignore_ascii_case("bearer") {
        Some(Challenge::Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
        })
    } else {
        None
    }
}

impl Repository {
    /// Gets what the registry wants to see, after it refused what it was shown. `false` when there is
    /// nothing that would change its mind.
    pub(crate) async fn authorize(
        &self,
        access: Access,
        shown: Option<&HeaderValue>,
        challenges: &[Challenge],
        deadline: Instant,
    ) -> Result<bool, RegistryError> {
        if self.authorizations.get(access).await.as_ref() != shown {
            // Another request that was refused meanwhile has got it.
            return Ok(true);
        }
        let value = match challenges.first() {
            None => None,
            Some(Challenge::Basic) => self.basic(),
            Some(Challenge::Bearer { realm, service }) => {
                let token = self
                    .token(realm, service.as_deref(), access, deadline)
                    .await?;
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                    .map_err(|_| self.bad_token("it has characters that no token has"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        match value {
            // The same again would be refused again.
            Some(value) if shown != Some(&value) => {
                let mut known = self.authorizations.0.lock().await;
                known.insert(access, value);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// `Authorization: Basic` with the user's password.
    fn basic(&self) -> Option<HeaderValue> {
        let Some(Credential::Password { user, password }) = &self.credential else {
            return None;
        };
        let pair = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
        let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Source: the distribution project's token authentication specification, and its `OAuth2` form.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        access: Access,
        deadline: Instant,
    ) -> Result<SecretString, RegistryError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut url = Url::parse(realm)
            .map_err(|_| self.bad_token("it says no address where tokens are given"))?;
        let actions = match access {
            Access::Read => "pull",
            Access::Write => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.name.path());
        let mut call = Call::new(Method::GET, url.clone(), access, "an authorization");
        let mut authorization = None;
        if let Some(Credential::IdentityToken(refresh)) = &self.credential {
            let mut form = Url::parse("x:").expect("a scheme alone is an address");
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", refresh.expose_secret())
                .append_pair("client_id", "agentfactory")
                .append_pair("service", service.unwrap_or_default())
                .append_pair("scope", &scope);
            call.method = Method::POST;
            call.body = form.query().unwrap_or_default().to_owned().into();
            let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
            call.headers.insert(CONTENT_TYPE, urlencoded);
        } else {
            if let Some(service) = service {
                url.query_pairs_mut().append_pair("service", service);
            }
            url.query_pairs_mut().append_pair("scope", &scope);
            call.url = url;
            authorization = self.basic();
        }
        let answer = self.ask_elsewhere(&call, authorization, deadline).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer, access).await);
        }
        let body = answer.body(TOKEN_MAX).await?;
        let token: Token = serde_json::from_slice(&body)
            .map_err(|_| self.bad_token("it is not the JSON of a token"))?;
        let token = token.token.or(token.access_token);
        let token = token.filter(|token| !token.is_empty());
        token
            .map(SecretString::from)
            .ok_or_else(|| self.bad_token("there is no token in it"))
    }

    fn bad_token(&self, why: &str) -> RegistryError {
        RegistryError::Untrue {
            host: self.name.host().to_owned(),
            what: "an authorization".to_owned(),
            why: why.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let check = |text: &str, expected: &[Challenge]| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
            assert_eq!(challenges(&headers), expected, "{text}");
        };
        check("Basic realm=\"x\"", &[Challenge::Basic]);
        let bearer = Challenge::Bearer {
            realm: "https://auth.example.org/token".to_owned(),
            service: Some("registry.example.org".to_owned()),
        };
        check(
            "Bearer realm=\"https://auth.example.org/token\",service=\"registry.example.org\"",
            &[bearer],
        );
        check("Bearer service=\"x\"", &[]);
        check("Negotiate", &[]);
        check("=,=,=", &[]);
    }
}
