//! Whether a locked version is one that a requirement asks for.
//!
//! Only what is plain is compared: a name and bounds on releases that are numbers (PEP 440, PEP 508). Where
//! there is more, such as extras, markers or a URL, the answer is no, and the requirement is locked anew:
//! a lock does not say what of that it was made for.

use std::cmp::Ordering;

/// Whether this distribution in this version is certainly what a requirement asks for.
pub(super) fn hold(requirement: &str, name: &str, version: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let text = requirement.trim();
    let end = text.find(|c| !is_of_name(c)).unwrap_or(text.len());
    let (asked, bounds) = text.split_at(end);
    let bounds = bounds.trim();
    normal(asked) == name
        && (bounds.is_empty() || bounds.split(',').all(|bound| holds(bound, version)))
}

/// A name as locks spell it. Source: PEP 503.
fn normal(name: &str) -> String {
    let words = name.split(['-', '_', '.']);
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_lowercase()
}

/// Whether one bound certainly holds.
fn holds(bound: &str, version: &str) -> bool {
    const OPERATORS: [&str; 8] = ["===", "~=", "==", "!=", "<=", ">=", "<", ">"];
    let bound = bound.trim();
    let mut operators = OPERATORS.into_iter();
    let Some(operator) = operators.find(|operator| bound.starts_with(operator)) else {
        return false;
    };
    let rest = bound[operator.len()..].trim();
    if operator.starts_with("==") && rest == version {
        return true;
    }
    let Some(found) = release(version) else {
        return false;
    };
    if let Some(prefix) = rest.strip_suffix(".*") {
        let Some(prefix) = release(prefix) else {
            return false;
        };
        return match operator {
            "==" => begins(&found, &prefix),
            "!=" => !begins(&found, &prefix),
            _ => false,
        };
    }
    let Some(asked) = release(rest) else {
        return false;
    };
    let order = compare(&found, &asked);
    match operator {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<=" => order.is_le(),
        ">=" => order.is_ge(),
        "<" => order.is_lt(),
        ">" => order.is_gt(),
        "~=" => asked.len() > 1 && order.is_ge() && begins(&found, &asked[..asked.len() - 1]),
        _ => false,
    }
}

/// The numbers of a version that has nothing else.
fn release(text: &str) -> Option<Vec<u64>> {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = text.split('.');
    parts
        .map(|part| is_number(part).then(|| part.parse().ok()).flatten())
        .collect()
}

/// What is not written is zero.
fn at(release: &[u64], place: usize) -> u64 {
    release.get(place).copied().unwrap_or_default()
}

fn compare(one: &[u64], other: &[u64]) -> Ordering {
    let places = 0..one.len().max(other.len());
    let mut orders = places.map(|place| at(one, place).cmp(&at(other, place)));
    orders
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn begins(release: &[u64], prefix: &[u64]) -> bool {
    (0..prefix.len()).all(|place| at(release, place) == prefix[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_answers_what_its_versions_certainly_are() {
        let check = |requirement: &str, version: &str, expected: bool| {
            let found = hold(requirement, "ruamel-yaml", version);
            assert_eq!(found, expected, "{requirement} {version}");
        };
        for (bounds, version, expected) in [
            ("", "1.17.0", true),
            (">=1.0", "1.17.0", true),
            ("<1.17", "1.17.0", false),
            ("<1.17.1", "1.17.0", true),
            (" >= 1.9 , < 2", "1.17.0", true),
            (">=1.9,<1.10", "1.17.0", false),
            ("==1.17", "1.17.0", true),
            ("==1.17.0", "1.17.0", true),
            ("==1.17.*", "1.17.5", true),
            ("==1.1.*", "1.17.5", false),
            ("!=1.17.*", "1.17.5", false),
            ("!=1.16", "1.17.0", true),
            ("!=1.17", "1.17.0", false),
            ("~=1.4.2", "1.4.9", true),
            ("~=1.4.2", "1.5.0", false),
            ("~=1.4.2", "1.4.1", false),
            ("~=1", "1.4.1", false),
            (">1", "1.0", false),
            ("<=1", "1.0", true),
            ("===1.0", "1.0", true),
            ("===1.0", "1.0.0", false),
            // A version that is not only numbers is known by its text alone.
            ("==2.0rc1", "2.0rc1", true),
            (">=2.0", "2.0rc1", false),
            (">=1!1.0", "2.0", false),
            // What a lock does not say.
            ("[jinja2]", "1.17.0", false),
            ("[jinja2]>=1", "1.17.0", false),
            ("; python_version < '4'", "1.17.0", false),
            (" @ https://example.org/a.whl", "1.17.0", false),
            ("1.0", "1.17.0", false),
            (">=", "1.17.0", false),
        ] {
            check(&format!("Ruamel.YAML{bounds}"), version, expected);
        }
        check("ruamel_yaml>=1", "1.17.0", true);
        check("ruamel", "1.17.0", false);
        check("", "1.17.0", false);
    }
}
