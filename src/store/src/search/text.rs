//! Words, code symbols and vectors of texts. Nothing here reads a file or fails.

use std::collections::BTreeSet;

use spec::Digest;

/// Numbers of a vector: enough to tell texts of a few lines apart.
pub(crate) const DIMENSIONS: usize = 256;
/// The product of two directions that are the same.
pub(crate) const SAME: i32 = 127 * 127;
/// Words of one text that count; a description of many pages fits.
const WORDS_MAX: usize = 20_000;
/// Characters of a word; longer ones are keys or noise.
const WORD_CHARS: usize = 64;
/// Symbols of one version that count.
const SYMBOLS_MAX: usize = 2_000;

/// The words of a text in lower case, as the index cuts them: letters and digits.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .map(|word| {
            word.chars()
                .take(WORD_CHARS)
                .flat_map(char::to_lowercase)
                .collect()
        })
}

/// The functions, classes and modules that Python source names: by line, without understanding it.
pub(crate) fn symbols(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in source.lines() {
        let mut parts = line.split_whitespace();
        let parts: Vec<&str> = match parts.next() {
            Some("def" | "class") => parts.take(1).collect(),
            Some("async") => parts.skip(1).take(1).collect(),
            Some("import" | "from") => parts.take(16).collect(),
            _ => continue,
        };
        for part in parts {
            let end = part.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
            let symbol = &part[..end.unwrap_or(part.len())];
            if !matches!(symbol, "" | "import" | "as") && found.len() < SYMBOLS_MAX {
                found.insert(symbol.chars().take(WORD_CHARS).collect());
            }
        }
    }
    found
}

/// A text as a direction: its words and their parts of three characters, hashed into [`DIMENSIONS`] numbers.
/// Texts that share parts of words point the same way, however the words are spelled.
pub(crate) fn vector(text: &str) -> Vec<i8> {
    let mut sums = [0.0_f32; DIMENSIONS];
    let mut add = |part: &str, weight: f32| {
        let hash = hash(part);
        let at = usize::from(u8::try_from(hash & 0xff).unwrap_or_default());
        sums[at] += if hash & 0x100 == 0 { weight } else { -weight };
    };
    for word in words(text) {
        add(&word, 1.0);
        let padded: Vec<char> = format!("^{word}$").chars().collect();
        for three in padded.windows(3) {
            add(&three.iter().collect::<String>(), 0.5);
        }
    }
    let length = sums
        .iter()
        .map(|sum| sum * sum)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is between -127 and 127"
    )]
    let scaled = sums.iter().map(|sum| (sum / length * 127.0).round() as i8);
    scaled.collect()
}

/// How alike two directions are: 1 for the same one.
pub(crate) fn alike(a: &[i8], b: &[i8]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
    f64::from(products.sum::<i32>()) / f64::from(SAME)
}

/// FNV-1a: what it gives must never change while vectors are kept.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Standard deviations on either side of 95 % of a normal distribution.
const Z: f64 = 1.96;

/// The lower bound of a share with 95 % certainty: few trials prove little.
/// Source: Wilson, Probable Inference (1927).
pub(crate) fn wilson(good: u64, all: u64) -> f64 {
    if all == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
    let (good, all) = (good as f64, all as f64);
    let share = good / all;
    let middle = share + Z * Z / (2.0 * all);
    let spread = Z * (share * (1.0 - share) / all + Z * Z / (4.0 * all * all)).sqrt();
    ((middle - spread) / (1.0 + Z * Z / all)).max(0.0)
}

/// The digest of a row.
pub(crate) fn digest(bytes: [u8; 32]) -> Digest {
    Digest::from_sha256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_line_by_line() {
        let source = "import os, csv as c\nfrom pathlib import Path\n\nclass Reader(Base):\n    async def go(self):\n  def main(query): pass\nx = 'def'\n";
        let found: Vec<_> = symbols(source).into_iter().collect();
        assert_eq!(
            found,
            ["Path", "Reader", "c", "csv", "go", "main", "os", "pathlib"]
        );
    }

    #[test]
    fn what_is_spelled_alike_points_the_same_way() {
        let of = vector("writes a README for a project");
        let near = alike(&of, &vector("write readmes for projects"));
        let far = alike(&of, &vector("exchange rates of the euro"));
        assert!(near > 0.4 && far < 0.2, "{near} {far}");
        assert!(alike(&of, &of) > 0.95);
        assert!(alike(&vector(""), &of).abs() < f64::EPSILON);
    }

    #[test]
    fn few_trials_prove_little() {
        assert!(wilson(0, 0) < wilson(1, 1));
        assert!(wilson(1, 1) < wilson(9, 10));
        assert!(wilson(9, 10) < wilson(90, 100));
        assert!(wilson(0, 10) < 1e-9);
    }
}
