//! A machine does what machines with keys do.

use serde_json::Value;

use super::Host;
use crate::machine::Machine;
use crate::service::{main_pid, status, until_it_prints, until_live};
use crate::until;

impl Host<'_> {
    pub(super) async fn enrols_by_itself(&self, machine: &mut Machine) {
        self.seen("booted Debian with systemd; the test's shell answers");
        until_live(&mut machine.shell, &["openai", "vendor"]).await;
        let status = status(&mut machine.shell).unwrap();
        assert_eq!(status["protection"], "memfd_secret", "{status}");
        let degraded = |step: &Value| step["degraded"] == true;
        let steps = status["hardening"].as_array().unwrap();
        assert!(!steps.iter().any(degraded), "{status}");
        self.seen(
            "the agent enrolled through the host channel, and holds two keys in memfd_secret",
        );
        let swap = machine.shell.run("cat /proc/swaps");
        assert!(swap.contains("/dev/vdb"), "{swap}");
    }

    pub(super) fn tools_use_keys(&self, machine: &mut Machine) {
        let shell = &mut machine.shell;
        shell.run("useradd --create-home --groups keyferry tool");
        let call = r#"curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" --data "{}" "#;
        let call = format!(r#"{call} "$OPENAI_BASE_URL/chat/completions""#);
        shell.run("cat >/tmp/call <<'END'\nset -eu\nEND");
        shell.run(&format!("cat >>/tmp/call <<'END'\n{call}\nEND"));
        let answer = shell.run("runuser -u tool -- keyferry exec --key vendor -- sh /tmp/call");
        assert!(answer.contains("chat.completion"), "{answer}");
        let requests = self.provider.seen();
        let shown = format!("authorization: Bearer {}", self.keys.inject.text());
        assert!(
            requests.iter().any(|it| it.fields.contains(&shown)),
            "{requests:?}"
        );
        self.seen(
            "a tool of an ordinary user called an API through the proxy; it never had the key",
        );
        let refused = shell.attempt("runuser -u nobody -- keyferry read openai");
        assert!(refused.code != 0, "{}", refused.output);
        self.seen("a user outside of the group was refused");
    }

    pub(super) async fn service_is_watched(&self, machine: &mut Machine) {
        self.ada.put("second", &self.keys.raw);
        until_live(&mut machine.shell, &["second"]).await;
        let shell = &mut machine.shell;
        let told = shell.run("systemctl show keyferry-agent -p Type -p WatchdogTimestampMonotonic");
        assert!(told.contains("Type=notify"), "{told}");
        assert!(!told.contains("WatchdogTimestampMonotonic=0\n"), "{told}");
        let before = main_pid(shell);
        shell.run(&format!("kill -STOP {before}"));
        until_it_prints(
            shell,
            "journalctl -u keyferry-agent --no-pager | grep -c 'Watchdog timeout'",
        )
        .await;
        until_live(shell, &["second"]).await;
        assert_ne!(main_pid(shell), before);
        self.seen("systemd's watchdog restarted an agent that hung; it enrolled and holds its key");
    }

    pub(super) async fn ticket_as_a_credential(&self, machine: &mut Machine) {
        let shell = &mut machine.shell;
        let ticket = self.ada.ticket("kali-1");
        shell.run(&format!("echo {} | keyferry-agent-enrol", ticket.trim()));
        until_live(shell, &["second"]).await;
        let log = shell.run(SINCE_LAST_START);
        assert!(!log.contains("a ticket was given"), "{log}");
        let left = shell.attempt("ls /run/credstore/keyferry.ticket");
        assert!(left.code != 0, "{}", left.output);
        self.seen("a ticket given to systemd as a credential enrolled it too, and left no file");
    }

    pub(super) async fn programs_are_told_apart(&self, machine: &mut Machine) {
        let shell = &mut machine.shell;
        shell.run("systemctl enable --now keyferry-programs.socket");
        shell.run(
            "printf '[policy]\\nprograms_socket = \"/run/keyferry-programs.sock\"\\n' \
             >>/etc/keyferry/agent.toml",
        );
        shell.run("systemctl restart keyferry-agent");
        until_live(shell, &["second"]).await;
        shell.run("cp /usr/bin/keyferry /tmp/another-program");
        let rule = |rule: &[&str]| {
            let policy = [&["keys", "policy", "second"], rule].concat();
            self.ada.run(&policy, b"").success();
        };
        rule(&["--tool", "exe=/usr/bin/keyferry"]);
        let reads =
            |program: &str| format!("runuser -u tool -- {program} read second 2>&1 >/dev/null");
        until("another program is refused", async || {
            let refused = shell.attempt(&reads("/tmp/another-program"));
            (refused.code != 0).then_some(())
        })
        .await;
        shell.run(&reads("/usr/bin/keyferry"));
        let said = shell.attempt(&reads("/tmp/another-program")).output;
        assert!(
            said.contains("the program is /tmp/another-program"),
            "{said}"
        );
        rule(&["--any-tool"]);
        self.seen("the packaged helper told programs apart: the one that was named had the key");
    }
}

const SINCE_LAST_START: &str = "journalctl -o cat --no-pager \
    _SYSTEMD_INVOCATION_ID=$(systemctl show -p InvocationID --value keyferry-agent)";
