//! What commands go over: a connection to one server, or those to all of a cluster.

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, RedisResult};

/// Clones share the connections.
#[derive(Clone)]
pub(super) enum Line {
    Server(MultiplexedConnection),
    /// Finds for each command the primary that has its key.
    Cluster(ClusterConnection),
}

impl Line {
    pub(super) async fn ask<T: FromRedisValue>(mut self, command: &Cmd) -> RedisResult<T> {
        match &mut self {
            Self::Server(server) => command.query_async(server).await,
            Self::Cluster(cluster) => command.query_async(cluster).await,
        }
    }
}
