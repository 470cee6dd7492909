-- Virtual machines, how they enrol, and what they hold.

CREATE TABLE vms (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'cut_off')),
    created_by BLOB REFERENCES users (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    last_seen_at INTEGER,
    protection TEXT,
    agent_version TEXT,
    suspected_clone INTEGER NOT NULL CHECK (suspected_clone IN (0, 1)),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
) STRICT;
CREATE INDEX vms_by_creator ON vms (created_by);

CREATE TABLE tickets (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL,
    vm_id BLOB NOT NULL,
    created_by BLOB REFERENCES users (id) ON DELETE SET NULL,
    salt BLOB NOT NULL,
    secret BLOB NOT NULL,
    master_key_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    redeemed_by BLOB,
    redeemed_at INTEGER,
    FOREIGN KEY (tenant_id, vm_id) REFERENCES vms (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX tickets_by_vm ON tickets (tenant_id, vm_id);
CREATE INDEX tickets_by_creator ON tickets (created_by);
CREATE INDEX tickets_by_expiry ON tickets (expires_at);

CREATE TABLE reattach_credentials (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL,
    vm_id BLOB NOT NULL,
    agent_key BLOB NOT NULL,
    salt BLOB NOT NULL,
    secret BLOB NOT NULL,
    master_key_id BLOB NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'current', 'retired')),
    created_at INTEGER NOT NULL,
    FOREIGN KEY (tenant_id, vm_id) REFERENCES vms (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX reattach_credentials_by_vm ON reattach_credentials (tenant_id, vm_id);

CREATE TABLE held_versions (
    vm_id BLOB NOT NULL,
    key_id BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    tenant_id BLOB NOT NULL,
    told_at INTEGER NOT NULL,
    told TEXT NOT NULL CHECK (told IN ('put', 'retire', 'revoke', 'wipe')),
    acked_at INTEGER,
    outcome TEXT,
    PRIMARY KEY (vm_id, key_id, version),
    FOREIGN KEY (tenant_id, vm_id) REFERENCES vms (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, key_id) REFERENCES provider_keys (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX held_versions_by_key ON held_versions (tenant_id, key_id);
CREATE INDEX held_versions_by_vm ON held_versions (tenant_id, vm_id);
