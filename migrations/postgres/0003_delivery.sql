-- Virtual machines, how they enrol, and what they hold.

CREATE TABLE vms (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'cut_off')),
    created_by UUID REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT,
    protection TEXT,
    agent_version TEXT,
    suspected_clone BOOLEAN NOT NULL,
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
);
CREATE INDEX vms_by_creator ON vms (created_by);

CREATE TABLE tickets (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL,
    vm_id UUID NOT NULL,
    created_by UUID REFERENCES users (id) ON DELETE SET NULL,
    salt BYTEA NOT NULL,
    secret BYTEA NOT NULL,
    master_key_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    redeemed_by BYTEA,
    redeemed_at BIGINT,
    FOREIGN KEY (tenant_id, vm_id) REFERENCES vms (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX tickets_by_vm ON tickets (tenant_id, vm_id);
CREATE INDEX tickets_by_creator ON tickets (created_by);
CREATE INDEX tickets_by_expiry ON tickets (expires_at);

CREATE TABLE reattach_credentials (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL,
    vm_id UUID NOT NULL,
    agent_key BYTEA NOT NULL,
    salt BYTEA NOT NULL,
    secret BYTEA NOT NULL,
    master_key_id BYTEA NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'current', 'retired')),
    created_at BIGINT NOT NULL,
    FOREIGN KEY (tenant_id, vm_id) REFERENCES vms (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX reattach_credentials_by_vm ON reattach_credentials (tenant_id, vm_id);

CREATE TABLE held_versions (
    vm_id UUID NOT NULL,
    key_id UUID NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),
    tenant_id UUID NOT NULL,
    told_at BIGINT NOT NULL,
    told TEXT NOT NULL CHECK (told IN ('put', 'retire', 'revoke', 'wipe')),
    acked_at BIGINT,
    outcome TEXT,
    PRIMARY KEY (vm_id, key_id, version),
    FOREIGN KEY (tenant_id, vm_id) REFERENCES vms (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, key_id) REFERENCES provider_keys (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX held_versions_by_key ON held_versions (tenant_id, key_id);
CREATE INDEX held_versions_by_vm ON held_versions (tenant_id, vm_id);
