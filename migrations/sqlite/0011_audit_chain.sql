-- The audit is a chain of MACs for each tenant, and one for the server; it is only ever added to.

ALTER TABLE audit_events ADD COLUMN chain_id BLOB;
ALTER TABLE audit_events ADD COLUMN seq INTEGER;
ALTER TABLE audit_events ADD COLUMN hash BLOB;
CREATE UNIQUE INDEX audit_events_by_chain ON audit_events (chain_id, seq);

-- Where each chain ends, and up to where it was pruned.
CREATE TABLE audit_heads (
    chain_id BLOB PRIMARY KEY NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    pruned_seq INTEGER NOT NULL,
    pruned_hash BLOB NOT NULL,
    pruned_mac BLOB NOT NULL
) STRICT;

-- The one key of the MACs, sealed under the master key.
CREATE TABLE audit_keys (
    id BLOB PRIMARY KEY NOT NULL,
    salt BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    master_key_id BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Events from before there was a chain are linked once, at the first start.
CREATE TRIGGER audit_events_stay_as_they_are BEFORE UPDATE ON audit_events
WHEN OLD.hash IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'audit events are not changed');
END;

CREATE TRIGGER audit_events_stay BEFORE DELETE ON audit_events
WHEN OLD.hash IS NULL OR NOT EXISTS
    (SELECT 1 FROM audit_heads h WHERE h.chain_id = OLD.chain_id AND OLD.seq <= h.pruned_seq)
BEGIN
    SELECT RAISE(ABORT, 'audit events are deleted by pruning alone');
END;

CREATE TRIGGER audit_heads_go_forward BEFORE UPDATE ON audit_heads
WHEN NEW.chain_id <> OLD.chain_id OR NEW.seq < OLD.seq OR NEW.pruned_seq < OLD.pruned_seq
BEGIN
    SELECT RAISE(ABORT, 'an audit chain does not go back');
END;

CREATE TRIGGER audit_heads_stay BEFORE DELETE ON audit_heads
BEGIN
    SELECT RAISE(ABORT, 'an audit chain does not end');
END;
