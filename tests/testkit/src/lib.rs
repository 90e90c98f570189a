//! Fixtures that tests share.
