/**
 * An OpenID provider that others have certified (npm oidc-provider), on a free loopback port.
 *
 * argv[2]: JSON {client_id, client_secret, redirect_uri, algorithm}. The first line on stdout is the
 * issuer. PKCE is required; claims of scopes are told at the userinfo endpoint only, as is its
 * default. Its people sign in by `login_hint` alone; `deny@…` says no, `new@…` has an address that
 * nobody has verified. POST /rotate replaces the signing key.
 */
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";

import Provider from "oidc-provider";

const { client_id, client_secret, redirect_uri, algorithm } = JSON.parse(process.argv[2]);
const COOKIE_KEYS = [randomUUID()];

let provider;
const server = createServer(serve);
server.listen(0, "127.0.0.1", () => {
  provider = build();
  console.log(issuer());
});

function issuer() {
  return `http://127.0.0.1:${server.address().port}`;
}

function build() {
  return new Provider(issuer(), {
    clients: [
      {
        client_id,
        client_secret,
        redirect_uris: [redirect_uri],
        response_types: ["code"],
        grant_types: ["authorization_code"],
        id_token_signed_response_alg: algorithm,
      },
    ],
    pkce: { required: () => true },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    cookies: { keys: COOKIE_KEYS },
    features: { devInteractions: { enabled: false } },
    findAccount: (_, accountId) => ({ accountId, claims: () => person(accountId) }),
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    jwks: { keys: [signingKey()] },
    loadExistingGrant: granted,
    ttl: { AccessToken: 60, Grant: 600, IdToken: 60, Interaction: 600, Session: 600 },
  });
}

function signingKey() {
  const { privateKey } =
    algorithm === "ES256"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), alg: algorithm, use: "sig" };
}

function person(email) {
  const [name] = email.split("@");
  return { sub: email, email, email_verified: name !== "new", name };
}

/** Nobody is asked for consent. */
async function granted({ oidc: { client, session, provider: own } }) {
  const known = session.grantIdFor(client.clientId);
  if (known) return own.Grant.find(known);
  const grant = new own.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope("openid email profile");
  await grant.save();
  return grant;
}

function serve(request, response) {
  if (request.method === "POST" && request.url === "/rotate") {
    provider = build();
    response.writeHead(204).end();
  } else if (request.url.startsWith("/interaction/")) {
    enter(request, response).catch((error) => response.writeHead(500).end(String(error)));
  } else {
    provider.callback()(request, response);
  }
}

async function enter(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const accountId = params.login_hint ?? "";
  const result = accountId.startsWith("deny@")
    ? { error: "access_denied", error_description: "the person said no" }
    : { login: { accountId } };
  await provider.interactionFinished(request, response, result);
}
