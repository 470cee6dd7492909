-- Provider keys at rest. A reference to a key carries its tenant, so that no row can cross tenants.

CREATE TABLE provider_keys (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    policy TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
    current_version BIGINT NOT NULL CHECK (current_version >= 1),
    created_by UUID REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    rotated_at BIGINT,
    revoked_at BIGINT,
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
);
CREATE INDEX provider_keys_by_creator ON provider_keys (created_by);

-- A destroyed version keeps its row; its salt and ciphertext are empty.
CREATE TABLE key_versions (
    key_id UUID NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),
    tenant_id UUID NOT NULL,
    salt BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    master_key_id BYTEA NOT NULL,
    fingerprint TEXT NOT NULL,
    last4 TEXT,
    created_at BIGINT NOT NULL,
    retire_at BIGINT,
    destroyed_at BIGINT,
    PRIMARY KEY (key_id, version),
    FOREIGN KEY (tenant_id, key_id) REFERENCES provider_keys (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX key_versions_by_tenant ON key_versions (tenant_id, key_id);
CREATE INDEX key_versions_by_retirement ON key_versions (retire_at) WHERE destroyed_at IS NULL;

-- The server's own key pairs: Noise static keys and HPKE keys.
CREATE TABLE server_keys (
    id UUID PRIMARY KEY NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('noise', 'hpke')),
    public_key BYTEA NOT NULL,
    salt BYTEA NOT NULL,
    secret BYTEA NOT NULL,
    master_key_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('current', 'previous', 'retired'))
);
CREATE UNIQUE INDEX server_keys_one_current ON server_keys (purpose) WHERE status = 'current';
