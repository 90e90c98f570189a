//! The package index, as the environment, the file and pip's own configuration name it.

use ::egress::HostError;
use orchestrator::{Authorities, IndexAccess, IndexError, PackageIndex};

use super::file::PythonTable;
use super::pip::{self, PipSettings};
use crate::environment::{self as env, Environment};

/// The package index: the environment goes over the file, and the file over pip's own, which were not
/// written for this program: that it can use them is not for every command to demand.
pub(super) fn index(
    file: PythonTable,
    environment: &Environment,
) -> Result<PackageIndex, IndexError> {
    let pip = PipSettings::read(environment);
    let url = environment.text(env::PIP_INDEX_URL).or(file.index);
    let url = url
        .or_else(|| pip.index_url())
        .ok_or(IndexError::NotNamed)?;
    let hosts = file.index_hosts.iter().map(|host| {
        host.parse().map_err(|error: HostError| IndexError::Files {
            host: spec::printable(host, 200),
            why: error.to_string(),
        })
    });
    let index = PackageIndex::new(&url, hosts.collect::<Result<_, _>>()?)?;
    let authorities = pip.cert().map(|file| match pip::read(&file) {
        Ok(pem) => Ok(Authorities {
            file: file.display().to_string(),
            pem,
        }),
        Err(error) => Err(IndexError::Certificates {
            file: file.clone(),
            why: error.to_string(),
        }),
    });
    Ok(index
        .reached(access(environment, &pip))
        .believing(authorities.transpose()?)
        .noting(pip.ignored()))
}

/// How this machine reaches the index: proxies, and the passwords of the user's netrc file.
fn access(environment: &Environment, pip: &PipSettings) -> IndexAccess {
    let any = |names: &[&str]| names.iter().find_map(|name| environment.text(name));
    let usual = || environment.user_home().map(|home| home.join(".netrc"));
    let netrc = environment.path(env::NETRC).or_else(usual);
    // Without one, no host wants a password.
    let netrc = netrc.and_then(|path| std::fs::read_to_string(path).ok());
    let netrc = netrc.unwrap_or_default();
    // As to pip, one of its own is the only one.
    if let Some(own) = pip.proxy() {
        return IndexAccess::new(Some(&own), Some(&own), "", &netrc);
    }
    let https = any(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    let http = any(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]);
    let direct = any(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
    IndexAccess::new(https.as_deref(), http.as_deref(), &direct, &netrc)
}
