//! A machine is rebooted, paused, restored and cloned.

use std::path::Path;
use std::time::{Duration, Instant};

use super::searches::{RECLAIM, plant};
use super::{Host, Setting};
use crate::machine::{Images, Machine, Writes};
use crate::memory::search;
use crate::service::{noticed, session_of, status, until_it_prints, until_live, until_noticed};
use crate::until;

impl Host<'_> {
    pub(super) async fn reboots(&self, machine: &mut Machine) {
        let boot = machine.shell.until_it_answers();
        let begin = Instant::now();
        machine.shell.run("systemctl --no-block reboot");
        while machine.shell.until_it_answers() == boot {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        until_live(&mut machine.shell, &["second"]).await;
        let took = begin.elapsed().as_secs();
        self.seen(&format!(
            "rebooted: served again with no hands, {took} s later"
        ));
    }

    pub(super) async fn is_paused(&self, machine: &mut Machine) {
        let noticed = noticed(&mut machine.shell);
        machine.pause();
        // Nothing but time shows a pause.
        tokio::time::sleep(Duration::from_secs(5)).await;
        machine.go_on();
        until_noticed(&mut machine.shell, noticed).await;
        until_live(&mut machine.shell, &["second"]).await;
        self.seen("paused for 5 s: the agent noticed, wiped, and shook hands anew");
    }

    /// With the generation id of before: only the host's clock tells.
    pub(super) async fn restored_without_a_server(&self, images: &Images, state: &Path) {
        // Less than two seconds would not be noticed, and harm no more than a pause of that length.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let setting = Setting {
            state: Some(state),
            writes: Writes::Forgotten,
            ..self.booting("restored")
        };
        let mut machine = Machine::start(self.stage, images, &setting);
        until("the restored agent has no live key", async || {
            let status = status(&mut machine.shell)?;
            let live = status["keys"]
                .as_array()?
                .iter()
                .any(|key| key["state"] == "live");
            (!live).then_some(())
        })
        .await;
        let found = search(&machine.memory(), &[&self.keys.raw]);
        assert_eq!(found.hits(), 0, "{found}");
        self.seen(
            "restored, same generation id, no server: the agent wiped by itself; memory: none",
        );
    }

    pub(super) async fn cloned(&self, images: &Images, state: &Path) {
        let setting = Setting {
            state: Some(state),
            generation: "22222222-2222-4222-8222-222222222222",
            ..self.booting("cloned")
        };
        let mut machine = Machine::start(self.stage, images, &setting);
        let shell = &mut machine.shell;
        until_noticed(shell, 1).await;
        until_live(shell, &["second"]).await;
        assert!(shell.run("dmesg").contains("virtual machine fork"));
        let log = shell.run("journalctl -u keyferry-agent -b -o cat --no-pager");
        let sessions: Vec<_> = log.lines().filter_map(session_of).collect();
        let mut distinct = sessions.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(
            sessions.len() >= 3 && sessions.len() == distinct.len(),
            "{log}"
        );
        self.seen(
            "cloned, new generation id: the agent wiped, asked its host, and has a new session",
        );
        // What came of it in swap is to be looked at as well.
        shell.run(RECLAIM);
        plant(shell, &self.keys.control);
        until_it_prints(shell, SWAP_CONTROL).await;
        shell.run("sync; systemctl --no-block poweroff");
        machine.until_it_is_off();
        let found = search(&machine.console(), &[&self.keys.raw, &self.keys.inject]);
        assert_eq!(found.hits(), 0, "{found}");
    }
}

const SWAP_CONTROL: &str = "echo 1M 2>/dev/null >/sys/fs/cgroup/control/memory.reclaim; \
    cat /sys/fs/cgroup/control/memory.swap.current";
