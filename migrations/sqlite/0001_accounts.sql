-- Who exists and who is signed in. Times are microseconds since 1970, ids are 16 bytes.

CREATE TABLE tenants (
    id BLOB PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The *_key columns hold the folded form, in which names are unique.
CREATE TABLE users (
    id BLOB PRIMARY KEY NOT NULL,
    username TEXT,
    username_key TEXT UNIQUE,
    email TEXT,
    email_key TEXT UNIQUE,
    full_name TEXT,
    password_hash TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'pending', 'locked', 'disabled')),
    email_verified INTEGER NOT NULL CHECK (email_verified IN (0, 1)),
    server_admin INTEGER NOT NULL CHECK (server_admin IN (0, 1)),
    failed_login_attempts INTEGER NOT NULL,
    locked_until INTEGER,
    last_login_at INTEGER,
    password_changed_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    CHECK (username_key IS NOT NULL OR email_key IS NOT NULL)
) STRICT;

CREATE TABLE memberships (
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) STRICT;
CREATE INDEX memberships_by_user ON memberships (user_id);

CREATE TABLE sessions (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_tenant ON sessions (tenant_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- A used token keeps the salt from which, together with the token itself, its successor follows.
CREATE TABLE refresh_tokens (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    session_id BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    token_hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    successor_salt BLOB
) STRICT;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_tenant ON refresh_tokens (tenant_id);

CREATE TABLE signing_keys (
    id BLOB PRIMARY KEY NOT NULL,
    algorithm TEXT NOT NULL,
    public_key BLOB NOT NULL,
    salt BLOB NOT NULL,
    secret BLOB NOT NULL,
    master_key_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('current', 'previous', 'retired'))
) STRICT;
CREATE UNIQUE INDEX signing_keys_one_current ON signing_keys (status) WHERE status = 'current';

-- Outlives what it speaks of, so it references nothing.
CREATE TABLE audit_events (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT,
    detail TEXT NOT NULL,
    correlation_id BLOB NOT NULL
) STRICT;
CREATE INDEX audit_events_by_tenant ON audit_events (tenant_id, at);
CREATE INDEX audit_events_by_time ON audit_events (at);

CREATE TABLE settings (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
