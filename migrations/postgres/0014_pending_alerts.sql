-- Security events that the operator's webhook has not taken yet.

CREATE TABLE pending_alerts (
    event_id UUID PRIMARY KEY NOT NULL REFERENCES audit_events (id) ON DELETE CASCADE,
    queued_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL
);

CREATE INDEX pending_alerts_by_turn ON pending_alerts (next_at);
