//! Endpoints of models and their keys.

use std::collections::BTreeMap;

use llm::{ApiKey, Provider};
use secrecy::SecretString;

use super::file::ProviderTable;
use crate::environment::{self as env, Environment};
use crate::exit::Problem;

/// The endpoints: built in, then as the file says, then as the environment says.
pub(super) fn providers(
    tables: BTreeMap<String, ProviderTable>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<llm::Settings, Problem> {
    let mut settings = llm::Settings::default();
    for (name, table) in tables {
        let provider = provider(&name, table, settings.providers.get(&name))?;
        settings.providers.insert(name, provider);
    }
    let addresses = [
        ("anthropic", env::ANTHROPIC_BASE_URL),
        ("openai", env::OPENAI_BASE_URL),
    ];
    for (name, variable) in addresses {
        if let Some(address) = environment.text_or_file(variable)
            && let Some(provider) = settings.providers.get_mut(name)
        {
            if environment.is_from_file(variable) && !is_local(&address) {
                let key = provider.key.as_ref().map(|key| key.variable.as_str());
                warnings.push(elsewhere(environment, variable, &address, key)?);
            }
            provider.base_url = address;
        }
    }
    for key in settings
        .providers
        .values_mut()
        .filter_map(|provider| provider.key.as_mut())
    {
        let secret = environment.text_or_file(&key.variable);
        key.secret = secret.map(|secret| SecretString::from(secret.trim()));
    }
    Ok(settings)
}

fn provider(
    name: &str,
    table: ProviderTable,
    known: Option<&Provider>,
) -> Result<Provider, Problem> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if name.is_empty() || name == "scripted" || !name.chars().all(plain) {
        let name = spec::printable(name, 80);
        return Err(Problem::usage(format!("`{name}` cannot name a provider"))
            .hint("use a-z, 0-9, `-` and `_`; `scripted` is taken"));
    }
    let key = table.key_env.map(|variable| ApiKey {
        variable: variable.0.0,
        secret: None,
    });
    let base_url = table
        .base_url
        .or_else(|| known.map(|known| known.base_url.clone()));
    let base_url = base_url.ok_or_else(|| {
        Problem::usage(format!("the provider `{name}` has no address"))
            .hint(format!("set `base_url` in [providers.{name}]"))
    })?;
    let default = known.map_or(llm::Protocol::OpenAiChat, |known| known.protocol);
    Ok(Provider {
        protocol: table.protocol.map_or(default, |protocol| protocol.0),
        base_url,
        key: key.or_else(|| known.and_then(|known| known.key.clone())),
    })
}

/// What to say of a provider's address on another machine that `.env` decides.
///
/// # Errors
/// [`Problem`] when a key that was set elsewhere would be sent there: the file may be anybody's.
fn elsewhere(
    environment: &Environment,
    variable: &str,
    address: &str,
    key: Option<&str>,
) -> Result<String, Problem> {
    let address = spec::printable(address, 120);
    if let Some(key) = key.filter(|key| environment.raw(key).is_some()) {
        return Err(Problem::refused(format!(
            "`.env` of this folder sets {variable} to `{address}`, but {key} is not from that file"
        ))
        .hint(format!(
            "set {variable} in the environment if {key} is to be sent there, or remove it from `.env`"
        )));
    }
    Ok(format!(
        "`.env` of this folder sets {variable} to {address}"
    ))
}

/// Whether a provider's address is on this machine. What is not surely so is not.
fn is_local(address: &str) -> bool {
    let rest = address
        .strip_prefix("http://")
        .or_else(|| address.strip_prefix("https://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#', '\\']).next());
    let authority = authority.unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let loopback = host
        .parse()
        .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    host == "localhost" || loopback
}
