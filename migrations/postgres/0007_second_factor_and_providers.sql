-- Tenants that demand a second factor, and where a sign-in at a provider leads.

ALTER TABLE tenants ADD COLUMN mfa_required BOOLEAN NOT NULL DEFAULT FALSE;

-- A sign-in that a program began goes back to it at its port on the user's own machine, with a code
-- that is worth a session only to whoever knows what the challenge is the SHA-256 of.
ALTER TABLE provider_sign_ins ADD COLUMN port INTEGER;
ALTER TABLE provider_sign_ins ADD COLUMN challenge BYTEA;
ALTER TABLE provider_sign_ins ADD COLUMN code_hash BYTEA;
ALTER TABLE provider_sign_ins ADD COLUMN user_id UUID REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE provider_sign_ins ADD COLUMN redeemed_at BIGINT;
CREATE UNIQUE INDEX provider_sign_ins_by_code ON provider_sign_ins (code_hash);
CREATE INDEX provider_sign_ins_by_user ON provider_sign_ins (user_id);
