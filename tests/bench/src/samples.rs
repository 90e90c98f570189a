//! Samples of one measurement, and what is said of them.

use std::time::Duration;

use serde::Serialize;

/// Times of one thing, in the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(0.5)
    }

    /// The nearest-rank percentile: the smallest sample that is not below `share` of all.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among thousands at most"
        )]
        let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            median: ms(self.median()),
            p95: ms(self.at(0.95)),
            samples: self.0.iter().copied().map(ms).collect(),
        }
    }
}

/// What is written down of a row, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    #[serde(rename = "median_ms")]
    pub(crate) median: f64,
    #[serde(rename = "p95_ms")]
    pub(crate) p95: f64,
    #[serde(rename = "samples_ms")]
    pub(crate) samples: Vec<f64>,
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// How many times `slow` is as long as `fast`.
pub(crate) fn ratio(slow: Duration, fast: Duration) -> f64 {
    slow.as_secs_f64() / fast.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples = Samples::default();
        for number in [5_u64, 1, 4, 2, 3] {
            samples.add(Duration::from_millis(number));
        }
        assert_eq!(samples.median(), Duration::from_millis(3));
        assert_eq!(samples.at(0.95), Duration::from_millis(5));
        assert_eq!(samples.at(0.0), Duration::from_millis(1));
        assert_eq!(Samples::default().median(), Duration::ZERO);
    }
}
