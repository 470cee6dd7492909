//! Several servers on one PostgreSQL and one Redis, as an operator would run them: a data folder
//! for each.

use std::ops::{Index, IndexMut};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64ct::{Base64, Encoding};

use crate::server::Told;
use crate::{Server, Stage, free_ports};

/// Servers that share everything but their processes.
pub struct Replicas(Vec<Server>);

/// What servers have in common: a certificate, and a master key.
pub struct Shared {
    chain: String,
    key: String,
    master_key: String,
}

impl Shared {
    /// Fresh ones.
    pub fn fresh() -> Self {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut master_key = [0; 32];
        getrandom::fill(&mut master_key).unwrap();
        Self {
            chain: certificate.cert.pem(),
            key: certificate.signing_key.serialize_pem(),
            master_key: Base64::encode_string(&master_key),
        }
    }

    /// The certificate, for a server that shows it.
    pub fn put_certificate_into(&self, data_dir: &Path) {
        std::fs::write(data_dir.join("tls-certificate.pem"), &self.chain).unwrap();
        std::fs::write(data_dir.join("tls-key.pem"), &self.key).unwrap();
    }

    /// The master key in a file that is the server's own.
    pub fn put_master_key_into(&self, data_dir: &Path) {
        let file = data_dir.join("master.key");
        std::fs::write(&file, &self.master_key).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

impl Replicas {
    /// Starts so many at once, each with these settings and named first in its own tickets. They
    /// have the same certificate, and the same master key in their environment.
    pub fn start(stage: &Stage, count: usize, settings: &[(&str, &str)]) -> Self {
        let shared = Shared::fresh();
        let own = [("ENCRYPTION_KEY", shared.master_key.as_str())];
        let settings = [&own, settings].concat();
        Self::furnished(stage, (count, &settings), |data_dir| {
            shared.put_certificate_into(data_dir);
        })
    }

    /// Starts so many at once, with what is put into the data folder of each.
    pub fn furnished(
        stage: &Stage,
        (count, settings): (usize, &[(&str, &str)]),
        furnish: impl Fn(&Path),
    ) -> Self {
        let ports = free_ports(count).into_iter();
        let mut addresses: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        let mut launched = Vec::new();
        for number in 0..count {
            let data_dir = stage.path(&format!("data-{number}"));
            std::fs::create_dir(&data_dir).unwrap();
            furnish(&data_dir);
            let urls: Vec<_> = addresses
                .iter()
                .map(|address| format!("https://{address}"))
                .collect();
            let mut told = Told {
                name: format!("server-{number}"),
                listen: addresses[0].clone(),
                data_dir,
                settings: vec![("KEYFERRY_PUBLIC_URL".to_owned(), urls.join(","))],
            };
            let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
            told.settings.extend(settings.iter().map(owned));
            launched.push((Server::launch(stage, &told), told));
            addresses.rotate_left(1);
        }
        let ready = launched
            .into_iter()
            .map(|(server, told)| server.ready(told));
        Self(ready.collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Server> {
        self.0.iter()
    }
}

impl Index<usize> for Replicas {
    type Output = Server;
    fn index(&self, number: usize) -> &Server {
        &self.0[number]
    }
}

impl IndexMut<usize> for Replicas {
    fn index_mut(&mut self, number: usize) -> &mut Server {
        &mut self.0[number]
    }
}
