//! The forward proxy through which a sandbox reaches the hosts that it was granted, and nothing else.
//!
//! Each connection of the program to its loopback proxy arrives here as a byte stream, which is
//! hostile. HTTPS is terminated with a certificate authority made for one run, so that every
//! exchange is seen, bounded and recorded; what was recorded can answer in place of the world.
