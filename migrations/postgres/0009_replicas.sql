-- What changed lately: every server reads it again and again, so that none misses what another did.
CREATE TABLE changes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    tenant_id UUID,
    vm_id UUID,
    session_id UUID,
    at BIGINT NOT NULL
);
CREATE INDEX changes_by_time ON changes (at);
