//! What operators do on the server's host, while it runs or before it does.

mod astray;
mod backup;
mod begin;
pub(crate) mod database;
mod database_tls;
mod epoch;
mod first_day;
mod full_disk;
mod import;
mod import_again;
mod import_rows;
mod killed_restore;
mod many_servers;
mod master_key;
mod pooler;
mod progress;
mod rotation;
mod schema;
mod server_key;
mod shared_schema;
mod two_roles;
mod verify;
