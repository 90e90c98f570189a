//! What a program may be given in place of the world's clock and randomness.

/// The clock and the random numbers of a run, as far as somebody asked for fixed ones.
///
/// They are no part of a version: its author does not decide them. What they replace is Python's own,
/// in the process that runs `main`; `images/base/README.md` says what exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Determinism {
    /// What its clock begins with, in milliseconds since 1970 began (UTC), at most
    /// [`Self::CLOCK_MS_MAX`]; none leaves it the machine's clock.
    pub clock_ms: Option<u64>,
    /// What its generators of random numbers begin with; none leaves them to chance.
    pub seed: Option<u32>,
}

impl Determinism {
    /// The last clock: 9000-01-01. Python's dates end a thousand years later, and the clock goes on.
    pub const CLOCK_MS_MAX: u64 = 221_845_392_000_000;

    /// Whether anything is fixed.
    pub fn is_on(&self) -> bool {
        self.clock_ms.is_some() || self.seed.is_some()
    }
}
