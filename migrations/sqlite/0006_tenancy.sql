-- What tenants may do, who belongs to them, and in which role.

-- A limit that is NULL does not bind. Storage and features are for other services.
CREATE TABLE plans (
    name TEXT PRIMARY KEY NOT NULL,
    requests_per_minute INTEGER CHECK (requests_per_minute > 0),
    vms INTEGER CHECK (vms >= 0),
    storage_gb INTEGER CHECK (storage_gb >= 0),
    features TEXT NOT NULL
) STRICT;
INSERT INTO plans (name, requests_per_minute, vms, storage_gb, features) VALUES
    ('free', 100, 3, 10, '["workbenches"]'),
    ('developer', 500, 10, 50, '["workbenches","code_generation"]'),
    ('pro', 2000, NULL, 200, '["workbenches","code_generation","priority"]'),
    ('enterprise', NULL, NULL, NULL, '["workbenches","code_generation","priority","support"]');

-- SQLite adds no column that refers to another table and has a default.
ALTER TABLE tenants ADD COLUMN plan TEXT NOT NULL DEFAULT 'free';

-- A tenant's own roles; permissions is a JSON list of names.
CREATE TABLE roles (
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT;

-- A member's role is one that every tenant has, or one of its own.
CREATE TABLE memberships_of_any_role (
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) STRICT;
INSERT INTO memberships_of_any_role SELECT tenant_id, user_id, role, created_at FROM memberships;
DROP TABLE memberships;
ALTER TABLE memberships_of_any_role RENAME TO memberships;
CREATE INDEX memberships_by_user ON memberships (user_id);

-- Open invitations; an accepted one is gone.
CREATE TABLE invitations (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    role TEXT NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,
    invited_by BLOB REFERENCES users (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (tenant_id, email_key)
) STRICT;
CREATE INDEX invitations_by_inviter ON invitations (invited_by);
CREATE INDEX invitations_by_expiry ON invitations (expires_at);
