//! What this machine's apt knows: where the distribution's packages come from, and how to get them.

use std::path::Path;

use super::bootstrap::{Environment, output_of};

/// The keys that sign the distribution's packages; the newer name first.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// Settings that say how packages are fetched: proxies, certificates, retries.
const SETTINGS: [&str; 9] = [
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::proxy",
    "Acquire::socks::",
    "Acquire::Retries",
    "Acquire::ForceIPv",
    "Acquire::Check-Date",
    "Acquire::Check-Valid-Until",
    "Acquire::Max-FutureTime",
];

/// The lines of a `sources.list` for the suite, with the mirrors that apt here uses.
///
/// `None` where apt does not know the distribution's packages, as on a machine that runs another
/// distribution; then mmdebstrap's own mirror is used.
pub(super) async fn sources(suite: &str, environment: Environment<'_>) -> Option<String> {
    let targets = output_of(
        "apt-get",
        &[
            "indextargets",
            "--format",
            "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)",
            "Created-By: Packages",
        ],
        environment,
    )
    .await?;
    let keyring = KEYRINGS.into_iter().find(|path| Path::new(path).is_file());
    list(&targets, suite, keyring)
}

/// apt's settings, each as a line of its configuration.
pub(super) async fn settings(environment: Environment<'_>) -> Vec<String> {
    let dump = output_of("apt-config", &["dump"], environment).await;
    select(&dump.unwrap_or_default())
}

fn list(targets: &str, suite: &str, keyring: Option<&str>) -> Option<String> {
    let mirror = |label: &str| {
        targets.lines().find_map(|line| {
            let mut fields = line.splitn(4, '|');
            let known =
                fields.next()? == "Debian" && fields.next()? == label && fields.next()? == "main";
            let address = fields.next()?;
            let remote = address.starts_with("http://") || address.starts_with("https://");
            (known && remote).then_some(address)
        })
    };
    let signed = keyring.map_or_else(String::new, |path| format!(" [signed-by={path}]"));
    let main = mirror("Debian")?;
    let mut entries = vec![(main, suite.to_owned()), (main, format!("{suite}-updates"))];
    if let Some(security) = mirror("Debian-Security") {
        entries.push((security, format!("{suite}-security")));
    }
    let line = |(mirror, suite)| format!("deb{signed} {mirror} {suite} main\n");
    Some(entries.into_iter().map(line).collect::<Vec<_>>().concat())
}

fn select(dump: &str) -> Vec<String> {
    dump.lines()
        .filter(|line| SETTINGS.iter().any(|setting| line.starts_with(setting)))
        .filter(|line| !line.ends_with(" \"\";"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_those_of_the_distribution() {
        let targets = "Other|Debian|main|http://other.example/\n\
                       Debian|Debian|contrib|http://contrib.example/\n\
                       Debian|Debian|main|file:/media/\n\
                       Debian|Debian|main|http://mirror.example/debian/\n\
                       Debian|Debian|main|http://second.example/debian/\n";
        let lines = "deb [signed-by=/key] http://mirror.example/debian/ suite main\n\
                     deb [signed-by=/key] http://mirror.example/debian/ suite-updates main\n";
        assert_eq!(list(targets, "suite", Some("/key")).unwrap(), lines);
        let more = format!("{targets}Debian|Debian-Security|main|https://s.example/\n");
        assert_eq!(
            list(&more, "suite", None).unwrap(),
            "deb http://mirror.example/debian/ suite main\n\
             deb http://mirror.example/debian/ suite-updates main\n\
             deb https://s.example/ suite-security main\n"
        );
        assert_eq!(
            list("Ubuntu|Ubuntu|main|http://u.example/\n", "suite", None),
            None
        );
        assert_eq!(
            list("$(ORIGIN)|$(LABEL)|main|http://x/\n", "suite", None),
            None
        );
    }

    #[test]
    fn only_settings_of_the_transport_are_taken() {
        let dump = "APT::Architecture \"amd64\";\n\
                    Acquire::http::Proxy \"http://proxy.example:8\";\n\
                    Acquire::http::User-Agent \"\";\n\
                    Acquire::IndexTargets::deb::Packages::MetaKey \"x\";\n\
                    Acquire::AllowInsecureRepositories \"1\";\n\
                    Acquire::Check-Valid-Until \"false\";\n";
        assert_eq!(
            select(dump),
            [
                "Acquire::http::Proxy \"http://proxy.example:8\";",
                "Acquire::Check-Valid-Until \"false\";"
            ]
        );
    }
}
