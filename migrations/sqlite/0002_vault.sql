-- Provider keys at rest. A reference to a key carries its tenant, so that no row can cross tenants.

CREATE TABLE provider_keys (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    policy TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
    current_version INTEGER NOT NULL CHECK (current_version >= 1),
    created_by BLOB REFERENCES users (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    rotated_at INTEGER,
    revoked_at INTEGER,
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
) STRICT;
CREATE INDEX provider_keys_by_creator ON provider_keys (created_by);

-- A destroyed version keeps its row; its salt and ciphertext are empty.
CREATE TABLE key_versions (
    key_id BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    tenant_id BLOB NOT NULL,
    salt BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    master_key_id BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    last4 TEXT,
    created_at INTEGER NOT NULL,
    retire_at INTEGER,
    destroyed_at INTEGER,
    PRIMARY KEY (key_id, version),
    FOREIGN KEY (tenant_id, key_id) REFERENCES provider_keys (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX key_versions_by_tenant ON key_versions (tenant_id, key_id);
CREATE INDEX key_versions_by_retirement ON key_versions (retire_at) WHERE destroyed_at IS NULL;

-- The server's own key pairs: Noise static keys and HPKE keys.
CREATE TABLE server_keys (
    id BLOB PRIMARY KEY NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('noise', 'hpke')),
    public_key BLOB NOT NULL,
    salt BLOB NOT NULL,
    secret BLOB NOT NULL,
    master_key_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('current', 'previous', 'retired'))
) STRICT;
CREATE UNIQUE INDEX server_keys_one_current ON server_keys (purpose) WHERE status = 'current';
