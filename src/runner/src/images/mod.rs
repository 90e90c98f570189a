//! What sandboxes are made from.
