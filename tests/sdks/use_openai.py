"""The openai package, as it comes, with nothing but its environment."""

from go_on import assert_pieces
from openai import OpenAI, RateLimitError

client = OpenAI(timeout=20, max_retries=0)
question = dict(model="m", messages=[{"role": "user", "content": "?"}])

answer = client.chat.completions.create(**question)
assert answer.choices[0].message.content == "ferried", answer

stream = client.chat.completions.create(stream=True, **question)
assert_pieces("openai", (chunk.choices[0].delta.content for chunk in stream))

try:
    client.post("/limited", cast_to=object)
    raise AssertionError("an error of the provider is an error here")
except RateLimitError as error:
    assert error.code == "rate_limit_exceeded", error
    assert error.response.headers["retry-after"] == "7"
    assert error.response.headers["x-ratelimit-remaining-tokens"] == "0"
print("done")
