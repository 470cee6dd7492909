//! No picture of this process's memory, for nobody.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::{HardenError, Step};

/// A crash leaves no core file. The hard limit too, so that nothing can raise it again.
pub fn no_core_files() -> Result<Step, HardenError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(HardenError::refused("no_core_files"))?;
    Ok(Step::full("no_core_files", "RLIMIT_CORE=0"))
}

/// Other processes of this user can neither trace this one, nor read its memory, maps and
/// descriptors, nor take a descriptor out of it.
pub fn not_dumpable() -> Result<Step, HardenError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(HardenError::refused("not_dumpable"))?;
    Ok(Step::full("not_dumpable", "PR_SET_DUMPABLE=0"))
}
