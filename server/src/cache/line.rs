//! What commands go over: a connection to one server, or those to all of a cluster.

use std::collections::HashSet;

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Value, cmd};

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

    /// Whether every primary answers.
    pub(super) async fn reach_all(self) -> RedisResult<()> {
        match self {
            Self::Server(mut server) => cmd("PING").query_async(&mut server).await,
            Self::Cluster(cluster) => reach_all(cluster).await,
        }
    }
}

/// The client asks those that it has reached, and is silent about the others: so they are counted.
async fn reach_all(mut cluster: ClusterConnection) -> RedisResult<()> {
    let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
    let mut slots = cmd("CLUSTER");
    slots.arg("SLOTS");
    let slots = cluster.route_command(slots, any).await?;
    let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let answers = cluster.route_command(cmd("PING"), all).await?;
    let answered = match answers {
        Value::Map(answers) => answers.len(),
        _ => 0,
    };
    if answered > 0 && answered == primaries(&slots).len() {
        return Ok(());
    }
    let partly = "some of the cluster's primaries do not answer";
    Err(RedisError::from((ErrorKind::Io, partly)))
}

/// The ids of those that have slots: `CLUSTER SLOTS` tells start, end, primary and replicas of each
/// range, and of a node address, port and id.
fn primaries(slots: &Value) -> HashSet<&[u8]> {
    let ranges = slots.as_sequence().unwrap_or_default();
    let primaries = ranges.iter().filter_map(|range| {
        let primary = range.as_sequence()?.get(2)?.as_sequence()?;
        match primary.get(2)? {
            Value::BulkString(id) => Some(id.as_slice()),
            _ => None,
        }
    });
    primaries.collect()
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::primaries;

    #[test]
    fn a_primary_of_two_ranges_counts_once_and_replicas_do_not() {
        let node = |id: &str| {
            let text = |text: &str| Value::BulkString(text.into());
            Value::Array(vec![text("127.0.0.1"), Value::Int(6379), text(id)])
        };
        let range = |start, ids: &[&str]| {
            let mut range = vec![Value::Int(start), Value::Int(start + 99)];
            range.extend(ids.iter().map(|id| node(id)));
            Value::Array(range)
        };
        let slots = Value::Array(vec![
            range(0, &["first", "replica"]),
            range(100, &["second"]),
            range(200, &["first", "replica"]),
        ]);
        let known = primaries(&slots);
        assert_eq!(known.len(), 2);
        assert!(known.contains(&b"first"[..]) && known.contains(&b"second"[..]));
        assert!(primaries(&Value::Nil).is_empty());
    }
}
