// An OpenID provider of another make, for the end-to-end tests: panva's oidc-provider on a free port of 127.0.0.1.
// It reads E2E_CONFIG (see NodeConfig), writes "issuer <URL>" when it answers, and ends with its standard input.
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { readFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import { Provider, errors } from 'oidc-provider';

const config = JSON.parse(process.env.E2E_CONFIG);
const users = new Map(config.users.map((user) => [user.sub, user]));

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

// With a certificate it speaks https, and asks clients for theirs (RFC 8705).
const server = config.certificate
  ? createSecureServer({ cert: readFileSync(config.certificate), key: readFileSync(config.key), requestCert: true, rejectUnauthorized: false }, (req, res) => handle(req, res))
  : createServer((req, res) => handle(req, res));
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `${config.certificate ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;

// Its own key is RSA for RS256, which FAPI 2.0 does not take.
const fapi = config.fapi && {
  jwks: { keys: [{ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid: 'fapi', alg: 'ES256', use: 'sig' }] },
  clientDefaults: { id_token_signed_response_alg: 'ES256', introspection_signed_response_alg: 'ES256' },
};

const provider = new Provider(issuer, {
  ...fapi,
  clients: config.clients.map((client) => ({
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: client.grant_types?.includes('client_credentials') ? [] : ['code'],
    ...client,
  })),
  findAccount: (_, id) => users.has(id) && { accountId: id, claims: () => users.get(id) },
  claims: {
    openid: ['sub'],
    profile: ['name'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  conformIdTokenClaims: !config.id_token_claims,
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'self_signed_tls_client_auth', 'none'],
  cookies: { keys: ['only for tests'] },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true, logoutSource: logoutPage, postLogoutSuccessSource: loggedOutPage },
    backchannelLogout: { enabled: true },
    revocation: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    fapi: { enabled: Boolean(config.fapi), profile: '2.0' },
    introspection: { enabled: true },
    jwtIntrospection: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: Boolean(config.resources),
      getResourceServerInfo: (_, resource) => {
        if (!config.resources[resource]) throw new errors.InvalidTarget();
        return { scope: 'read write', audience: resource, accessTokenFormat: config.resources[resource] };
      },
    },
    mTLS: { enabled: true, certificateBoundAccessTokens: true, selfSignedTlsClientAuth: true, getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.() },
    requestObjects: { request: true },
    dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 'only for tests'), requireNonce: () => Boolean(config.dpop_nonces) },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
  pkce: { required: () => true },
  renderError: async (ctx, out) => { ctx.type = 'html'; ctx.body = page('Error', `<pre id="error">${escape(JSON.stringify(out))}</pre>`); },
  rotateRefreshToken: true,
  ttl: { AccessToken: config.access_token_seconds || 3600, Grant: 86400, IdToken: 3600, Interaction: 600, RefreshToken: 86400, Session: 86400 },
});
for (const event of ['server_error', 'grant.error', 'authorization.error', 'backchannel.error', 'end_session.error']) {
  provider.on(event, (_, err) => console.error(event, err?.message, err?.error_description ?? ''));
}
const callback = provider.callback();

console.log(`issuer ${issuer}`);

// handle shows our own two forms; everything else is the provider's.
async function handle(req, res) {
  if (!req.url.startsWith('/interaction/')) {
    return callback(req, res);
  }
  try {
    const details = await provider.interactionDetails(req, res);
    if (req.method === 'POST') {
      return await answer(req, res, details, new URLSearchParams(await read(req)));
    }
    res.setHeader('content-type', 'text/html; charset=utf-8');
    res.end(form(req.url, details));
  } catch (err) {
    res.statusCode = err.statusCode ?? 500;
    res.end(String(err.message));
  }
}

// answer is what somebody said: who they are, or that the client may have it.
async function answer(req, res, details, fields) {
  if (fields.get('answer') === 'cancel') {
    const refusal = { error: 'access_denied', error_description: 'the user said no' };
    return provider.interactionFinished(req, res, refusal, { mergeWithLastSubmission: false });
  }
  if (details.prompt.name === 'login') {
    if (!users.has(fields.get('login'))) {
      res.statusCode = 403;
      return res.end('nobody of that name');
    }
    return provider.interactionFinished(req, res, { login: { accountId: fields.get('login') } }, { mergeWithLastSubmission: false });
  }
  const { grantId, params, session, prompt } = details;
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) grant.addResourceScope(resource, scopes.join(' '));
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

function form(action, { prompt, params }) {
  const login = prompt.name === 'login';
  const field = login ? `<label>Login <input name="login" value="${escape(params.login_hint ?? '')}" autofocus></label>` : `<p>${escape(params.client_id)} wants to know who you are.</p>`;
  return page(login ? 'Sign in' : 'Allow', `<form id="${login ? 'login' : 'consent'}" method="post" action="${escape(action)}">${field}
    <button name="answer" value="yes">${login ? 'Sign in' : 'Allow'}</button>
    <button name="answer" value="cancel">Cancel</button></form>`);
}

async function logoutPage(ctx, hidden) {
  ctx.body = page('Sign out', `${hidden}<button id="logout" form="op.logoutForm" name="logout" value="yes">Sign out</button>`);
}

async function loggedOutPage(ctx) {
  ctx.body = page('Signed out', '<p id="signed-out">Signed out at the provider.</p>');
}

function page(title, body) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title} - Node provider</title><h1>${title}</h1>${body}</html>`;
}

function escape(text) {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

async function read(req) {
  let body = '';
  for await (const chunk of req) {
    body += chunk;
    if (body.length > 65536) throw new Error('too much');
  }
  return body;
}
