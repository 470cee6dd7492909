"""The google-genai package, as it comes, with nothing but its environment."""

from go_on import assert_pieces
from google import genai

client = genai.Client()
answer = client.models.generate_content(model="m", contents="?")
assert answer.text == "ferried", answer
stream = client.models.generate_content_stream(model="m", contents="?")
assert_pieces("google", (piece.text for piece in stream))
print("done")
