-- Who exists and who is signed in. Times are microseconds since 1970, ids are UUIDv7.

CREATE TABLE tenants (
    id UUID PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The *_key columns hold the folded form, in which names are unique.
CREATE TABLE users (
    id UUID PRIMARY KEY NOT NULL,
    username TEXT,
    username_key TEXT UNIQUE,
    email TEXT,
    email_key TEXT UNIQUE,
    full_name TEXT,
    password_hash TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'pending', 'locked', 'disabled')),
    email_verified BOOLEAN NOT NULL,
    server_admin BOOLEAN NOT NULL,
    failed_login_attempts INTEGER NOT NULL,
    locked_until BIGINT,
    last_login_at BIGINT,
    password_changed_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    CHECK (username_key IS NOT NULL OR email_key IS NOT NULL)
);

CREATE TABLE memberships (
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id);

CREATE TABLE sessions (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_tenant ON sessions (tenant_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- A used token keeps the salt from which, together with the token itself, its successor follows.
CREATE TABLE refresh_tokens (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    session_id UUID NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    token_hash BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    successor_salt BYTEA
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_tenant ON refresh_tokens (tenant_id);

CREATE TABLE signing_keys (
    id UUID PRIMARY KEY NOT NULL,
    algorithm TEXT NOT NULL,
    public_key BYTEA NOT NULL,
    salt BYTEA NOT NULL,
    secret BYTEA NOT NULL,
    master_key_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('current', 'previous', 'retired'))
);
CREATE UNIQUE INDEX signing_keys_one_current ON signing_keys (status) WHERE status = 'current';

-- Outlives what it speaks of, so it references nothing.
CREATE TABLE audit_events (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT,
    detail TEXT NOT NULL,
    correlation_id UUID NOT NULL
);
CREATE INDEX audit_events_by_tenant ON audit_events (tenant_id, at);
CREATE INDEX audit_events_by_time ON audit_events (at);

CREATE TABLE settings (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
