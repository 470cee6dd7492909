//! What is left of keys in the memory, on the disk and in swap.

use std::collections::BTreeSet;

use keyferry_tests::Secret;
use serde_json::Value;

use super::{Host, Keys};
use crate::machine::{Images, Machine};
use crate::memory::{assert_only_in, search, secret_pages};
use crate::service::{main_pid, until_it_prints};
use crate::shell::Shell;
use crate::until;

impl Host<'_> {
    pub(super) async fn memory_while_held_and_after_revocation(&self, machine: &mut Machine) {
        let pages = self.memory_while_held(machine);
        self.memory_while_a_tool_has_it(machine, pages).await;
        self.memory_after_revocation(machine).await;
    }

    /// Tells which pages of the agent are secret.
    fn memory_while_held(&self, machine: &mut Machine) -> BTreeSet<u64> {
        let Keys {
            raw,
            inject,
            control,
        } = &self.keys;
        let pid = main_pid(&mut machine.shell);
        let pages = secret_pages(&mut machine.shell, &pid);
        plant(&mut machine.shell, control);
        let picture = machine.memory();
        assert!(
            search(&picture, &[control]).hits() > 0,
            "the control is not found"
        );
        for key in [raw, inject] {
            let found = search(&picture, &[key]);
            assert_eq!(found.hits(), 1, "{found}");
            assert_only_in(&pages, &found, 1);
        }
        self.seen(
            "memory while held: each key once, in a page of memfd_secret; the control is found",
        );
        pages
    }

    async fn memory_while_a_tool_has_it(&self, machine: &mut Machine, pages: BTreeSet<u64>) {
        machine.shell.run(RECLAIM);
        let tool = machine
            .shell
            .run("tool --key openai >/tmp/tool.events 2>&1 & echo $!");
        let tool = tool.trim().to_owned();
        until_it_prints(&mut machine.shell, "grep -c live /tmp/tool.events").await;
        let mut both = secret_pages(&mut machine.shell, &tool);
        both.extend(pages);
        let found = search(&machine.memory(), &[&self.keys.raw]);
        assert_only_in(&both, &found, 2);
        self.seen(
            "memory while a tool has the key mapped: twice, in secret pages of agent and tool",
        );
    }

    async fn memory_after_revocation(&self, machine: &mut Machine) {
        for name in ["openai", "vendor"] {
            self.ada.revoke(name);
        }
        until_it_prints(&mut machine.shell, "grep -c revoked /tmp/tool.events").await;
        until("both keys are acknowledged as wiped", async || {
            let wiped = |item: &Value| item["outcome"] == "wiped";
            self.ada.held("kali-1").iter().all(wiped).then_some(())
        })
        .await;
        let Keys { raw, inject, .. } = &self.keys;
        let found = search(&machine.memory(), &[raw, inject]);
        assert_eq!(found.hits(), 0, "{found}");
        self.seen("memory after the revocation: no key, nor eight bytes of one, anywhere");
    }

    pub(super) fn disks(&self, images: &Images) {
        let Keys {
            raw,
            inject,
            control,
        } = &self.keys;
        for name in ["disk.img", "swap.img"] {
            let path = images.images.join(name);
            let found = search(&path, &[raw, inject]);
            assert_eq!(found.hits(), 0, "{name}: {found}");
            let controls = search(&path, &[control]).hits();
            assert!(controls > 0, "the control is not found in {name}");
            self.seen(&format!(
                "{name}: 0 copies of any key; the control is found {controls} times"
            ));
        }
    }
}

/// The positive control of memory, disk and swap: a file on the disk, and one in memory that may be
/// swapped out.
pub(super) fn plant(shell: &mut Shell, control: &Secret) {
    let text = control.text();
    shell.run(&format!(
        "mkdir -p /sys/fs/cgroup/control && sh -c 'echo $$ >/sys/fs/cgroup/control/cgroup.procs; \
         echo {text} >/dev/shm/control' && cp /dev/shm/control /root/control && sync"
    ));
}

pub(super) const RECLAIM: &str =
    "echo 24M >/sys/fs/cgroup/system.slice/memory.reclaim 2>/dev/null; true";
