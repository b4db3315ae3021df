// Serves a function that has no server of its own: node function.cjs FILE. Knative's conventions (knative/func, as
// faas-js-runtime 3 has them): the file exports a function, or handle, main or handler, and perhaps init, shutdown,
// liveness and readiness. It is called as handle(context, body), with a CloudEvent (binary or structured) as
// handle(context, event). What it returns is the answer: an event, {body, headers, statusCode}, any other value as JSON,
// a text as it is, nothing as 204. Unlike there every path and method reaches it. Node 18 or newer, no packages.
'use strict';
const http = require('http');
const path = require('path');
const { randomUUID } = require('crypto');
const { format } = require('util');
const { pathToFileURL } = require('url');

const bodyBytesMax = Number(process.env.FUNC_BODY_LIMIT) || 32 << 20;
const methods = 'OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH';
const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];
const quietest = Math.max(0, levels.indexOf((process.env.FUNC_LOG_LEVEL || process.env.LOG_LEVEL || 'info').toLowerCase()));
const log = {};
for (const [rank, level] of levels.entries())
  log[level] = (...words) => rank >= quietest && level !== 'silent' && process.stderr.write(`${level}: ${format(...words)}\n`);

class Refused extends Error {
  constructor(statusCode, message) {
    super(message);
    this.statusCode = statusCode;
  }
}

const mediaType = (headers) => (headers['content-type'] || '').split(';')[0].trim().toLowerCase();
const isJson = (type) => type === 'application/json' || type === 'text/json' || type.endsWith('+json');

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refused(400, `the body is no JSON: ${error.message}`);
  }
}

function parsedBody(bytes, type) {
  if (bytes.length === 0) return undefined;
  if (isJson(type)) return parseJson(bytes.toString());
  if (type === 'application/x-www-form-urlencoded') return Object.fromEntries(new URLSearchParams(bytes.toString()));
  return type === '' || type.startsWith('text/') || type.endsWith('xml') ? bytes.toString() : bytes;
}

// CloudEvents HTTP binding 1.0.2, 3.1.3.2: what is no printable ASCII travels in percent signs.
const decodeHeader = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};
const encodeHeader = (text) => String(text).replace(/[^\x21-\x7e]|["%]/gu, (c) => encodeURIComponent(c));

function eventOf(headers, bytes) {
  const type = mediaType(headers);
  let event;
  if (type === 'application/cloudevents+json') {
    event = parseJson(bytes.toString());
    if (event === null || typeof event !== 'object' || Array.isArray(event)) throw new Refused(400, 'the body is no CloudEvent');
    if (event.data_base64 !== undefined) {
      event.data = Buffer.from(String(event.data_base64), 'base64');
      delete event.data_base64;
    }
  } else if (headers['ce-specversion'] !== undefined) {
    event = {};
    for (const [name, value] of Object.entries(headers)) if (name.startsWith('ce-')) event[name.slice(3)] = decodeHeader(value);
    if (headers['content-type']) event.datacontenttype = headers['content-type'];
    const data = parsedBody(bytes, type);
    if (data !== undefined) event.data = data;
  } else {
    return undefined;
  }
  for (const name of ['specversion', 'id', 'source', 'type'])
    if (typeof event[name] !== 'string' || event[name] === '') throw new Refused(400, `the CloudEvent has no ${name}`);
  if (event.specversion !== '1.0') throw new Refused(400, `CloudEvents ${event.specversion} are not known, 1.0 are`);
  return event;
}

class CloudEventResponse {
  #event;
  constructor(data) {
    this.#event = { data };
  }
  version(text) {
    this.#event.specversion = text;
    return this;
  }
  id(text) {
    this.#event.id = text;
    return this;
  }
  type(text) {
    this.#event.type = text;
    return this;
  }
  source(text) {
    this.#event.source = text;
    return this;
  }
  response() {
    return { specversion: '1.0', id: randomUUID(), source: `/${process.env.K_SERVICE || 'function'}`, type: 'function.response', ...this.#event };
  }
}

class Context {
  constructor(request, bytes) {
    const url = new URL(request.url, 'http://function');
    this.query = Object.fromEntries(url.searchParams);
    this.path = url.pathname;
    this.url = request.url;
    this.headers = { ...request.headers };
    this.method = request.method;
    this.httpVersion = request.httpVersion;
    this.httpVersionMajor = request.httpVersionMajor;
    this.httpVersionMinor = request.httpVersionMinor;
    this.contentType = request.headers['content-type'];
    this.rawBody = bytes.toString();
    for (const [name, value] of Object.entries(this.query)) if (!(name in this)) this[name] = value;
    this.log = log;
  }
  cloudEventResponse(data) {
    return new CloudEventResponse(data);
  }
}

const isBytes = (value) => value instanceof Uint8Array;
const isEvent = (value) => value !== null && typeof value === 'object' && typeof value.specversion === 'string' && typeof value.type === 'string';
const asBytes = (value) => (value === undefined || value === null ? '' : typeof value === 'string' || isBytes(value) ? value : JSON.stringify(value));
const typeOf = (value) => (typeof value === 'string' ? 'text/plain; charset=utf-8' : isBytes(value) ? 'application/octet-stream' : 'application/json; charset=utf-8');

function answerOfEvent(value) {
  const event = { ...(typeof value.toJSON === 'function' ? value.toJSON() : value) };
  const data = event.data_base64 !== undefined ? Buffer.from(event.data_base64, 'base64') : event.data;
  const headers = { 'content-type': event.datacontenttype || typeOf(data ?? {}) };
  for (const [name, attribute] of Object.entries({ id: randomUUID(), source: `/${process.env.K_SERVICE || 'function'}`, ...event })) {
    if (['data', 'data_base64', 'datacontenttype'].includes(name) || attribute === undefined || attribute === null) continue;
    headers[`ce-${name}`] = encodeHeader(attribute instanceof Date ? attribute.toISOString() : attribute);
  }
  return { code: 200, headers, body: asBytes(data) };
}

function answerOf(value) {
  if (isEvent(value)) return answerOfEvent(value);
  if (value === undefined || value === null || value === '') return { code: 204, headers: {}, body: '' };
  if (typeof value !== 'object' || isBytes(value)) return { code: 200, headers: { 'content-type': typeOf(value) }, body: asBytes(value) };
  const headers = {};
  if (value.headers && typeof value.headers === 'object')
    for (const [name, text] of Object.entries(value.headers)) headers[name.toLowerCase()] = text;
  const has = value.body !== undefined;
  const plain = !has && (value.statusCode !== undefined || value.headers !== undefined) && Object.keys(value).every((key) => ['statusCode', 'headers'].includes(key));
  const body = has ? value.body : plain ? '' : value;
  headers['content-type'] ??= typeOf(body);
  return { code: value.statusCode || 200, headers, body: asBytes(body) };
}

function read(request) {
  return new Promise((resolve, reject) => {
    const parts = [];
    let count = 0;
    request.on('data', (part) => {
      count += part.length;
      if (count <= bodyBytesMax) parts.push(part);
    });
    request.on('end', () => (count > bodyBytesMax ? reject(new Refused(413, `the body is larger than ${bodyBytesMax} bytes`)) : resolve(Buffer.concat(parts))));
    request.on('error', reject);
  });
}

async function load(file) {
  const place = path.resolve(file);
  let exported;
  try {
    exported = require(place);
  } catch (error) {
    if (error.code !== 'ERR_REQUIRE_ESM' && error.code !== 'ERR_REQUIRE_ASYNC_MODULE' && !/Cannot use import statement|Unexpected token 'export'/.test(error.message)) throw error;
    exported = await import(pathToFileURL(place).href);
  }
  const target = process.env.FUNCTION_TARGET;
  const whole = typeof exported === 'function' ? { handle: exported } : { ...(typeof exported.default === 'object' ? exported.default : {}), ...exported };
  const handle = target ? whole[target] : whole.handle || whole.main || whole.handler || whole.default;
  if (typeof handle !== 'function')
    throw new Error(`${file} exports no ${target ? `function ${target}` : 'function: looked for handle, main, handler and the default export'}`);
  return { ...whole, handle };
}

async function main(file) {
  if (!file) throw new Error('usage: node function.cjs FILE');
  const user = await load(file);
  const counts = new Map();
  const health = new Map([
    [process.env.LIVENESS_URL || '/health/liveness', user.liveness],
    [process.env.READINESS_URL || '/health/readiness', user.readiness],
  ]);
  const origin = (headers) => (user.cors ? (user.cors().includes(headers.origin) ? headers.origin : undefined) : '*');

  async function answer(request) {
    const place = request.url.split('?')[0];
    if (request.method === 'GET' && health.has(place)) {
      const check = health.get(place);
      const said = check ? await check() : 'OK';
      return { code: 200, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: asBytes(said ?? 'OK') };
    }
    if (request.method === 'GET' && place === (process.env.METRICS_URL || '/metrics')) {
      let text = '# TYPE function_calls_total counter\n';
      for (const [code, count] of counts) text += `function_calls_total{code="${code}"} ${count}\n`;
      text += `# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes ${process.memoryUsage().rss}\n`;
      return { code: 200, headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }, body: text };
    }
    if (request.method === 'OPTIONS') return { code: 204, headers: { 'access-control-allow-headers': '*' }, body: '' };
    const bytes = await read(request);
    const context = new Context(request, bytes);
    const event = eventOf(request.headers, bytes);
    if (event) context.cloudevent = event;
    context.body = event ? event.data : parsedBody(bytes, mediaType(request.headers));
    return answerOf(await user.handle.call(Object.freeze({}), context, event ?? context.body));
  }

  const server = http.createServer(async (request, response) => {
    let result;
    try {
      result = await answer(request);
    } catch (error) {
      const status = [error?.statusCode, error?.code].find((code) => Number.isInteger(code) && code >= 400 && code <= 599) ?? 500;
      if (status >= 500) log.error('the function failed:', error);
      result = { code: status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: String(error?.message ?? error) };
    }
    counts.set(result.code, (counts.get(result.code) || 0) + 1);
    try {
      const allowed = origin(request.headers);
      const length = result.code === 204 ? {} : { 'content-length': Buffer.byteLength(result.body) };
      response.writeHead(result.code, { ...length, 'access-control-allow-methods': methods, ...(allowed ? { 'access-control-allow-origin': allowed } : {}), ...result.headers });
      response.end(result.code === 204 ? undefined : result.body);
    } catch (error) {
      log.error('the answer cannot be sent:', error);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    }
    request.resume();
  });
  server.keepAliveTimeout = 0; // wick decides when a connection is idle

  if (user.init) await user.init({ log });
  const address = /^(.*):(\d+)$/.exec(process.env.LISTEN_ADDRESS || '');
  const port = Number(process.env.PORT || address?.[2] || 8080);
  const host = process.env.PORT ? undefined : address?.[1].replace(/^\[|\]$/g, '') || undefined;
  server.listen({ port, host });
  let ending = false;
  for (const signal of ['SIGTERM', 'SIGINT'])
    process.on(signal, () => {
      if (ending) return;
      ending = true;
      server.close(async () => {
        try {
          if (user.shutdown) await user.shutdown();
        } finally {
          process.exit(0);
        }
      });
      server.closeIdleConnections();
    });
}

main(process.argv[2]).catch((error) => {
  process.stderr.write(`${error.stack || error}\n`);
  process.exit(1);
});
