//! What the benchmarks share: both ends of a handshake, and an agent that serves one page.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod ends;
mod page_server;

pub use ends::Ends;
pub use page_server::serve_one_page;
