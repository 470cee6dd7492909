//! What the proxy itself answers, and why.

use keyferry_protocol::local::RefusalCode;
use serde_json::json;

use crate::keyring::Spent;

/// Why a request is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("this is not an HTTP/1.1 request that a proxy may pass on")]
    Malformed,
    #[error("the request's head is longer than 48 KiB")]
    HeadTooLong,
    #[error(
        "no token: start the program with `keyferry exec`, and let it use the API key and base URL that it finds in its environment"
    )]
    NoToken,
    #[error(
        "this token is unknown to the agent, which may have been restarted: start the program again with `keyferry exec`"
    )]
    UnknownToken,
    #[error(
        "the process that this token was made for has ended: start the program again with `keyferry exec`"
    )]
    ProcessEnded,
    #[error("this token belongs to another user")]
    OtherUser,
    #[error(
        "the key's owner does not let this program use it any more; `keyferry keys policy` says who may"
    )]
    NotPermitted,
    #[error("the kernel does not tell whose connection this is")]
    UnknownCaller,
    #[error("{}", of_key(*.0))]
    Key(RefusalCode),
    #[error(
        "the key's budget for this machine is used up ({} = {}); its owner changes it with `keyferry keys policy`",
        .0.what.code(),
        .0.most
    )]
    Spent(Spent),
    #[error(
        "this key names no host: its owner names them with `keyferry keys policy NAME --allow-host HOST`"
    )]
    NoHost,
    #[error(
        "this key may not be sent to that host; its owner names all its hosts with `keyferry keys policy NAME --allow-host HOST`"
    )]
    HostNotAllowed,
    #[error(
        "that host is on this machine or a private network; the administrator of this machine allows it with `[proxy] allow_private` in the agent's settings"
    )]
    AddressNotAllowed,
    #[error("the key's value cannot be part of an HTTP header")]
    KeyUnusable,
    #[error("the host's name cannot be resolved")]
    NotResolved,
    #[error("the host cannot be reached")]
    Unreachable,
    #[error(
        "the host's certificate is not trusted, or TLS failed; a private authority is added with `[proxy] ca_file` in the agent's settings"
    )]
    Untrusted,
    #[error(
        "the host speaks HTTP/2 only, in which neither a WebSocket nor a key in the URL can be passed on: send the token in a header"
    )]
    OnlyHttp2,
    #[error("the host closed the connection before it answered")]
    Closed,
    #[error("the host's answer is not HTTP")]
    BadAnswer,
    #[error("there is no locked memory left for this request")]
    Busy,
    #[error(
        "this user has too many connections to the proxy at once; the administrator of this machine can raise `[limits] proxy_connections`, of which one user has half"
    )]
    TooMany,
}

impl Refused {
    /// Whether a key was not sent because of where it was to go.
    pub(super) fn keeps_to_the_hosts(self) -> bool {
        matches!(
            self,
            Self::NoHost | Self::HostNotAllowed | Self::AddressNotAllowed
        )
    }

    /// The stable code, for programs.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Malformed => "bad_request",
            Self::HeadTooLong => "head_too_long",
            Self::NoToken => "no_token",
            Self::UnknownToken => "unknown_token",
            Self::ProcessEnded => "process_ended",
            Self::OtherUser => "other_user",
            Self::NotPermitted => "not_permitted",
            Self::UnknownCaller => "unknown_caller",
            Self::Key(code) => code.as_str(),
            Self::Spent(spent) => spent.what.code(),
            Self::NoHost => "no_host",
            Self::HostNotAllowed => "host_not_allowed",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::KeyUnusable => "key_unusable",
            Self::NotResolved => "not_resolved",
            Self::Unreachable => "unreachable",
            Self::Untrusted => "untrusted",
            Self::OnlyHttp2 => "only_http2",
            Self::Closed => "upstream_closed",
            Self::BadAnswer => "bad_answer",
            Self::Busy => "busy",
            Self::TooMany => "too_many_connections",
        }
    }

    fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::HeadTooLong => "431 Request Header Fields Too Large",
            Self::NoToken | Self::UnknownToken | Self::ProcessEnded => "401 Unauthorized",
            Self::Key(RefusalCode::LeaseOver | RefusalCode::NotConnected)
            | Self::Busy
            | Self::TooMany => "503 Service Unavailable",
            Self::Spent(_) => "429 Too Many Requests",
            Self::OtherUser
            | Self::NotPermitted
            | Self::UnknownCaller
            | Self::Key(_)
            | Self::NoHost
            | Self::HostNotAllowed
            | Self::AddressNotAllowed
            | Self::KeyUnusable => "403 Forbidden",
            Self::NotResolved
            | Self::Unreachable
            | Self::Untrusted
            | Self::OnlyHttp2
            | Self::Closed
            | Self::BadAnswer => "502 Bad Gateway",
        }
    }

    /// The whole answer, in the form in which the SDKs look for a message.
    pub(super) fn answer(self) -> Vec<u8> {
        let (status, code) = (self.status(), self.code());
        let message = format!("Keyferry: {self}");
        let error = json!({ "message": message, "type": "keyferry_error", "code": code });
        let body = json!({ "error": error }).to_string();
        let length = body.len();
        let retry = match self {
            // Rounded up: who waits that long is not refused again.
            Self::Spent(spent) => format!("Retry-After: {}\r\n", spent.wait.as_secs() + 1),
            _ => String::new(),
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Keyferry-Error: {code}\r\n{retry}Connection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

fn of_key(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Revoked => "the key was revoked; ask its owner for a new version",
        RefusalCode::LeaseOver => {
            "the agent lost its server for longer than the lease and wiped the key; it comes back by \
             itself when the server is reached"
        }
        RefusalCode::NotConnected => "the agent has not reached its server yet",
        _ => "the agent does not hold this key",
    }
}
