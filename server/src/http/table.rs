//! What one row of the table of routes is made of, and how a request finds its row.

use std::pin::Pin;
use std::sync::OnceLock;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::Connection;
use super::cookies;
use super::describe::Operation;
use super::reply::Reply;
use super::request::{Head, percent_decoded};
use super::segment::Segment;
use crate::audit::{After, Filter};
use crate::error::ApiError;
use crate::limits::{self, Standing};
use crate::operators::Search;
use crate::page::Page;
use crate::sessions::{self, Origin, Permission, ServerAdmin, SignedIn};

/// One endpoint. The row that dispatches it is the row that describes it.
pub(super) struct Route {
    pub(super) method: Method,
    /// Segments in braces are parameters.
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// The status when it went well.
    pub(super) status: StatusCode,
    /// The use case, such as `vault_put`.
    pub(super) name: &'static str,
    pub(super) handle: Handle,
    pub(super) describe: fn(&mut Operation<'_>),
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever reaches the server; the agent's route proves its caller by the agent protocol.
    Anyone,
    /// Every signed-in caller, for what is their own.
    SignedIn,
    /// People: signed-in callers with a session, so no program with an API key.
    Person,
    /// Callers with this permission in the tenant that they are signed in to.
    May(Permission),
    /// People who are admins of this server.
    ServerAdmin,
}

/// What a route does with a request.
pub(super) type Handle = for<'a> fn(&'a Call<'a>, Request<Incoming>) -> Answering<'a>;
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send + 'a>>;

/// A request that has found its route.
pub(super) struct Call<'a> {
    pub(super) connection: &'a Connection,
    pub(super) origin: &'a Origin,
    pub(super) head: &'a Head,
    pub(super) route: &'static Route,
    /// What is left of the requests that the caller's tenant may send.
    pub(super) budget: OnceLock<Standing>,
}

impl Call<'_> {
    pub(super) async fn signed_in(&self) -> Result<SignedIn, ApiError> {
        let caller = self.newcomer().await?;
        caller.owes_no_factor()?;
        Ok(caller)
    }

    /// A caller who may still owe the second factor that the tenant demands.
    pub(super) async fn newcomer(&self) -> Result<SignedIn, ApiError> {
        let app = &self.connection.app;
        let caller = sessions::signed_in(app, self.origin, self.token()?).await?;
        let plan = (caller.tenant_id(), caller.requests_per_minute());
        // The caller of a request with a body is looked at twice, and counted once.
        if self.budget.get().is_none()
            && let Some(left) = limits::request(app, plan.0, plan.1).await?
        {
            let _ = self.budget.set(left);
        }
        Ok(caller)
    }

    /// What the request shows of a sign-in.
    pub(super) fn token(&self) -> Result<Option<&str>, ApiError> {
        match self.head.bearer() {
            Some(bearer) => Ok(Some(bearer)),
            None => cookies::session_token(&self.connection.app.config.cookies, self.head),
        }
    }

    pub(super) async fn person(&self) -> Result<SignedIn, ApiError> {
        let caller = self.signed_in().await?;
        caller.session_id()?;
        Ok(caller)
    }

    pub(super) async fn new_person(&self) -> Result<SignedIn, ApiError> {
        let caller = self.newcomer().await?;
        caller.session_id()?;
        Ok(caller)
    }

    pub(super) async fn server_admin(&self) -> Result<ServerAdmin, ApiError> {
        let caller = self.signed_in().await?;
        sessions::server_admin(&self.connection.app, caller).await
    }

    pub(super) async fn permitted(&self, permission: Permission) -> Result<SignedIn, ApiError> {
        let caller = self.signed_in().await?;
        caller.require(permission)?;
        Ok(caller)
    }

    pub(super) fn page(&self) -> Result<Page, ApiError> {
        Page::parse(self.head.query())
    }

    pub(super) fn filter(&self) -> Result<(Filter, Page), ApiError> {
        Filter::parse(self.head.query())
    }

    pub(super) fn search(&self) -> Result<Search, ApiError> {
        Search::parse(self.head.query())
    }

    pub(super) fn after(&self) -> Result<After, ApiError> {
        After::parse(self.head.query())
    }

    /// The segment that stands where the pattern has `{name}`.
    pub(super) fn segment<T: Segment>(&self, name: &str) -> Result<T, ApiError> {
        let place = segments(self.route.path).position(|part| parameter(part) == Some(name));
        let text = place.and_then(|place| self.head.path().get(place).copied());
        let text = text.and_then(percent_decoded);
        T::parse(&text.ok_or(ApiError::NotFound)?)
    }
}

impl Route {
    fn matches(&self, path: &[&str]) -> bool {
        let mut rest = path.iter();
        segments(self.path).all(|part| {
            rest.next()
                .is_some_and(|given| parameter(part).is_some() || part == *given)
        }) && rest.next().is_none()
    }

    /// What `Allow` calls it.
    fn allows(&self) -> &'static str {
        match self.method {
            Method::GET => "GET, HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            _ => "DELETE",
        }
    }
}

/// The row for this request: the first whose pattern fits, so literal paths stand before patterns.
pub(super) fn find(
    routes: &'static [Route],
    method: &Method,
    path: &[&str],
) -> Result<&'static Route, ApiError> {
    // An answer to HEAD is the one to GET, and hyper leaves its body out.
    let wanted = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let first = routes.iter().find(|route| route.matches(path));
    let pattern = first.ok_or(ApiError::NotFound)?.path;
    let here = || routes.iter().filter(|route| route.path == pattern);
    if let Some(route) = here().find(|route| route.method == *wanted) {
        return Ok(route);
    }
    let allowed: Vec<&str> = here().map(Route::allows).collect();
    Err(ApiError::MethodNotAllowed(allowed.join(", ")))
}

/// The segments of a pattern.
pub(super) fn segments(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    pattern.split('/').filter(|part| !part.is_empty())
}

/// The name of a segment in braces.
pub(super) fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::find;
    use crate::error::ApiError;
    use crate::http::routes::ROUTES;

    #[test]
    fn a_path_with_another_method_tells_which_ones_it_knows() {
        let refused = find(ROUTES, &Method::POST, &["keys", "openai"])
            .err()
            .unwrap();
        let ApiError::MethodNotAllowed(allowed) = refused else {
            panic!("{refused}")
        };
        assert_eq!(allowed, "PUT, GET, HEAD, PATCH, DELETE");
    }

    #[test]
    fn a_literal_path_does_not_borrow_methods_from_a_pattern() {
        let path = ["invitations", "accept"];
        let refused = find(ROUTES, &Method::DELETE, &path).err().unwrap();
        assert!(matches!(refused, ApiError::MethodNotAllowed(allowed) if allowed == "POST"));
        assert!(find(ROUTES, &Method::DELETE, &["invitations", "x"]).is_ok());
    }

    #[test]
    fn what_no_row_has_is_not_found() {
        for path in [
            &["auth"][..],
            &["keys", "a", "b"],
            &["", "keys"],
            &["keys", "a", "revoke", ""],
        ] {
            assert!(
                matches!(find(ROUTES, &Method::GET, path), Err(ApiError::NotFound)),
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_head_request_goes_where_its_get_goes() {
        assert_eq!(
            find(ROUTES, &Method::HEAD, &["vms"]).unwrap().name,
            "delivery_list_vms"
        );
    }

    #[test]
    fn no_two_rows_are_the_same() {
        for (place, route) in ROUTES.iter().enumerate() {
            let twin = |other: &&super::Route| {
                other.name == route.name
                    || (other.method == route.method && other.path == route.path)
            };
            assert!(
                ROUTES[place + 1..].iter().find(twin).is_none(),
                "{}",
                route.name
            );
        }
    }
}
