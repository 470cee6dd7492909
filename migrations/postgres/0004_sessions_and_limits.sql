-- Where sessions and users come from, and how often they tried in vain.

-- The mark is the SHA-256 of the user agent and the network.
CREATE TABLE devices (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    mark BYTEA NOT NULL,
    user_agent TEXT NOT NULL,
    network TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    UNIQUE (user_id, mark)
);
CREATE INDEX devices_by_network ON devices (user_id, network);

ALTER TABLE sessions ADD COLUMN address TEXT;
ALTER TABLE sessions ADD COLUMN user_agent TEXT;
ALTER TABLE sessions ADD COLUMN last_seen_at BIGINT;
ALTER TABLE sessions ADD COLUMN device_id UUID REFERENCES devices (id) ON DELETE SET NULL;
CREATE INDEX sessions_by_device ON sessions (device_id);

-- An account is the SHA-256 of the name that was claimed, whether or not there is such an account.
-- The empty network stands for all of them together.
CREATE TABLE login_failures (
    account BYTEA NOT NULL,
    network TEXT NOT NULL,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (account, network)
);
CREATE INDEX login_failures_by_time ON login_failures (last_at);

-- Until when tokens of a previous key count.
ALTER TABLE signing_keys ADD COLUMN valid_until BIGINT;
