-- What one user did, newest first, for the export of an account.

CREATE INDEX audit_events_by_actor ON audit_events (actor, at, id);
