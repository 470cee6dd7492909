-- Tenants that demand a second factor, and where a sign-in at a provider leads.

ALTER TABLE tenants ADD COLUMN mfa_required INTEGER NOT NULL DEFAULT 0
    CHECK (mfa_required IN (0, 1));

-- A sign-in that a program began goes back to it at its port on the user's own machine, with a code
-- that is worth a session only to whoever knows what the challenge is the SHA-256 of.
ALTER TABLE provider_sign_ins ADD COLUMN port INTEGER;
ALTER TABLE provider_sign_ins ADD COLUMN challenge BLOB;
ALTER TABLE provider_sign_ins ADD COLUMN code_hash BLOB;
ALTER TABLE provider_sign_ins ADD COLUMN user_id BLOB REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE provider_sign_ins ADD COLUMN redeemed_at INTEGER;
CREATE UNIQUE INDEX provider_sign_ins_by_code ON provider_sign_ins (code_hash);
CREATE INDEX provider_sign_ins_by_user ON provider_sign_ins (user_id);
