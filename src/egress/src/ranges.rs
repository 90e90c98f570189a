//! Addresses that are never dialled, whatever a name resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses: its first address, the length of its prefix, and what it is.
type Range<A> = (A, u32, &'static str);

/// Source: the IANA IPv4 Special-Purpose Address Registry and, for multicast and class E, RFC 5771
/// and RFC 1112. Left out are the few special ranges that are reachable by everyone (AS112, AMT).
const V4: &[Range<Ipv4Addr>] = &[
    (Ipv4Addr::UNSPECIFIED, 8, "unspecified"), // RFC 791; Linux connects 0.0.0.0 to itself.
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"), // RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by carriers"), // RFC 6598
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"), // RFC 1122
    (
        Ipv4Addr::new(168, 63, 129, 16),
        32,
        "a cloud's metadata service",
    ), // Azure's wire server
    (
        Ipv4Addr::new(169, 254, 0, 0),
        16,
        "link-local or a metadata service",
    ), // RFC 3927
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"), // RFC 1918
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocols"), // RFC 6890
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"), // RFC 5737
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay"), // RFC 7526
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"), // RFC 1918
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"), // RFC 2544
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"), // RFC 5737
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"), // RFC 5737
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"), // RFC 5771
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"), // RFC 1112; holds 255.255.255.255, RFC 919.
];

/// Source: the IANA IPv6 Special-Purpose Address Registry. The first match gives the name.
const V6: &[Range<Ipv6Addr>] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"), // RFC 4291
    (Ipv6Addr::LOCALHOST, 128, "loopback"),      // RFC 4291
    (v6(0, 0, 0, 0), 96, "an IPv4 address in disguise"), // RFC 4291, IPv4-compatible
    (
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        96,
        "an IPv4 address in disguise",
    ), // RFC 4291
    (
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0),
        96,
        "an IPv4 address in disguise",
    ), // RFC 2765
    (v6(0x64, 0xff9b, 0, 0), 96, "an IPv4 address in disguise"), // RFC 6052, NAT64
    (v6(0x64, 0xff9b, 1, 0), 48, "an IPv4 address in disguise"), // RFC 8215, local NAT64
    (v6(0x100, 0, 0, 0), 64, "discarded"),       // RFC 6666
    (v6(0x2001, 0, 0, 0), 32, "an IPv4 address in disguise"), // RFC 4380, Teredo
    (v6(0x2001, 0, 0, 0), 23, "for protocols"),  // RFC 2928; benchmarks and ORCHID are in it.
    (v6(0x2001, 0xdb8, 0, 0), 32, "for documentation"), // RFC 3849
    (v6(0x2002, 0, 0, 0), 16, "an IPv4 address in disguise"), // RFC 3056, 6to4
    (v6(0x3fff, 0, 0, 0), 20, "for documentation"), // RFC 9637
    (v6(0xfc00, 0, 0, 0), 7, "private"),         // RFC 4193; clouds' metadata services are in it.
    (v6(0xfe80, 0, 0, 0), 10, "link-local"),     // RFC 4291
    (v6(0xfec0, 0, 0, 0), 10, "site-local"),     // RFC 3879
    (v6(0xff00, 0, 0, 0), 8, "multicast"),       // RFC 4291
];

/// The only addresses that are assigned for global unicast. Source: RFC 3587, section 3.
const V6_GLOBAL: Range<Ipv6Addr> = (v6(0x2000, 0, 0, 0), 3, "");

const fn v6(a: u16, b: u16, c: u16, d: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

/// What an address is, if it is one that no subagent may reach; none for a public address.
///
/// What is not known to be public is forbidden. An IPv6 address that carries an IPv4 address is
/// forbidden whichever it carries, because who reads it in the end is not known.
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => V4
            .iter()
            .find(|range| holds_v4(range, address))
            .map(|range| range.2),
        IpAddr::V6(address) => V6
            .iter()
            .find(|range| holds_v6(range, address))
            .map(|range| range.2)
            .or_else(|| (!holds_v6(&V6_GLOBAL, address)).then_some("reserved")),
    }
}

fn holds_v4((first, prefix, _): &Range<Ipv4Addr>, address: Ipv4Addr) -> bool {
    (first.to_bits() ^ address.to_bits())
        .checked_shr(32 - prefix)
        .unwrap_or(0)
        == 0
}

fn holds_v6((first, prefix, _): &Range<Ipv6Addr>, address: Ipv6Addr) -> bool {
    (first.to_bits() ^ address.to_bits())
        .checked_shr(128 - prefix)
        .unwrap_or(0)
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: Option<&str>) {
        assert_eq!(forbidden(address.parse().unwrap()), expected, "{address}");
    }

    /// The first and the last address, and those just outside.
    fn check_edges(before: Option<&str>, first: &str, last: &str, after: Option<&str>) {
        for outside in [before, after].into_iter().flatten() {
            check(outside, None);
        }
        for inside in [first, last] {
            assert!(forbidden(inside.parse().unwrap()).is_some(), "{inside}");
        }
    }

    #[test]
    fn each_ipv4_range_ends_where_its_source_says() {
        check_edges(None, "0.0.0.0", "0.255.255.255", Some("1.0.0.0"));
        check_edges(
            Some("9.255.255.255"),
            "10.0.0.0",
            "10.255.255.255",
            Some("11.0.0.0"),
        );
        check_edges(
            Some("100.63.255.255"),
            "100.64.0.0",
            "100.127.255.255",
            Some("100.128.0.0"),
        );
        check_edges(
            Some("126.255.255.255"),
            "127.0.0.0",
            "127.255.255.255",
            Some("128.0.0.0"),
        );
        check_edges(
            Some("168.63.129.15"),
            "168.63.129.16",
            "168.63.129.16",
            Some("168.63.129.17"),
        );
        check_edges(
            Some("169.253.255.255"),
            "169.254.0.0",
            "169.254.255.255",
            Some("169.255.0.0"),
        );
        check_edges(
            Some("172.15.255.255"),
            "172.16.0.0",
            "172.31.255.255",
            Some("172.32.0.0"),
        );
        check_edges(
            Some("191.255.255.255"),
            "192.0.0.0",
            "192.0.0.255",
            Some("192.0.1.0"),
        );
        check_edges(
            Some("192.0.1.255"),
            "192.0.2.0",
            "192.0.2.255",
            Some("192.0.3.0"),
        );
        check_edges(
            Some("192.88.98.255"),
            "192.88.99.0",
            "192.88.99.255",
            Some("192.88.100.0"),
        );
        check_edges(
            Some("192.167.255.255"),
            "192.168.0.0",
            "192.168.255.255",
            Some("192.169.0.0"),
        );
        check_edges(
            Some("198.17.255.255"),
            "198.18.0.0",
            "198.19.255.255",
            Some("198.20.0.0"),
        );
        check_edges(
            Some("198.51.99.255"),
            "198.51.100.0",
            "198.51.100.255",
            Some("198.51.101.0"),
        );
        check_edges(
            Some("203.0.112.255"),
            "203.0.113.0",
            "203.0.113.255",
            Some("203.0.114.0"),
        );
        check_edges(
            Some("223.255.255.255"),
            "224.0.0.0",
            "255.255.255.255",
            None,
        );
        check("169.254.169.254", Some("link-local or a metadata service"));
        check("239.255.255.255", Some("multicast"));
        check("240.0.0.0", Some("reserved"));
        check("8.8.8.8", None);
    }

    #[test]
    fn each_ipv6_range_ends_where_its_source_says() {
        let last = "ffff:ffff:ffff:ffff:ffff:ffff";
        // Global unicast, and nothing around it.
        check(&format!("1fff:ffff:{last}"), Some("reserved"));
        check("2000::", None);
        check(&format!("3ffe:ffff:{last}"), None);
        check(&format!("3fff:0fff:{last}"), Some("for documentation"));
        check("3fff:1000::", None);
        check(&format!("3fff:ffff:{last}"), None);
        check("4000::", Some("reserved"));
        check("5f00::1", Some("reserved"));
        check(&format!("2000:ffff:{last}"), None);
        check("2001::", Some("an IPv4 address in disguise"));
        check(
            &format!("2001:0:{last}"),
            Some("an IPv4 address in disguise"),
        );
        check("2001:1::", Some("for protocols"));
        check("2001:2::", Some("for protocols"));
        check(&format!("2001:1ff:{last}"), Some("for protocols"));
        check("2001:200::", None);
        check(&format!("2001:db7:{last}"), None);
        check("2001:db8::", Some("for documentation"));
        check(&format!("2001:db8:{last}"), Some("for documentation"));
        check("2001:db9::", None);
        check(&format!("2001:ffff:{last}"), None);
        check("2002::", Some("an IPv4 address in disguise"));
        check("2002:7f00:1::", Some("an IPv4 address in disguise"));
        check(
            &format!("2002:ffff:{last}"),
            Some("an IPv4 address in disguise"),
        );
        check("2003::", None);
        check("2606:4700::1111", None);
        // Below and above it.
        check("::", Some("unspecified"));
        check("::1", Some("loopback"));
        check("::2", Some("an IPv4 address in disguise"));
        check("::127.0.0.1", Some("an IPv4 address in disguise"));
        check("::8.8.8.8", Some("an IPv4 address in disguise"));
        check("::ffff:127.0.0.1", Some("an IPv4 address in disguise"));
        check("::ffff:8.8.8.8", Some("an IPv4 address in disguise"));
        check("::ffff:0:127.0.0.1", Some("an IPv4 address in disguise"));
        check("64:ff9b::127.0.0.1", Some("an IPv4 address in disguise"));
        check("64:ff9b::8.8.8.8", Some("an IPv4 address in disguise"));
        check("64:ff9b:1::a00:1", Some("an IPv4 address in disguise"));
        check("64:ff9b:2::", Some("reserved"));
        check("100::1", Some("discarded"));
        check("fbff::", Some("reserved"));
        check("fc00::", Some("private"));
        check("fd00:ec2::254", Some("private"));
        check(&format!("fdff:ffff:{last}"), Some("private"));
        check("fe00::", Some("reserved"));
        check("fe80::1", Some("link-local"));
        check(&format!("febf:ffff:{last}"), Some("link-local"));
        check("fec0::1", Some("site-local"));
        check(&format!("feff:ffff:{last}"), Some("site-local"));
        check("ff00::", Some("multicast"));
        check("ff02::1", Some("multicast"));
        check(&format!("ffff:ffff:{last}"), Some("multicast"));
    }

    #[test]
    fn a_range_begins_at_its_first_address() {
        for (first, prefix, what) in V4 {
            assert_eq!(
                first.to_bits() & (u32::MAX.checked_shr(*prefix).unwrap_or(0)),
                0,
                "{what}"
            );
        }
        for (first, prefix, what) in V6 {
            assert_eq!(
                first.to_bits() & (u128::MAX.checked_shr(*prefix).unwrap_or(0)),
                0,
                "{what}"
            );
        }
    }
}
