"""The groq package, as it comes, with nothing but its environment."""

from go_on import assert_pieces
from groq import Groq

client = Groq(timeout=20, max_retries=0)
question = dict(model="m", messages=[{"role": "user", "content": "?"}])
answer = client.chat.completions.create(**question)
assert answer.choices[0].message.content == "ferried", answer
stream = client.chat.completions.create(stream=True, **question)
assert_pieces("groq", (chunk.choices[0].delta.content for chunk in stream))
print("done")
