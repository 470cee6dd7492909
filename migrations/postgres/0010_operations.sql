-- What the operator's commands keep: a change of the master key, the server's own keys in their
-- overlap, what a restore holds back, and what was imported from where.

-- The change that is under way, if there is one: each of the two keys, sealed under the other.
CREATE TABLE master_key_rotations (
    the_only INTEGER PRIMARY KEY NOT NULL CHECK (the_only = 1),
    old_id BYTEA NOT NULL,
    new_id BYTEA NOT NULL,
    new_salt BYTEA NOT NULL,
    new_under_old BYTEA NOT NULL,
    old_salt BYTEA NOT NULL,
    old_under_new BYTEA NOT NULL,
    begun_at BIGINT NOT NULL
);

-- Nothing is sealed under these any more. A server that slept through the change is refused.
CREATE TABLE retired_master_keys (
    id BYTEA PRIMARY KEY NOT NULL,
    retired_at BIGINT NOT NULL
);

CREATE FUNCTION refuse_retired_master_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM retired_master_keys WHERE id = NEW.master_key_id) THEN
        RAISE EXCEPTION 'sealed under a retired master key';
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER key_versions_sealed_anew BEFORE INSERT ON key_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_retired_master_key();
CREATE TRIGGER tickets_sealed_anew BEFORE INSERT ON tickets
    FOR EACH ROW EXECUTE FUNCTION refuse_retired_master_key();
CREATE TRIGGER reattach_credentials_sealed_anew BEFORE INSERT ON reattach_credentials
    FOR EACH ROW EXECUTE FUNCTION refuse_retired_master_key();
CREATE TRIGGER totp_sealed_anew BEFORE INSERT OR UPDATE OF master_key_id ON totp
    FOR EACH ROW EXECUTE FUNCTION refuse_retired_master_key();
CREATE TRIGGER signing_keys_sealed_anew BEFORE INSERT ON signing_keys
    FOR EACH ROW EXECUTE FUNCTION refuse_retired_master_key();
CREATE TRIGGER server_keys_sealed_anew BEFORE INSERT ON server_keys
    FOR EACH ROW EXECUTE FUNCTION refuse_retired_master_key();

-- Until when agents may still knock with a previous key.
ALTER TABLE server_keys ADD COLUMN valid_until BIGINT;

-- Since when the operator has not confirmed that it may live on after a restore.
ALTER TABLE key_versions ADD COLUMN held_back_at BIGINT;
ALTER TABLE service_api_keys ADD COLUMN held_back_at BIGINT;
ALTER TABLE vms ADD COLUMN held_back_at BIGINT;

-- Which row of another system became which of ours.
CREATE TABLE imported_rows (
    source TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('user', 'key')),
    foreign_id TEXT NOT NULL,
    local_id UUID NOT NULL,
    imported_at BIGINT NOT NULL,
    PRIMARY KEY (source, kind, foreign_id)
);

-- For people and tools that look after the database itself. The server sweeps by its own clock;
-- these do the same by the database's.
CREATE FUNCTION microseconds_now() RETURNS BIGINT LANGUAGE sql STABLE AS $$
    SELECT (extract(epoch FROM now()) * 1000000)::BIGINT
$$;

-- A session that has ended is known for another day, so that a stolen token that turns up is told of.
CREATE FUNCTION cleanup_expired_auth_sessions() RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    day_ago CONSTANT BIGINT := microseconds_now() - 86400000000;
    gone BIGINT;
BEGIN
    DELETE FROM sessions WHERE expires_at <= day_ago OR ended_at <= day_ago;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END;
$$;

CREATE FUNCTION cleanup_expired_auth_tokens() RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    present CONSTANT BIGINT := microseconds_now();
    gone BIGINT;
    total BIGINT := 0;
BEGIN
    DELETE FROM refresh_tokens WHERE expires_at <= present;
    GET DIAGNOSTICS gone = ROW_COUNT;
    total := total + gone;
    DELETE FROM email_tokens WHERE expires_at <= present;
    GET DIAGNOSTICS gone = ROW_COUNT;
    total := total + gone;
    DELETE FROM mfa_challenges WHERE expires_at <= present;
    GET DIAGNOSTICS gone = ROW_COUNT;
    total := total + gone;
    DELETE FROM provider_sign_ins WHERE expires_at <= present;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN total + gone;
END;
$$;

CREATE FUNCTION get_auth_statistics() RETURNS TABLE (
    total_users BIGINT,
    active_users BIGINT,
    pending_users BIGINT,
    disabled_users BIGINT,
    active_sessions BIGINT,
    logins_24h BIGINT,
    failed_logins_24h BIGINT
) LANGUAGE sql STABLE AS $$
    SELECT
        (SELECT count(*) FROM users),
        (SELECT count(*) FROM users WHERE status = 'active'),
        (SELECT count(*) FROM users WHERE status = 'pending'),
        (SELECT count(*) FROM users WHERE status = 'disabled'),
        (SELECT count(*) FROM sessions WHERE ended_at IS NULL AND expires_at > microseconds_now()),
        (SELECT count(*) FROM audit_events
            WHERE action = 'auth.session_started' AND at > microseconds_now() - 86400000000),
        (SELECT count(*) FROM audit_events
            WHERE action = 'auth.login_refused' AND at > microseconds_now() - 86400000000)
$$;

CREATE VIEW active_auth_sessions AS
    SELECT s.id, s.user_id, s.tenant_id, u.username, u.email, s.address, s.user_agent,
        to_timestamp(s.created_at / 1000000.0) AS created_at,
        to_timestamp(s.last_seen_at / 1000000.0) AS last_seen_at,
        to_timestamp(s.expires_at / 1000000.0) AS expires_at
    FROM sessions s JOIN users u ON u.id = s.user_id
    WHERE s.ended_at IS NULL AND s.expires_at > microseconds_now();

CREATE VIEW recent_auth_events AS
    SELECT id, tenant_id, to_timestamp(at / 1000000.0) AS at, actor, action, subject, detail,
        correlation_id
    FROM audit_events
    WHERE action LIKE 'auth.%' AND at > microseconds_now() - 86400000000
    ORDER BY at DESC;
