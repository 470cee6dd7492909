//! Reads API keys from the Keyferry agent without a copy, and follows their rotation.

pub mod tls;
