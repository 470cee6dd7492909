"""Tells the provider that the first piece of a stream has arrived, so that it sends the rest."""

import os
import urllib.request


def go_on(key):
    name = f"KEYFERRY_{key.upper()}"
    request = urllib.request.Request(os.environ[f"{name}_BASE_URL"] + "/v1/go-on", data=b"{}")
    request.add_header("Authorization", "Bearer " + os.environ[f"{name}_TOKEN"])
    urllib.request.urlopen(request, timeout=20).read()


def assert_pieces(key, pieces):
    """The rest comes only after the first piece was seen: a proxy that waits never gets it."""
    pieces = iter(pieces)
    first = next(pieces)
    assert first == "fer", first
    go_on(key)
    assert "".join(pieces) == "ried"
