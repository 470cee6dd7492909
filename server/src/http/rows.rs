//! How a row of the table of routes reads, and what is made of it.

/// Makes the table. A row reads
/// `METHOD "path" access => STATUS use::case(its, arguments) then close;`
/// where an argument is one of
///
/// - `app`, `origin`, `caller`, `page`, `filter`, `search`, `after`, `body`: what their names say; `caller` is there
///   only when the access rule makes one, so a use case that wants a proof compiles only under such a rule;
/// - `call`, `request`: everything, for what is not plain JSON;
/// - any other name: the segment of the path with this name.
///
/// `then close` ends the connection, so that the buffers that held a secret are freed and wiped.
macro_rules! routes {
    ($(
        $method:ident $path:literal $access:ident $(($permission:ident))? =>
        $status:ident $area:ident $(:: $name:ident)+ ( $($argument:ident),* ) $(then $close:ident)? ;
    )+) => {
        /// Every endpoint.
        pub(super) const ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            access: access!($access $($permission)?),
            status: StatusCode::$status,
            name: concat!(stringify!($area) $(, "_", stringify!($name))+),
            handle: |call, request| Box::pin(async move {
                let at_once = request::has_no_body(&request);
                let caller = caller!(call, $access $($permission)?);
                let _body = received!([$($argument)*] call, request);
                // Who holds a body back may have been shut out by the time that it comes.
                let _caller = if at_once { caller } else { caller!(call, $access $($permission)?) };
                let answer = $area $(:: $name)+ (
                    $(argument!($argument, call, _caller, _body)),*
                ).await?;
                let reply = Answer::reply(answer, StatusCode::$status)?;
                $(let reply = after!($close, reply);)?
                Ok(reply)
            }),
            describe: |operation| {
                $(let $argument = Slot::new();)*
                operation.answer(|_never| $area $(:: $name)+ ($($argument.of(_never)),*));
                $(slot!($argument = $argument, operation);)*
            },
        }),+];
    };
}

macro_rules! access {
    (anyone) => {
        Access::Anyone
    };
    (signed_in) => {
        Access::SignedIn
    };
    (newcomer) => {
        Access::SignedIn
    };
    (new_person) => {
        Access::Person
    };
    (person) => {
        Access::Person
    };
    (may $permission:ident) => {
        Access::May(Permission::$permission)
    };
    (server_admin) => {
        Access::ServerAdmin
    };
}

macro_rules! caller {
    ($call:ident, anyone) => {
        Nobody
    };
    ($call:ident, signed_in) => {
        $call.signed_in().await?
    };
    ($call:ident, newcomer) => {
        $call.newcomer().await?
    };
    ($call:ident, new_person) => {
        $call.new_person().await?
    };
    ($call:ident, person) => {
        $call.person().await?
    };
    ($call:ident, server_admin) => {
        $call.server_admin().await?
    };
    ($call:ident, may $permission:ident) => {
        $call.permitted(Permission::$permission).await?
    };
}

/// What one of the arguments takes of the request; a body that none takes must be empty.
macro_rules! received {
    ([body $($rest:ident)*] $call:ident, $request:ident) => {
        request::json($call, $request).await?
    };
    ([request $($rest:ident)*] $call:ident, $request:ident) => { $request };
    ([$other:ident $($rest:ident)*] $call:ident, $request:ident) => {
        received!([$($rest)*] $call, $request)
    };
    ([] $call:ident, $request:ident) => { request::no_body($call, $request).await? };
}

macro_rules! argument {
    (app, $call:ident, $caller:ident, $body:ident) => {
        &$call.connection.app
    };
    (origin, $call:ident, $caller:ident, $body:ident) => {
        $call.origin
    };
    (caller, $call:ident, $caller:ident, $body:ident) => {
        &$caller
    };
    (page, $call:ident, $caller:ident, $body:ident) => {
        &$call.page()?
    };
    (filter, $call:ident, $caller:ident, $body:ident) => {
        &$call.filter()?
    };
    (search, $call:ident, $caller:ident, $body:ident) => {
        &$call.search()?
    };
    (after, $call:ident, $caller:ident, $body:ident) => {
        $call.after()?
    };
    (body, $call:ident, $caller:ident, $body:ident) => {
        $body
    };
    (call, $call:ident, $caller:ident, $body:ident) => {
        $call
    };
    (request, $call:ident, $caller:ident, $body:ident) => {
        $body
    };
    ($segment:ident, $call:ident, $caller:ident, $body:ident) => {
        $call.segment(stringify!($segment))?
    };
}

/// What an argument tells of the operation; only some do.
macro_rules! slot {
    (app = $slot:ident, $operation:ident) => {};
    (origin = $slot:ident, $operation:ident) => {};
    (caller = $slot:ident, $operation:ident) => {};
    (call = $slot:ident, $operation:ident) => {};
    (request = $slot:ident, $operation:ident) => {};
    (page = $slot:ident, $operation:ident) => {
        $operation.page()
    };
    (filter = $slot:ident, $operation:ident) => {
        $operation.filter()
    };
    (search = $slot:ident, $operation:ident) => {
        $operation.search()
    };
    (after = $slot:ident, $operation:ident) => {
        $operation.after()
    };
    (body = $slot:ident, $operation:ident) => {
        $operation.body(&$slot)
    };
    ($segment:ident = $slot:ident, $operation:ident) => {
        $operation.segment(stringify!($segment), &$slot)
    };
}

macro_rules! after {
    (close, $reply:ident) => {
        reply::closing($reply)
    };
}

pub(super) use {access, after, argument, caller, received, routes, slot};
