-- Which agent session of a VM was there last, on whatever server, and until when it counts unless
-- it is noted again.

ALTER TABLE vms ADD COLUMN session_id UUID;
ALTER TABLE vms ADD COLUMN session_until BIGINT;
