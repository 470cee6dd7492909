//! What would make this machine safer, or get the agent going again.

use std::fs::read_to_string;

use keyferry_protocol::memory::ProtectionLevel;
use keyferry_sdk::status::ConnectionState;

/// For `status`: only what applies here and now.
pub(super) fn advice(protection: ProtectionLevel, state: ConnectionState) -> Vec<String> {
    let mut advice = Vec::new();
    if protection < ProtectionLevel::Mlock {
        advice.push(MEMLOCK);
    }
    if protection < ProtectionLevel::MemfdSecret {
        advice.push(SECRETMEM);
    }
    let text = |path| read_to_string(path).unwrap_or_default();
    if !is_booted_with(&text("/proc/cmdline"), "init_on_free=1") {
        advice.push(INIT_ON_FREE);
    }
    if has_plain_swap(&text("/proc/swaps"), is_encrypted) {
        advice.push(SWAP);
    }
    if text("/proc/sys/kernel/yama/ptrace_scope").trim() == "0" {
        advice.push(PTRACE);
    }
    if state == ConnectionState::NeedsTicket {
        advice.push(TICKET);
    }
    advice.into_iter().map(str::to_owned).collect()
}

fn is_booted_with(command_line: &str, option: &str) -> bool {
    command_line.split_whitespace().any(|word| word == option)
}

/// `/proc/swaps` has a heading, then a device or file a line. Compressed memory is no disk.
fn has_plain_swap(swaps: &str, is_encrypted: impl Fn(&str) -> bool) -> bool {
    let places = swaps.lines().skip(1);
    let mut places = places.filter_map(|line| line.split_whitespace().next());
    places.any(|place| !place.starts_with("/dev/zram") && !is_encrypted(place))
}

/// dm-crypt's devices are known by their uuid.
fn is_encrypted(place: &str) -> bool {
    let Some(name) = place.strip_prefix("/dev/") else {
        return false;
    };
    read_to_string(format!("/sys/block/{name}/dm/uuid"))
        .is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
}

const MEMLOCK: &str =
    "raise RLIMIT_MEMLOCK (systemd LimitMEMLOCK=), so that no key is written to swap";
const SECRETMEM: &str = "boot with secretmem.enable=1 (Linux 5.14 to 6.4), so that not even root \
    reads the keys from memory";
const INIT_ON_FREE: &str =
    "boot with init_on_free=1, so that the kernel's freed buffers hold nothing";
const SWAP: &str = "switch the swap off or encrypt it, because tools that copy a key may be \
    written there";
const PTRACE: &str = "set kernel.yama.ptrace_scope=1, so that programs of one user do not read \
    each other's memory";
const TICKET: &str = "the server refuses this agent: make a new ticket (`keyferry vms ticket`) and \
    restart the agent with it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_on_a_plain_disk_is_told() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let with = |place: &str| format!("{heading}{place} partition\t131068\t\t0\t\t-2\n");
        assert!(has_plain_swap(&with("/dev/vdb"), |_| false));
        assert!(has_plain_swap(&with("/swapfile"), |_| false));
        assert!(!has_plain_swap(&with("/dev/zram0"), |_| false));
        assert!(!has_plain_swap(&with("/dev/dm-1"), |place| place == "/dev/dm-1"));
        assert!(!has_plain_swap(heading, |_| false));
        assert!(!has_plain_swap("", |_| false));
    }

    #[test]
    fn an_option_of_the_kernel_is_a_whole_word() {
        assert!(is_booted_with("quiet init_on_free=1 ro", "init_on_free=1"));
        assert!(!is_booted_with("init_on_free=10", "init_on_free=1"));
    }

    #[test]
    fn a_refused_agent_is_told_how_to_go_on() {
        let told = advice(ProtectionLevel::Mlock, ConnectionState::NeedsTicket);
        assert!(told.iter().any(|line| line.contains("keyferry vms ticket")));
        assert!(told.iter().any(|line| line.contains("secretmem.enable=1")));
        let told = advice(ProtectionLevel::MemfdSecret, ConnectionState::Connected);
        assert!(
            !told
                .iter()
                .any(|line| line.contains("ticket") || line.contains("secretmem"))
        );
    }
}
