//! An error that the server explained (RFC 9457).

use std::fmt;

use hyper::StatusCode;
use serde_json::Value;

use super::Answer;
use crate::output::printable;

/// What the server refused, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code of `docs/STATUS_CODES.md`.
    pub code: String,
    detail: String,
    fields: Vec<String>,
    /// In seconds, until another try.
    wait: Option<u64>,
}

impl Problem {
    /// What the server answered in place of what was asked for.
    pub(crate) fn of(answer: &Answer) -> Self {
        Self {
            wait: answer.retry_after.filter(|_| answer.status == TOO_MANY),
            ..Self::new(answer.status, &answer.body)
        }
    }

    fn new(status: StatusCode, body: &Value) -> Self {
        let text = |member: &str| body.get(member).and_then(Value::as_str).map(str::to_owned);
        let errors = body.get("errors").and_then(Value::as_array);
        Self {
            status: status.as_u16(),
            code: text("code").unwrap_or_else(|| "unknown".into()),
            detail: text("detail").unwrap_or_else(|| format!("the server answered {status}")),
            fields: errors.into_iter().flatten().filter_map(field).collect(),
            wait: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(printable(&self.detail).trim_end_matches('.'))?;
        for field in &self.fields {
            write!(f, "\n  {}", printable(field))?;
        }
        match self.wait {
            None => {}
            Some(seconds) if seconds < 120 => write!(f, ": wait {seconds} seconds")?,
            Some(seconds) => write!(f, ": wait {} minutes", seconds.div_ceil(60))?,
        }
        if self.code == "client_certificate_missing" {
            f.write_str(": `keyferry login --client-certificate FILE --client-key FILE`")?;
        }
        Ok(())
    }
}

const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

fn field(error: &Value) -> Option<String> {
    let name = error.get("field")?.as_str()?;
    let detail = error.get("detail")?.as_str()?;
    Some(format!("{name}: {detail}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_field_at_fault_is_told() {
        let body = json!({
            "code": "weak_password", "detail": "The password is too easy to guess.",
            "errors": [{ "field": "password", "detail": "needs a digit" }],
        });
        let problem = Problem::new(StatusCode::BAD_REQUEST, &body);
        assert_eq!(
            problem.to_string(),
            "The password is too easy to guess\n  password: needs a digit"
        );
    }

    #[test]
    fn how_long_to_wait_is_told() {
        let told = |status, seconds| {
            let body = json!({ "detail": "Too many." });
            let retry_after = Some(seconds);
            let answer = Answer {
                status,
                body,
                retry_after,
            };
            Problem::of(&answer).to_string()
        };
        assert_eq!(told(TOO_MANY, 900), "Too many: wait 15 minutes");
        assert_eq!(told(TOO_MANY, 7), "Too many: wait 7 seconds");
        assert_eq!(told(StatusCode::CONFLICT, 7), "Too many");
    }

    #[test]
    fn an_answer_without_an_explanation_still_says_something() {
        let problem = Problem::new(StatusCode::BAD_GATEWAY, &Value::Null);
        assert_eq!(problem.to_string(), "the server answered 502 Bad Gateway");
    }

    #[test]
    fn escape_sequences_of_a_server_do_not_reach_the_terminal() {
        let problem = Problem::new(StatusCode::CONFLICT, &json!({ "detail": "a\u{1b}[2Jb" }));
        assert_eq!(problem.to_string(), "a[2Jb");
    }
}
