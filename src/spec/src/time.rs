//! Durations as people write them.

use std::time::Duration;

/// A text that is not a duration that anything can take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is something else, or too long.
    #[error("`{0}` is not a duration: write a whole number and ms, s, m or h, such as `10s`")]
    Unreadable(String),
    /// It is zero.
    #[error("`{0}` is no time at all: write at least `1ms`")]
    Zero(String),
}

/// Reads `500ms`, `10s`, `2m` or `1h`; a bare number is seconds.
///
/// # Errors
/// [`DurationError`] for anything else, and for zero.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError::Unreadable(text.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    match number.checked_mul(unit_ms) {
        Some(0) => Err(DurationError::Zero(text.to_owned())),
        None => Err(error()),
        Some(total_ms) => Ok(Duration::from_millis(total_ms)),
    }
}

/// Writes a duration for people: `740ms`, `3.2s`, `2m05s`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{:.1}s", duration.as_secs_f64()),
        _ => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let check = |text: &str, ms: u64| {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        };
        check("500ms", 500);
        check("10s", 10_000);
        check("10", 10_000);
        check("2m", 120_000);
        check("1h", 3_600_000);
        for bad in [
            "",
            "s",
            "0",
            "0s",
            "-1s",
            "1.5s",
            "1d",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
