//! No way up: no set-uid program, and no capability even for root.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::{HardenError, Step};

/// No program that this process might be made to run gains a privilege.
pub fn no_new_privileges() -> Result<Step, HardenError> {
    set_no_new_privs(true).map_err(HardenError::refused("no_new_privileges"))?;
    Ok(Step::full("no_new_privileges", "PR_SET_NO_NEW_PRIVS=1"))
}

/// Empties all five capability sets of this thread. The bounding set can only be emptied by who
/// has `CAP_SETPCAP`; without it there is nothing left that it could give.
pub fn drop_capabilities() -> Result<Step, HardenError> {
    let refused = || HardenError::refused("no_capabilities");
    clear_ambient_capability_set().map_err(refused())?;
    for capability in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << capability);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one that this kernel knows, or not ours to remove.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(errno) => return Err(refused()(errno)),
        }
    }
    let nothing = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: nothing,
        permitted: nothing,
        inheritable: nothing,
    };
    // A service manager may have taken them all, and the right to change them too.
    if capabilities(None).map_err(refused())? != sets {
        set_capabilities(None, sets).map_err(refused())?;
    }
    Ok(Step::full("no_capabilities", "all dropped"))
}

/// Drops every capability of this thread but those to see what other users' processes run, where
/// it has them.
pub(super) fn keep_only_sight() -> Result<(), HardenError> {
    let refused = || HardenError::refused("no_capabilities");
    clear_ambient_capability_set().map_err(refused())?;
    let sight = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    let mine = capabilities(None).map_err(refused())?.permitted & sight;
    let sets = CapabilitySets {
        effective: mine,
        permitted: mine,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(refused())
}
