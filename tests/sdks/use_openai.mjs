// The openai package of npm, as it comes, with nothing but its environment.
import OpenAI from "openai";

const client = new OpenAI({ timeout: 20_000, maxRetries: 0 });
const question = { model: "m", messages: [{ role: "user", content: "?" }] };
const answer = await client.chat.completions.create(question);
if (answer.choices[0].message.content !== "ferried") throw new Error(JSON.stringify(answer));

// The rest comes only after the first piece was seen: a proxy that waits never gets it.
const pieces = [];
for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
  pieces.push(chunk.choices[0].delta.content);
  if (pieces.length === 1) await client.post("/go-on", { body: {} });
}
if (pieces.join("|") !== "fer|ried") throw new Error(pieces.join("|"));
console.log("done");
