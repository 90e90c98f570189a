//! Where a registry may lead: not into the machine of whoever asks it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How long a name may take to be found.
const LOOKUP: Duration = Duration::from_secs(15);

/// Which addresses a redirect may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everything: the registry is on this machine's loopback itself.
    Anything,
    /// The network that the registry is in, but not this machine and not its link.
    Network,
    /// Public addresses.
    World,
}

impl Reach {
    fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let (of_machine, of_network) = match address {
            IpAddr::V4(v4) => (
                v4.is_loopback()
                    || v4.is_unspecified()
                    || v4.is_link_local()
                    || v4.is_multicast()
                    || v4.is_broadcast(),
                v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
            ),
            IpAddr::V6(v6) => (
                v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_unicast_link_local()
                    || v6.is_multicast(),
                v6.is_unique_local(),
            ),
        };
        match self {
            Self::Anything => true,
            Self::Network => !of_machine,
            Self::World => !of_machine && !of_network,
        }
    }
}

/// Whether a registry is in a private network, so that what it redirects to may be there too.
pub(crate) async fn resolves_nearby(base: &Url) -> bool {
    let Some(host) = base.host_str() else {
        return false;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let lookup = tokio::net::lookup_host((host, 443));
    let Ok(Ok(mut found)) = tokio::time::timeout(LOOKUP, lookup).await else {
        // Behind a proxy, names need not be known here.
        return false;
    };
    found.any(|address| !Reach::World.allows(address.ip()))
}

/// Whether an address that a registry names may be dialled; if not, what it is.
pub(crate) fn may_dial(url: &Url, scheme: &str, reach: Reach) -> Result<(), String> {
    let shown = format!(
        "{}://{}",
        url.scheme(),
        spec::printable(url.host_str().unwrap_or_default(), 100)
    );
    if url.scheme() != "https" && (url.scheme() != "http" || scheme != "http") {
        return Err(format!("`{shown}`, which is not secure"));
    }
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let is_near = if let Ok(address) = literal.parse::<IpAddr>() {
        !reach.allows(address)
    } else {
        let local = literal == "localhost" || literal.ends_with(".localhost");
        literal.is_empty() || (local && reach != Reach::Anything)
    };
    if is_near {
        return Err(format!(
            "`{shown}`, which is within this machine or network"
        ));
    }
    Ok(())
}

/// Resolves names to those addresses that may be dialled.
pub(crate) struct Guarded(pub(crate) Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|a| reach.allows(a.ip())).collect();
            if allowed.is_empty() {
                return Err("the name leads to this machine or network".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_where_the_registry_may_lead() {
        let check = |url: &str, scheme: &str, reach: Reach, allowed: bool| {
            let url = Url::parse(url).unwrap();
            let found = may_dial(&url, scheme, reach);
            assert_eq!(found.is_ok(), allowed, "{url}: {found:?}");
        };
        check("https://cdn.example.org/x", "https", Reach::World, true);
        check("http://cdn.example.org/x", "https", Reach::World, false);
        check("http://cdn.example.org/x", "http", Reach::Network, true);
        check("file:///etc/passwd", "https", Reach::Anything, false);
        check("ftp://cdn.example.org/x", "http", Reach::Anything, false);
        for near in [
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://169.254.169.254/latest",
            "https://0.0.0.0/x",
            "https://2130706433/x",
            "https://localhost/x",
        ] {
            check(near, "https", Reach::World, false);
            check(near, "https", Reach::Network, false);
            check(near, "https", Reach::Anything, true);
        }
        check("https://10.0.0.1/x", "https", Reach::World, false);
        check("https://10.0.0.1/x", "https", Reach::Network, true);
    }
}
