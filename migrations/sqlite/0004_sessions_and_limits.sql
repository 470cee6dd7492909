-- Where sessions and users come from, and how often they tried in vain.

-- The mark is the SHA-256 of the user agent and the network.
CREATE TABLE devices (
    id BLOB PRIMARY KEY NOT NULL,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    mark BLOB NOT NULL,
    user_agent TEXT NOT NULL,
    network TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    UNIQUE (user_id, mark)
) STRICT;
CREATE INDEX devices_by_network ON devices (user_id, network);

ALTER TABLE sessions ADD COLUMN address TEXT;
ALTER TABLE sessions ADD COLUMN user_agent TEXT;
ALTER TABLE sessions ADD COLUMN last_seen_at INTEGER;
ALTER TABLE sessions ADD COLUMN device_id BLOB REFERENCES devices (id) ON DELETE SET NULL;
CREATE INDEX sessions_by_device ON sessions (device_id);

-- An account is the SHA-256 of the name that was claimed, whether or not there is such an account.
-- The empty network stands for all of them together.
CREATE TABLE login_failures (
    account BLOB NOT NULL,
    network TEXT NOT NULL,
    failures INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (account, network)
) STRICT;
CREATE INDEX login_failures_by_time ON login_failures (last_at);

-- Until when tokens of a previous key count.
ALTER TABLE signing_keys ADD COLUMN valid_until INTEGER;
