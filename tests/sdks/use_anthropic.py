"""The anthropic package, as it comes, with nothing but its environment."""

from anthropic import Anthropic
from go_on import assert_pieces

client = Anthropic(timeout=20, max_retries=0)
question = dict(model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}])
answer = client.messages.create(**question)
assert answer.content[0].text == "ferried", answer
with client.messages.stream(**question) as stream:
    assert_pieces("anthropic", stream.text_stream)
print("done")
