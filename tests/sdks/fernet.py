"""Prints the SQL of a database as a FastAPI program keeps it: fernet.py KEY_FILE < JSON."""

import json
import sys

import bcrypt
from cryptography.fernet import Fernet, MultiFernet

key_file = sys.argv[1]
wanted = json.load(sys.stdin)
# The newest first, as MultiFernet has them. What was kept before a rotation is under the older one.
keys = [Fernet.generate_key(), Fernet.generate_key()]
with open(key_file, "wb") as file:
    file.write(b"\n".join(keys) + b"\n")
new, old = MultiFernet([Fernet(key) for key in keys]), Fernet(keys[1])
# One hash for all: they share a password, and hashing is slow.
hashed = bcrypt.hashpw(wanted["password"].encode(), bcrypt.gensalt(10)).decode()

print(
    """
CREATE TABLE users (
    id SERIAL PRIMARY KEY, username VARCHAR(50), email VARCHAR(100), hashed_password VARCHAR(255),
    is_active BOOLEAN DEFAULT TRUE, created_at TIMESTAMPTZ DEFAULT now()
);
CREATE TABLE api_keys (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(), user_id INTEGER REFERENCES users (id),
    name VARCHAR(100), service VARCHAR(50), encrypted_key TEXT, is_active BOOLEAN DEFAULT TRUE
);
"""
)
for number, (name, values) in enumerate(wanted["users"], 1):
    print(
        "INSERT INTO users (id, username, email, hashed_password) "
        f"VALUES ({number}, '{name}', '{name}@example.org', '{hashed}');"
    )
    for place, value in enumerate(values):
        token = (old if place % 2 else new).encrypt(value.encode()).decode()
        print(
            "INSERT INTO api_keys (user_id, name, service, encrypted_key) "
            f"VALUES ({number}, 'provider-{place}', 'openai', '{token}');"
        )
