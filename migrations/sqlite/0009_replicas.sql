-- What changed lately: every server reads it again and again, so that none misses what another did.
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind TEXT NOT NULL,
    tenant_id BLOB,
    vm_id BLOB,
    session_id BLOB,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX changes_by_time ON changes (at);
