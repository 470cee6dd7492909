-- A server that owns none of these tables cannot delete events. It prunes by a function of the
-- owner's, which lets go only of a chain's beginning, and only of what is old enough.

-- None: the owner alone prunes. `migrate --grant-to` writes what the settings say then.
CREATE TABLE _audit_retention (
    the_only INTEGER PRIMARY KEY NOT NULL CHECK (the_only = 1),
    keep_days BIGINT CHECK (keep_days > 0)
);
INSERT INTO _audit_retention (the_only, keep_days) VALUES (1, NULL);

-- Names are looked up where the caller cannot put others in their place.
DO $make$ BEGIN
EXECUTE format('ALTER FUNCTION refuse_audit_delete() SET search_path = pg_catalog, %I, pg_temp',
    current_schema());
EXECUTE format($function$
CREATE FUNCTION prune_audit(chain UUID, upto BIGINT, upto_hash BYTEA, upto_mac BYTEA)
RETURNS BIGINT LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %I, pg_temp AS $body$
DECLARE
    -- Clocks may differ by an hour.
    margin CONSTANT BIGINT := 3600000000;
    days BIGINT;
    gone BIGINT;
BEGIN
    IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
        SELECT keep_days INTO days FROM _audit_retention;
        IF days IS NULL THEN
            RAISE EXCEPTION 'only the owner of the schema prunes this audit'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        IF EXISTS (SELECT 1 FROM audit_events e WHERE e.chain_id = chain AND e.seq <= upto
            AND e.at > microseconds_now() - days * 86400000000 + margin)
        THEN
            RAISE EXCEPTION 'only the owner of the schema prunes events of the last %% days', days
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM audit_events e
        WHERE e.chain_id = chain AND e.seq = upto AND e.hash = upto_hash)
    THEN
        RETURN 0;
    END IF;
    UPDATE audit_heads SET pruned_seq = upto, pruned_hash = upto_hash, pruned_mac = upto_mac
        WHERE chain_id = chain AND pruned_seq < upto AND upto <= seq;
    DELETE FROM audit_events e WHERE e.chain_id = chain AND e.seq <= upto;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $body$
$function$, current_schema());
END $make$;
REVOKE ALL ON FUNCTION prune_audit(UUID, BIGINT, BYTEA, BYTEA) FROM PUBLIC;
