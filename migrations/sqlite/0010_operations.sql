-- What the operator's commands keep: a change of the master key, the server's own keys in their
-- overlap, what a restore holds back, and what was imported from where.

-- The change that is under way, if there is one: each of the two keys, sealed under the other.
CREATE TABLE master_key_rotations (
    the_only INTEGER PRIMARY KEY NOT NULL CHECK (the_only = 1),
    old_id BLOB NOT NULL,
    new_id BLOB NOT NULL,
    new_salt BLOB NOT NULL,
    new_under_old BLOB NOT NULL,
    old_salt BLOB NOT NULL,
    old_under_new BLOB NOT NULL,
    begun_at INTEGER NOT NULL
) STRICT;

-- Nothing is sealed under these any more. A server that slept through the change is refused.
CREATE TABLE retired_master_keys (
    id BLOB PRIMARY KEY NOT NULL,
    retired_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER key_versions_sealed_anew BEFORE INSERT ON key_versions
WHEN NEW.master_key_id IN (SELECT id FROM retired_master_keys)
BEGIN SELECT RAISE(ABORT, 'sealed under a retired master key'); END;
CREATE TRIGGER tickets_sealed_anew BEFORE INSERT ON tickets
WHEN NEW.master_key_id IN (SELECT id FROM retired_master_keys)
BEGIN SELECT RAISE(ABORT, 'sealed under a retired master key'); END;
CREATE TRIGGER reattach_credentials_sealed_anew BEFORE INSERT ON reattach_credentials
WHEN NEW.master_key_id IN (SELECT id FROM retired_master_keys)
BEGIN SELECT RAISE(ABORT, 'sealed under a retired master key'); END;
CREATE TRIGGER totp_sealed_anew BEFORE INSERT ON totp
WHEN NEW.master_key_id IN (SELECT id FROM retired_master_keys)
BEGIN SELECT RAISE(ABORT, 'sealed under a retired master key'); END;
CREATE TRIGGER totp_changed_anew BEFORE UPDATE OF master_key_id ON totp
WHEN NEW.master_key_id IN (SELECT id FROM retired_master_keys)
BEGIN SELECT RAISE(ABORT, 'sealed under a retired master key'); END;
CREATE TRIGGER signing_keys_sealed_anew BEFORE INSERT ON signing_keys
WHEN NEW.master_key_id IN (SELECT id FROM retired_master_keys)
BEGIN SELECT RAISE(ABORT, 'sealed under a retired master key'); END;
CREATE TRIGGER server_keys_sealed_anew BEFORE INSERT ON server_keys
WHEN NEW.master_key_id IN (SELECT id FROM retired_master_keys)
BEGIN SELECT RAISE(ABORT, 'sealed under a retired master key'); END;

-- Until when agents may still knock with a previous key.
ALTER TABLE server_keys ADD COLUMN valid_until INTEGER;

-- Since when the operator has not confirmed that it may live on after a restore.
ALTER TABLE key_versions ADD COLUMN held_back_at INTEGER;
ALTER TABLE service_api_keys ADD COLUMN held_back_at INTEGER;
ALTER TABLE vms ADD COLUMN held_back_at INTEGER;

-- Which row of another system became which of ours.
CREATE TABLE imported_rows (
    source TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('user', 'key')),
    foreign_id TEXT NOT NULL,
    local_id BLOB NOT NULL,
    imported_at INTEGER NOT NULL,
    PRIMARY KEY (source, kind, foreign_id)
) STRICT;
