-- Security events that the operator's webhook has not taken yet.

CREATE TABLE pending_alerts (
    event_id BLOB PRIMARY KEY NOT NULL REFERENCES audit_events (id) ON DELETE CASCADE,
    queued_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL
) STRICT;

CREATE INDEX pending_alerts_by_turn ON pending_alerts (next_at);
