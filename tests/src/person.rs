//! A person at a terminal, with the real `keyferry` command.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::program::{Program, binary, clean_command};
use crate::{Answer, Secret, Server, Stage, Terminal, code_now};

/// The password of everybody in these stories.
pub const PASSWORD: &str = "Violet-Harbour-7-Lantern";

/// Somebody with an own folder for settings.
pub struct Person<'a> {
    stage: &'a Stage,
    home: PathBuf,
}

impl<'a> Person<'a> {
    /// Somebody who never met the server.
    pub fn new(stage: &'a Stage, name: &str) -> Self {
        Self {
            stage,
            home: stage.path(&format!("home-{name}")),
        }
    }

    /// Somebody with an account, signed in.
    pub fn register(stage: &'a Stage, server: &Server, name: &str) -> Self {
        let person = Self::new(stage, name);
        person.enter("register", server, name);
        person
    }

    /// Somebody with an account, at another terminal and another server.
    pub fn sign_in(stage: &'a Stage, (server, at): (&Server, &str), name: &str) -> Self {
        let person = Self::new(stage, at);
        person.enter("login", server, name);
        person
    }

    /// The same where all that is known of the server is what it has printed.
    pub fn register_at(stage: &'a Stage, printed: (&str, &str), name: &str) -> Self {
        let person = Self::new(stage, name);
        person.enter_at("register", printed, name);
        person
    }

    fn enter(&self, how: &str, server: &Server, name: &str) {
        self.enter_at(how, (server.url(), server.fingerprint()), name);
    }

    fn enter_at(&self, how: &str, (url, pin): (&str, &str), name: &str) {
        let arguments = [
            how,
            "--server",
            url,
            "--fingerprint",
            pin,
            "--username",
            name,
            "--password-stdin",
        ];
        self.run(&arguments, PASSWORD.as_bytes()).success();
    }

    /// Signs in to an account that is there already.
    pub fn log_in(&self, server: &Server, name: &str) {
        self.enter("login", server, name);
    }

    /// Tries to sign in with what is typed: a password, and after it a second factor.
    pub fn try_to_log_in(&self, server: &Server, name: &str, typed: &[u8]) -> Answer {
        let contact = [
            "--server",
            server.url(),
            "--fingerprint",
            server.fingerprint(),
        ];
        let login = ["login", "--username", name, "--password-stdin"];
        self.run(&[&login[..], &contact].concat(), typed)
    }

    /// Runs one command with this standard input.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Answer {
        Answer::of(&mut self.command(arguments), input)
    }

    /// Starts a command that goes on.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Program {
        Program::start(self.stage, name, binary("keyferry"), |command| {
            command.args(arguments).env("XDG_CONFIG_HOME", &self.home);
        })
    }

    /// Starts one command at a terminal.
    pub fn at_a_terminal(&self, arguments: &[&str]) -> Terminal {
        Terminal::start(&self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clean_command(self.stage, binary("keyferry"));
        command.args(arguments).env("XDG_CONFIG_HOME", &self.home);
        command
    }

    /// Runs one command that must succeed, and reads its JSON.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.run(&arguments, b"").success().output).unwrap()
    }

    /// Sets up an authenticator app; the recovery codes that come with it.
    pub fn set_up_a_second_factor(&self) -> Vec<String> {
        let secret = self.run(&["--json", "mfa", "start"], PASSWORD.as_bytes());
        let secret: Value = serde_json::from_str(&secret.success().output).unwrap();
        let code = code_now(secret["secret"].as_str().unwrap());
        let confirmed = self.run(&["--json", "mfa", "confirm"], code.as_bytes());
        let confirmed: Value = serde_json::from_str(&confirmed.success().output).unwrap();
        let codes = confirmed["recovery_codes"].as_array().unwrap().iter();
        codes
            .map(|code| code.as_str().unwrap().to_owned())
            .collect()
    }

    /// Stores a key that tools may read.
    pub fn put(&self, name: &str, value: &Secret) {
        self.run(&["keys", "put", name, "--raw"], value.text().as_bytes())
            .success();
    }

    /// Stores a key that no tool may read, for use toward one host.
    pub fn put_for_host(&self, (name, provider): (&str, &str), host: &str, value: &Secret) {
        let put = ["keys", "put", name, "--provider", provider];
        let put = [&put[..], &["--allow-host", host]].concat();
        self.run(&put, value.text().as_bytes()).success();
    }

    /// Gives a key a new value.
    pub fn rotate(&self, name: &str, value: &Secret) {
        self.run(&["keys", "rotate", name], value.text().as_bytes())
            .success();
    }

    /// Destroys a key.
    pub fn revoke(&self, name: &str) {
        self.run(&["keys", "revoke", name], b"").success();
    }

    /// Adds a machine, and gets a ticket for it.
    pub fn ticket_for_new_vm(&self, name: &str) -> String {
        self.run(&["vms", "add", name], b"").success();
        self.ticket(name)
    }

    /// Gets a ticket for a machine.
    pub fn ticket(&self, vm: &str) -> String {
        self.run(&["vms", "ticket", vm], b"").success().output
    }

    /// What the server says that a machine holds.
    pub fn held(&self, vm: &str) -> Vec<Value> {
        self.ask(&["vms", "held", vm])["items"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// Where this person's session is kept.
    pub fn session_file(&self) -> PathBuf {
        self.home.join("keyferry/session.json")
    }
}
