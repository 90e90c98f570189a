//! What the store promises, tried on real directories.
//!
//! `cfg(test)` is always on here; clippy looks for it to allow `unwrap`.

#[cfg(test)]
mod attached;
#[cfg(test)]
mod closure;
#[cfg(test)]
mod content;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod everything;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod full;
#[cfg(test)]
mod gc;
#[cfg(test)]
mod history;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod model;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod search;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod versions;
