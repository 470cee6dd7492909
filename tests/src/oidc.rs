//! A real OpenID Connect provider: the npm package `oidc-provider`, which is certified.

use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use crate::program::Program;
use crate::sdks::installed_node;
use crate::{Authority, Server, Stage};

/// A running provider with one client, the server of the story.
pub struct OidcProvider {
    program: Program,
    issuer: String,
}

impl OidcProvider {
    /// Starts it, and tells the server that is to come of it as `corp`. Fails where Node.js or npm
    /// is not installed.
    pub fn start(stage: &Stage) -> Self {
        let provider = Self::launch(stage, &[]);
        provider.announce(stage, "");
        provider
    }

    /// The same with TLS; the server is told to trust `trusted`, whoever that is.
    pub fn start_with_tls(stage: &Stage, own: &Authority, trusted: &Authority) -> Self {
        let (certificate, key) = own.certify(&["127.0.0.1"]);
        let files = ["corp.pem", "corp.key", "corp-ca.pem"].map(|name| stage.path(name));
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        std::fs::write(&files[2], trusted.pem()).unwrap();
        let provider = Self::launch(stage, &files[..2]);
        provider.announce(stage, &format!("ca_file = '{}'\n", files[2].display()));
        provider
    }

    fn launch(stage: &Stage, tls: &[PathBuf]) -> Self {
        let folder = installed_node("oidc", "oidc/package.json");
        // Node.js looks for packages beside the script.
        symlink(folder.join("node_modules"), stage.path("node_modules")).unwrap();
        let script = stage.path("provider.mjs");
        std::fs::write(&script, include_str!("../oidc/provider.mjs")).unwrap();
        let node = ["/usr/bin/node", "/usr/local/bin/node"];
        let node = node.into_iter().find(|path| Path::new(path).exists());
        let node = node.expect("nodejs is installed");
        let mut program = Program::start(stage, "oidc", node.into(), |command| {
            command.arg(script).args(tls);
        });
        let issuer = program.next_line();
        Self { program, issuer }
    }

    fn announce(&self, stage: &Stage, more: &str) {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(stage.data_dir())
            .unwrap();
        let settings = format!(
            "[[oidc]]\nname = 'corp'\ndisplay_name = 'Corp'\nissuer = '{}'\n\
             client_id = 'keyferry'\nclient_secret = \"a client's secret\"\n{more}",
            self.issuer
        );
        std::fs::write(stage.data_dir().join("keyferry.toml"), settings).unwrap();
    }

    /// Tells it where the server takes browsers back.
    pub fn meet(&mut self, server: &Server) {
        let redirect = format!("{}/auth/providers/corp/callback\n", server.url());
        self.program.feed(redirect.as_bytes());
        assert_eq!(self.program.next_line(), "ready");
    }

    /// What its tokens call it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}
