// A certified OpenID Connect provider on a free port of this machine. It prints its issuer, then
// reads the redirect URI of its one client. Who signs in is what the browser says in X-Account.
// With a certificate and its key as arguments it speaks TLS.
import { readFileSync } from "node:fs";
import { createServer as createPlainServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

let provider;

const person = (id) => ({
  accountId: id,
  claims: async () => ({
    sub: id,
    name: `${id} of Corp`,
    email: `${id.replace("-unverified", "")}@example.org`,
    email_verified: !id.endsWith("-unverified"),
  }),
});

const settings = (redirectUri) => ({
  clients: [{ client_id: "keyferry", client_secret: "a client's secret", redirect_uris: [redirectUri] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  cookies: { keys: ["only for stories"] },
  features: { devInteractions: { enabled: false } },
  findAccount: async (_, id) => person(id),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  pkce: { required: () => true },
});

// Signs in whoever the browser names, and consents to everything.
async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  const account = request.headers["x-account"];
  let result;
  if (account === "nobody") {
    result = { error: "access_denied" };
  } else if (prompt.name === "login") {
    result = { login: { accountId: account } };
  } else {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    result = { consent: { grantId: await grant.save() } };
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

const [certificate, key] = process.argv.slice(2);

const listener = (request, response) => {
  const handle = request.url.startsWith("/interaction/") ? interact : provider.callback();
  handle(request, response).catch?.((error) => {
    console.error(error);
    response.writeHead(500).end();
  });
};

const server = certificate
  ? createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key) }, listener)
  : createPlainServer(listener);

server.listen(0, "127.0.0.1", async () => {
  const issuer = `${certificate ? "https" : "http"}://127.0.0.1:${server.address().port}`;
  console.log(issuer);
  for await (const line of createInterface({ input: process.stdin })) {
    provider = new Provider(issuer, settings(line));
    console.log("ready");
  }
});
