-- Agents that wait for a person's approval. What they may do with it is theirs alone: the ticket is
-- sealed to agent_key when they fetch it, and never stored here.

CREATE TABLE enrolment_requests (
    id UUID PRIMARY KEY NOT NULL,
    code TEXT NOT NULL UNIQUE,
    device_hash BYTEA NOT NULL UNIQUE,
    agent_key BYTEA NOT NULL,
    name TEXT,
    address TEXT,
    tenant_id UUID REFERENCES tenants (id) ON DELETE CASCADE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied')),
    vm_id UUID,
    decided_by UUID REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    polled_at BIGINT,
    FOREIGN KEY (tenant_id, vm_id) REFERENCES vms (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX enrolment_requests_by_tenant ON enrolment_requests (tenant_id, id);
CREATE INDEX enrolment_requests_by_vm ON enrolment_requests (tenant_id, vm_id);
CREATE INDEX enrolment_requests_by_decider ON enrolment_requests (decided_by);
CREATE INDEX enrolment_requests_by_expiry ON enrolment_requests (expires_at);
