//! nginx and HAProxy from the distribution, before one server or several. They show the servers'
//! own certificate, which people and agents pin.

use std::path::{Path, PathBuf};

use crate::program::Program;
use crate::{Server, Stage, free_port, until};

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// nginx.
    Nginx,
    /// HAProxy, which asks the servers whether they are ready.
    Haproxy,
}

/// A port for it, and where to find it then.
pub struct Front {
    port: u16,
    url: String,
}

impl Front {
    /// Nobody listens there yet.
    pub fn new() -> Self {
        let port = free_port();
        let url = format!("https://127.0.0.1:{port}");
        Self { port, url }
    }

    /// For `KEYFERRY_PUBLIC_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Default for Front {
    fn default() -> Self {
        Self::new()
    }
}

impl Balancer {
    /// Starts it before servers whose certificate is in this data folder, and waits until it
    /// listens.
    pub async fn start(
        self,
        stage: &Stage,
        (front, servers): (&Front, &[&Server]),
        data_dir: &Path,
    ) -> Program {
        let addresses = servers.iter().map(|server| server.listen());
        let addresses: Vec<_> = addresses.collect();
        let (program, arguments, settings) = match self {
            Self::Nginx => {
                let settings = nginx(stage, (front, &addresses), data_dir);
                ("/usr/sbin/nginx", &["-c"][..], settings)
            }
            Self::Haproxy => {
                let settings = haproxy(stage, (front, &addresses), data_dir);
                ("/usr/sbin/haproxy", &["-db", "-f"][..], settings)
            }
        };
        let program = Path::new(program);
        assert!(
            program.exists(),
            "{self:?} is not installed: apt-get install nginx-light haproxy"
        );
        let file = stage.path("balancer.conf");
        std::fs::write(&file, settings).unwrap();
        let running = Program::start(stage, "balancer", program.to_owned(), |command| {
            command.args(arguments).arg(&file);
        });
        until("the balancer listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", front.port))
                .await
                .ok()
        })
        .await;
        running
    }
}

fn nginx(stage: &Stage, (front, servers): (&Front, &[String]), data_dir: &Path) -> String {
    let folder = stage.path("nginx");
    std::fs::create_dir(&folder).unwrap();
    let (folder, data, port) = (folder.display(), data_dir.display(), front.port);
    // A server that was just replaced is asked again at once.
    let servers = servers
        .iter()
        .map(|address| format!("server {address} max_fails=0;"));
    let servers: String = servers.collect();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr;\n\
         events {{ }}\n\
         http {{\n\
         access_log off;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
         map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
         upstream keyferry {{ {servers} }}\n\
         server {{\n\
         listen 127.0.0.1:{port} ssl;\n\
         ssl_certificate {data}/tls-certificate.pem; ssl_certificate_key {data}/tls-key.pem;\n\
         ssl_protocols TLSv1.3;\n\
         location / {{\n\
         proxy_pass https://keyferry; proxy_ssl_protocols TLSv1.3;\n\
         proxy_ssl_verify on; proxy_ssl_trusted_certificate {data}/tls-certificate.pem;\n\
         proxy_ssl_name localhost;\n\
         proxy_http_version 1.1;\n\
         proxy_set_header Host $host;\n\
         proxy_set_header Upgrade $http_upgrade;\n\
         proxy_set_header Connection $connection_upgrade;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_read_timeout 1h;\n\
         }} }} }}\n"
    )
}

fn haproxy(stage: &Stage, (front, servers): (&Front, &[String]), data_dir: &Path) -> String {
    let shown = both_in_one(stage, data_dir);
    let (shown, port, data) = (shown.display(), front.port, data_dir.display());
    let server = |(number, address): (usize, &String)| {
        format!(
            "server s{number} {address} ssl verify required ca-file {data}/tls-certificate.pem \
             check inter 500ms fall 1 rise 1\n"
        )
    };
    let servers: String = servers.iter().enumerate().map(server).collect();
    format!(
        "defaults\n\
         mode http\n\
         timeout connect 5s\n\
         timeout client 1m\n\
         timeout server 1m\n\
         timeout tunnel 1h\n\
         timeout check 10s\n\
         frontend people_and_agents\n\
         bind 127.0.0.1:{port} ssl crt {shown} ssl-min-ver TLSv1.3\n\
         default_backend keyferry\n\
         backend keyferry\n\
         balance roundrobin\n\
         option forwardfor\n\
         option httpchk\n\
         http-check send meth GET uri /ready ver HTTP/1.1 hdr Host localhost\n\
         option redispatch 1\n\
         retries 3\n\
         {servers}"
    )
}

/// HAProxy wants the certificate and its key in one file.
fn both_in_one(stage: &Stage, data_dir: &Path) -> PathBuf {
    let read = |name| std::fs::read_to_string(data_dir.join(name)).unwrap();
    let path = stage.path("haproxy.pem");
    let both = [read("tls-certificate.pem"), read("tls-key.pem")].concat();
    std::fs::write(&path, both).unwrap();
    path
}
