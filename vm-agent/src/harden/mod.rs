//! What the agent gives up before it touches a secret, and before it talks to anybody.
//!
//! ```text
//!  alone, one thread                         | socket bound, ticket read     | runtime
//!  dumps ▶ privileges ▶ memory ▶ (Arena)     | files ▶ capabilities ▶ calls  | threads inherit all
//! ```
//!
//! Landlock and capabilities belong to a thread, so both come before the second thread exists.
//! The order within is forced: Landlock and seccomp need no_new_privs, seccomp forbids the calls
//! that the steps before it make.

pub mod descriptors;
pub mod dumps;
pub mod files;
pub mod memory;
pub mod privileges;
pub mod system_calls;

use std::io;

use keyferry_protocol::memory::{MemoryError, ProtectionLevel};
use serde::Serialize;

use keyferry_sdk::lease;

/// One thing that was given up, for `status` and the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is, as a stable word.
    pub step: &'static str,
    /// How far it is in force.
    pub level: String,
    /// Whether this is less than the agent asks for.
    pub degraded: bool,
}

impl Step {
    fn full(step: &'static str, level: impl Into<String>) -> Self {
        Self {
            step,
            level: level.into(),
            degraded: false,
        }
    }
}

/// Whether the operator accepts a machine that cannot do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// Anything missing stops the agent.
    Strict,
    /// `allow_degraded`: it is logged and shown, and the agent runs.
    Degraded,
}

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardenError {
    /// The kernel refused a step that every supported kernel has.
    #[error("hardening failed: {step}")]
    Refused {
        /// The step.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no locked memory.
    #[error("there is no memory that keeps a secret; set allow_degraded to run without it")]
    Memory(#[source] MemoryError),
    /// The kernel is without something that is wanted.
    #[error("this kernel has no {0}; set allow_degraded to run without it")]
    Missing(&'static str),
    /// The filter of system calls could not be made or applied.
    #[error("the system call filter cannot be applied")]
    Filter(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl HardenError {
    fn refused(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Refused {
            step,
            source: errno.into(),
        }
    }
}

/// The first half, before any secret is in this process.
pub fn before_secrets(tolerance: Tolerance) -> Result<(ProtectionLevel, Vec<Step>), HardenError> {
    // The first look at a clock reads the auxiliary vector, which is closed to us afterwards.
    let _now = lease::now();
    descriptors::make_room();
    let mut steps = vec![dumps::no_core_files()?, dumps::not_dumpable()?];
    steps.push(privileges::no_new_privileges()?);
    let (level, step) = memory::prove(tolerance)?;
    steps.push(step);
    Ok((level, steps))
}

/// The second half, when all files are open and still one thread exists.
pub fn before_strangers(tolerance: Tolerance) -> Result<Vec<Step>, HardenError> {
    Ok(vec![
        files::write_nothing(tolerance)?,
        privileges::drop_capabilities()?,
        system_calls::allow_only_what_is_needed()?,
    ])
}

/// For `status`: what a restored or cloned machine would be known by.
pub fn what_shows_a_restore(shown_by: &[&str]) -> Step {
    let level = match shown_by {
        [] => "only by its clocks".to_owned(),
        some => some.join(", "),
    };
    Step {
        step: "restore_noticed",
        degraded: shown_by.is_empty(),
        level,
    }
}

/// What the helper that looks at programs gives up: it has to see other processes, and no more.
pub fn of_helper() -> Result<(), HardenError> {
    dumps::no_core_files()?;
    dumps::not_dumpable()?;
    privileges::no_new_privileges()?;
    privileges::keep_only_sight()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
