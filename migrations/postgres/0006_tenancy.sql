-- What tenants may do, who belongs to them, and in which role.

-- A limit that is NULL does not bind. Storage and features are for other services.
CREATE TABLE plans (
    name TEXT PRIMARY KEY NOT NULL,
    requests_per_minute INTEGER CHECK (requests_per_minute > 0),
    vms INTEGER CHECK (vms >= 0),
    storage_gb INTEGER CHECK (storage_gb >= 0),
    features TEXT NOT NULL
);
INSERT INTO plans (name, requests_per_minute, vms, storage_gb, features) VALUES
    ('free', 100, 3, 10, '["workbenches"]'),
    ('developer', 500, 10, 50, '["workbenches","code_generation"]'),
    ('pro', 2000, NULL, 200, '["workbenches","code_generation","priority"]'),
    ('enterprise', NULL, NULL, NULL, '["workbenches","code_generation","priority","support"]');

ALTER TABLE tenants ADD COLUMN plan TEXT NOT NULL DEFAULT 'free' REFERENCES plans (name);

-- A tenant's own roles; permissions is a JSON list of names.
CREATE TABLE roles (
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- A member's role is one that every tenant has, or one of its own.
ALTER TABLE memberships DROP CONSTRAINT memberships_role_check;

-- Open invitations; an accepted one is gone.
CREATE TABLE invitations (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    role TEXT NOT NULL,
    token_hash BYTEA NOT NULL UNIQUE,
    invited_by UUID REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    UNIQUE (tenant_id, email_key)
);
CREATE INDEX invitations_by_inviter ON invitations (invited_by);
CREATE INDEX invitations_by_expiry ON invitations (expires_at);
