-- What an account was before it was closed, and names in the folded form in which they are found.

ALTER TABLE users ADD COLUMN status_before TEXT
    CHECK (status_before IN ('active', 'pending', 'locked'));

-- The server folds them: the databases know the case of some letters only. It fills in what older
-- rows lack when it has brought the schema here.
ALTER TABLE users ADD COLUMN full_name_key TEXT;
ALTER TABLE tenants ADD COLUMN name_key TEXT;
