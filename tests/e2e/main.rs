//! End-to-end tests: the real program, a real engine, a loopback endpoint in the place of a model.

mod hostile;
mod layers;
