-- What an imported user was called there, hashed: rows of another system may have the same ids.
ALTER TABLE imported_rows ADD COLUMN names_hash BYTEA;
