-- The audit is a chain of MACs for each tenant, and one for the server; it is only ever added to.

ALTER TABLE audit_events ADD COLUMN chain_id UUID;
ALTER TABLE audit_events ADD COLUMN seq BIGINT;
ALTER TABLE audit_events ADD COLUMN hash BYTEA;
CREATE UNIQUE INDEX audit_events_by_chain ON audit_events (chain_id, seq);

-- Where each chain ends, and up to where it was pruned.
CREATE TABLE audit_heads (
    chain_id UUID PRIMARY KEY NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    pruned_seq BIGINT NOT NULL,
    pruned_hash BYTEA NOT NULL,
    pruned_mac BYTEA NOT NULL
);

-- The one key of the MACs, sealed under the master key.
CREATE TABLE audit_keys (
    id UUID PRIMARY KEY NOT NULL,
    salt BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    master_key_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is only added to: % of % refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION refuse_audit_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.hash IS NULL OR NOT EXISTS (SELECT 1 FROM audit_heads h
        WHERE h.chain_id = OLD.chain_id AND OLD.seq <= h.pruned_seq)
    THEN
        RAISE EXCEPTION 'audit events are deleted by pruning alone'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END $$;

-- Events from before there was a chain are linked once, at the first start.
CREATE TRIGGER audit_events_stay_as_they_are BEFORE UPDATE ON audit_events
    FOR EACH ROW WHEN (OLD.hash IS NOT NULL) EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_events_stay BEFORE DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_delete();
CREATE TRIGGER audit_events_stay_whole BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TRIGGER audit_heads_go_forward BEFORE UPDATE ON audit_heads
    FOR EACH ROW WHEN (NEW.chain_id <> OLD.chain_id OR NEW.seq < OLD.seq
        OR NEW.pruned_seq < OLD.pruned_seq)
    EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_heads_stay BEFORE DELETE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_heads_stay_whole BEFORE TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- Whoever else is given rights on these tables may read and add.
REVOKE UPDATE, DELETE, TRUNCATE ON audit_events FROM PUBLIC;
