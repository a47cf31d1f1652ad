// Loaded into Azurite before its own code (node --require): lets a request pass only where a role assignment allows it.
//
// Azurite takes any well-formed token for storage and knows no roles. Here every request to its HTTPS servers is mapped
// to one operation by operations.json, and the permissions file of the account, which the local Azure writes anew at
// each change, says who may do it. What Azurite checks itself (signatures of keys and SAS, audience, expiry) stays there.
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const https = require("https");
const path = require("path");
const { holds } = require("./conditions.js");

const SERVICES = new Map(
  process.env.MILLPOND_STORAGE_PORTS.split(",").map((port, place) => [Number(port), ["blob", "queue", "table"][place]]),
);
const FILE = process.env.MILLPOND_STORAGE_PERMISSIONS;
const TABLE = JSON.parse(fs.readFileSync(path.join(__dirname, "operations.json"), "utf8"));
const MOST_REMEMBERED = 10000;

const ATTRIBUTES = "microsoft.storage/storageaccounts";
const PARTS = {
  blob: { collection: "blobServices/default/containers", name: `${ATTRIBUTES}/blobservices/containers:name` },
  queue: { collection: "queueServices/default/queues", name: `${ATTRIBUTES}/queueservices/queues:name` },
  table: { collection: "tableServices/default/tables", name: `${ATTRIBUTES}/tableservices/tables:name` },
};

const rows = new Map();
for (const row of TABLE.operations) {
  const key = [row.service, row.level, row.method, row.comp.toLowerCase(), row.restype].join("|");
  rows.set(key, [...(rows.get(key) || []), row]);
}
const dataPrefixes = TABLE.dataActions.map((prefix) => prefix.toLowerCase());

class Refusal {
  constructor(status, code, message, headers = {}) {
    Object.assign(this, { status, code, message, headers });
  }
}

const MISMATCH = "This request is not authorized to perform this operation using this permission.";
const NOT_AUTHENTICATED =
  "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.";

let stamp = "";
let permissions = null;
let decisions = new Map();
const tokens = new Map();
const logged = new Set();

/** Read the permissions file if it is another one than before; it is replaced whole, never written in place. */
function refresh() {
  const found = fs.statSync(FILE, { throwIfNoEntry: false });
  const now = found ? `${found.ino}/${found.mtimeMs}/${found.size}` : stamp;
  if (now === stamp) return;
  permissions = JSON.parse(fs.readFileSync(FILE, "utf8"));
  permissions.byPrincipal = new Map();
  for (const grant of permissions.grants) {
    grant.pathsMatter = JSON.stringify(grant.condition || "").toLowerCase().includes("/blobs:");
    const known = permissions.byPrincipal.get(grant.principal) || [];
    permissions.byPrincipal.set(grant.principal, [...known, grant]);
  }
  decisions = new Map();
  tokens.clear();
  stamp = now;
}

function remember(map, key, value) {
  if (map.size >= MOST_REMEMBERED) map.clear();
  map.set(key, value);
  return value;
}

/** Return the object id in a token that the local Azure signed; null for any other. */
function principalOf(token) {
  const known = tokens.get(token);
  if (known !== undefined) return known;
  const end = token.lastIndexOf(".");
  const signed = token.slice(0, end);
  const wanted = crypto.createHmac("sha256", permissions.tokenSecret).update(signed).digest();
  const given = Buffer.from(token.slice(end + 1), "base64url");
  if (end < 0 || given.length !== wanted.length || !crypto.timingSafeEqual(given, wanted)) return null;
  try {
    const claims = JSON.parse(Buffer.from(signed.slice(signed.indexOf(".") + 1), "base64url").toString("utf8"));
    return remember(tokens, token, String(claims.oid).toLowerCase());
  } catch {
    return null;
  }
}

function decoded(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Say which part of the account a path names, and on which level. */
function located(service, segments, query) {
  const [first, ...rest] = segments;
  if (segments.length === 0) return { level: "account", part: "", blob: "" };
  if (service === "blob") {
    if (rest.length > 0) return { level: "blob", part: first, blob: rest.join("/") };
    if (query.get("restype")) return { level: "container", part: first, blob: "" };
    return { level: "blob", part: "$root", blob: first };
  }
  if (service === "queue") {
    const level = rest.length === 0 ? "queue" : rest.length === 1 ? "messages" : "message";
    return { level, part: first, blob: "" };
  }
  const named = /^Tables\('(.*)'\)$/.exec(first);
  if (first === "Tables") return { level: "tables", part: "", blob: "" };
  if (named) return { level: "named", part: named[1], blob: "" };
  if (first === "$batch") return { level: "batch", part: "", blob: "" };
  const [, table, key] = /^([^(]*)(?:\((.*)\))?$/.exec(first) || [null, first, ""];
  return { level: key ? "entity" : "table", part: table, blob: "" };
}

/** Find the operation that a request is; null when it is none that the table has. */
function operationOf(service, place, request, query) {
  const method = request.method === "HEAD" ? "GET" : request.method;
  const comp = (query.get("comp") || "").toLowerCase();
  const found = rows.get([service, place.level, method, comp, query.get("restype") || ""].join("|")) || [];
  const peek = query.get("peekonly") === "true";
  const conditional = request.headers["if-match"] !== undefined;
  return (
    found.find((row) => (row.peek && peek) || (row.conditional && conditional)) ||
    found.find((row) => !row.peek && !row.conditional) ||
    null
  );
}

const patterns = new Map();
function matches(action, list) {
  return list.some((pattern) => {
    let compiled = patterns.get(pattern);
    if (!compiled) {
      const text = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*");
      compiled = remember(patterns, pattern, new RegExp(`^${text}$`, "i"));
    }
    return compiled.test(action);
  });
}

function permits(grant, asked, scope) {
  const below = `${scope.toLowerCase()}/`.startsWith(`${grant.scope}/`);
  const fits = grant.permissions.some((permission) =>
    asked.data
      ? matches(asked.action, permission.dataActions) && !matches(asked.action, permission.notDataActions)
      : matches(asked.action, permission.actions) && !matches(asked.action, permission.notActions),
  );
  return below && fits && (!grant.condition || holds(grant.condition, asked));
}

/** Decide one operation of a principal: the set of actions by which it is allowed, or null. */
function decide(principal, service, row, place, query) {
  const grants = permissions.byPrincipal.get(principal) || [];
  const scope = place.part ? `${permissions.scope}/${PARTS[service].collection}/${place.part}` : permissions.scope;
  const detailed = grants.some((grant) => grant.pathsMatter);
  const key = [principal, service, row.operation, place.part, ...(detailed ? [place.blob, query.get("prefix")] : [])];
  const known = decisions.get(key.join("|"));
  if (known !== undefined) return known;
  const now = Date.now() / 1000;
  const current = grants.filter((grant) => grant.since <= now);
  const attributes = { [`resource:${ATTRIBUTES}:name`]: permissions.account };
  if (place.part) attributes[`resource:${PARTS[service].name}`] = place.part;
  if (place.blob) attributes[`resource:${ATTRIBUTES}/blobservices/containers/blobs:path`] = place.blob;
  if (row.suboperation === "Blob.List") {
    attributes[`request:${ATTRIBUTES}/blobservices/containers/blobs:prefix`] = query.get("prefix") || "";
  }
  const allowed = (action) => {
    const data = dataPrefixes.some((prefix) => action.toLowerCase().startsWith(prefix));
    const asked = { action, data, suboperation: row.suboperation || "", attributes: data ? attributes : {} };
    return current.some((grant) => permits(grant, asked, scope));
  };
  const granting = row.needs.find((need) => need.every(allowed)) || null;
  log(principal, row, granting || row.needs[0], scope, granting !== null);
  return current.length === grants.length ? remember(decisions, key.join("|"), granting) : granting;
}

function log(principal, row, actions, scope, allowed) {
  for (const action of actions) {
    const data = dataPrefixes.some((prefix) => action.toLowerCase().startsWith(prefix));
    const line = JSON.stringify({ principal, action, scope, allowed, data, operation: row.operation });
    if (logged.has(line)) continue;
    logged.add(line);
    fs.appendFileSync(permissions.accessLog, `${line}\n`);
  }
}

/** Return what stands against a principal's request, or null. */
function authorize(principal, service, request, segments, query) {
  const place = located(service, segments, query);
  const row = operationOf(service, place, request, query);
  if (row === null) return new Refusal(403, "AuthorizationPermissionMismatch", MISMATCH);
  const granting = decide(principal, service, row, place, query);
  if (granting === null) return new Refusal(403, "AuthorizationPermissionMismatch", MISMATCH);
  if (row.operation === "Put Blob") {
    // Who may only add must not replace.
    if (granting[0].endsWith("/add/action")) request.headers["if-none-match"] = "*";
    const source = copySource(request.headers["x-ms-copy-source"]);
    if (source !== null) {
      const read = operationOf(service, source, { method: "GET", headers: {} }, new URLSearchParams());
      if (decide(principal, service, read, source, new URLSearchParams()) === null) {
        return new Refusal(403, "AuthorizationPermissionMismatch", MISMATCH);
      }
    }
  }
  return null;
}

/** Say which blob of this account a copy reads without a signature of its own. */
function copySource(header) {
  if (!header || !URL.canParse(header)) return null;
  const url = new URL(header);
  const [account, part, ...rest] = url.pathname.split("/").slice(1).map(decoded);
  if (account !== permissions.account || url.searchParams.has("sig")) return null;
  return { level: "blob", part, blob: rest.join("/") };
}

/** Return what stands against a request, or null. */
function refusalOf(service, request) {
  const mark = request.url.indexOf("?");
  const query = new URLSearchParams(mark < 0 ? "" : request.url.slice(mark + 1));
  const whole = (mark < 0 ? request.url : request.url.slice(0, mark)).replace(/^\/+/, "").replace(/\/+$/, "");
  const segments = whole.split("/").slice(1).map(decoded);
  const [scheme, credentials] = (request.headers.authorization || "").split(" ", 2);
  const challenge = {
    "www-authenticate": `Bearer authorization_uri=${permissions.signInUrl} resource_id=https://storage.azure.com`,
  };
  const published = request.headers["x-ms-blob-public-access"] !== undefined && !permissions.publicAccess;
  if (request.method === "OPTIONS") return null;
  if (scheme.toLowerCase() === "bearer") {
    const principal = principalOf(credentials || "");
    if (principal === null) return new Refusal(401, "InvalidAuthenticationInfo", NOT_AUTHENTICATED, challenge);
    if (principal === permissions.trusted) return null;
    return authorize(principal, service, request, segments, query) || (published ? notPublic() : null);
  }
  if (!scheme && query.has("sig") && query.has("skoid")) {
    return authorize(query.get("skoid").toLowerCase(), service, request, segments, query);
  }
  if (scheme || query.has("sig")) {
    // Azurite takes no token for the access policy of a container, so there the local Azure comes with a key, too.
    const own = request.headers["x-millpond-own"] === permissions.trusted;
    if (!permissions.sharedKeyAccess && !own) {
      const message = "Key based authentication is not permitted on this storage account.";
      return new Refusal(403, "KeyBasedAuthenticationNotPermitted", message);
    }
    return published ? notPublic() : null;
  }
  if (service !== "blob") return new Refusal(401, "NoAuthenticationInformation", NOT_AUTHENTICATED, challenge);
  return permissions.publicAccess ? null : notPublic();
}

function notPublic() {
  return new Refusal(409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.");
}

function refuse(service, request, response, refusal) {
  const id = crypto.randomUUID();
  const text = `${refusal.message}\nRequestId:${id}\nTime:${new Date().toISOString()}`;
  const body =
    service === "table"
      ? JSON.stringify({ "odata.error": { code: refusal.code, message: { lang: "en-US", value: text } } })
      : `<?xml version="1.0" encoding="utf-8"?><Error><Code>${refusal.code}</Code><Message>${text}</Message></Error>`;
  request.resume();
  response.writeHead(refusal.status, {
    "content-type": service === "table" ? "application/json" : "application/xml",
    "x-ms-error-code": refusal.code,
    "x-ms-request-id": id,
    "x-ms-version": request.headers["x-ms-version"] || "2021-10-04",
    ...refusal.headers,
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

/** Ask the local Azure which standing fault strikes this request; none when it does not answer. */
function struck() {
  return new Promise((resolve) => {
    const headers = { "x-identity-header": permissions.faultHeader };
    const asked = http.request(permissions.faultUrl, { method: "POST", headers, timeout: 2000 }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => {
        try {
          resolve(JSON.parse(Buffer.concat(parts).toString("utf8")));
        } catch {
          resolve({});
        }
      });
    });
    asked.on("error", () => resolve({}));
    asked.on("timeout", () => asked.destroy());
    asked.end();
  });
}

async function serveFaulty(service, request, response, serve) {
  const fault = await struck();
  const wait = fault.seconds > 0 ? { "retry-after": String(Math.max(1, Math.round(fault.seconds))) } : {};
  if (fault.kind === "storage-outage") return request.socket.destroy();
  if (fault.kind === "throttling") {
    return refuse(service, request, response, new Refusal(503, "ServerBusy", "The server is busy.", wait));
  }
  if (fault.kind === "server-error") {
    const message = "The server encountered an internal error. Please retry the request.";
    return refuse(service, request, response, new Refusal(500, "InternalError", message));
  }
  return serve();
}

function guarded(listener) {
  return function (request, response) {
    const service = SERVICES.get(request.socket.localPort);
    const serve = () => {
      const refusal = refusalOf(service, request);
      return refusal === null ? listener.call(this, request, response) : refuse(service, request, response, refusal);
    };
    refresh();
    const [, credentials] = (request.headers.authorization || "").split(" ", 2);
    const own = permissions.faulty && principalOf(credentials || "") === permissions.trusted;
    return permissions.faulty && !own ? serveFaulty(service, request, response, serve) : serve();
  };
}

const createServer = https.createServer;
https.createServer = function (...options) {
  const server = createServer.apply(this, options);
  const on = server.on;
  server.on = function (event, listener) {
    return on.call(this, event, event === "request" ? guarded(listener) : listener);
  };
  return server;
};
