//! Several servers on one PostgreSQL and one Redis, as an operator would run them: a data folder
//! for each, the same master key and certificate in all.

use std::net::TcpListener;
use std::ops::{Index, IndexMut};

use base64ct::{Base64, Encoding};

use crate::server::Told;
use crate::{Server, Stage};

/// Servers that share everything but their processes.
pub struct Replicas(Vec<Server>);

impl Replicas {
    /// Starts so many at once, each with these settings and named first in its own tickets.
    pub fn start(stage: &Stage, count: usize, settings: &[(&str, &str)]) -> Self {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (
            certificate.cert.pem(),
            certificate.signing_key.serialize_pem(),
        );
        let mut master_key = [0; 32];
        getrandom::fill(&mut master_key).unwrap();
        let master_key = Base64::encode_string(&master_key);
        let mut addresses = free_addresses(count);
        let mut launched = Vec::new();
        for number in 0..count {
            let data_dir = stage.path(&format!("data-{number}"));
            std::fs::create_dir(&data_dir).unwrap();
            std::fs::write(data_dir.join("tls-certificate.pem"), &chain).unwrap();
            std::fs::write(data_dir.join("tls-key.pem"), &key).unwrap();
            let urls: Vec<_> = addresses
                .iter()
                .map(|address| format!("https://{address}"))
                .collect();
            let mut told = Told {
                name: format!("server-{number}"),
                listen: addresses[0].clone(),
                data_dir,
                settings: vec![
                    ("ENCRYPTION_KEY".to_owned(), master_key.clone()),
                    ("KEYFERRY_PUBLIC_URL".to_owned(), urls.join(",")),
                ],
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

/// Nobody else can have them while they are asked for; between here and there somebody could.
fn free_addresses(count: usize) -> Vec<String> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    let asked: Vec<_> = (0..count).map(bind).collect();
    let told = asked.iter().map(|socket| socket.local_addr().unwrap());
    told.map(|address| address.to_string()).collect()
}
