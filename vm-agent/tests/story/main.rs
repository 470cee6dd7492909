//! The real agent, against a small server made of the protocol crate, and the real SDK.

#[cfg(test)]
mod connection;
#[cfg(test)]
mod jumped_proxy;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod moved_clock;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod server;
#[cfg(test)]
mod start_and_end;
#[cfg(test)]
mod world;
