//! Content-addressed library.
