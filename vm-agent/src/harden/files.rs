//! Landlock: from here on this process can change no file at all, start no program, and listen on
//! no TCP port.

use landlock::{
    ABI, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetError, RulesetStatus, Scope,
};

use super::{HardenError, Step, Tolerance};

/// Forbids every write, with no exception. Reading stays possible: name resolution needs it.
pub fn write_nothing(tolerance: Tolerance) -> Result<Step, HardenError> {
    let status = restrict().map_err(|error| HardenError::Filter(Box::new(error)))?;
    if status.ruleset == RulesetStatus::NotEnforced && tolerance == Tolerance::Strict {
        return Err(HardenError::Missing("Landlock"));
    }
    Ok(Step {
        step: "no_file_writes",
        level: level(&status),
        degraded: status.ruleset == RulesetStatus::NotEnforced,
    })
}

fn restrict() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(NEWEST) | AccessFs::Execute)?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?
        .create()?
        .restrict_self()
}

fn level(status: &RestrictionStatus) -> String {
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            format!("Landlock ABI {}", effective_abi as i32)
        }
        LandlockStatus::NotEnabled => "Landlock is switched off in this kernel".to_owned(),
        LandlockStatus::NotImplemented => "no Landlock in this kernel".to_owned(),
    }
}

/// Later ones add rights that forbid connecting to Unix sockets, which resolvers and systemd need.
const NEWEST: ABI = ABI::V6;
