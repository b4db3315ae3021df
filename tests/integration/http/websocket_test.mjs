// WebSockets through a real relay with npm's `ws` as client and server, 1,000 tunnels at once; half-close of the raw tunnel; and
// server-sent events that arrive as they are written. usage: websocket_test.mjs HTTP_RELAY_PROGRAM
import { spawn, execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import http from 'node:http';
import net from 'node:net';
import { once } from 'node:events';
import assert from 'node:assert';

const TUNNELS = 1000;
const program = process.argv[2];

function loadWs() {
  const folder = mkdtempSync(join(tmpdir(), 'wick-ws-'));
  try {
    writeFileSync(join(folder, 'package.json'), '{"private": true}');
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent', 'ws@8'], { cwd: folder, stdio: 'ignore', timeout: 120000 });
    return createRequire(join(folder, 'package.json'))('ws');
  } catch (error) {
    console.log(`SKIPPED: npm cannot install ws here (${error.message.split('\n')[0]})`);
    process.exit(77);
  } finally {
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  }
}

async function startProxy(upstream) {
  const proxy = spawn(program, ['127.0.0.1:0', upstream], { env: { ...process.env, QUIET: '1' }, stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(proxy.stdout, 'data');
  return { proxy, address: line.toString().trim() };
}

const tests = {
  async 'a thousand tunnels carry messages both ways and close with their code'({ WebSocket, address, sockets }) {
    const clients = [];
    for (let i = 0; i < TUNNELS; i += 50) {
      const batch = Array.from({ length: 50 }, () => new WebSocket(`ws://${address}/echo`));
      await Promise.all(batch.map((client) => once(client, 'open')));
      clients.push(...batch);
    }
    assert.equal(sockets.size, TUNNELS);
    await Promise.all(clients.map(async (client, i) => {
      const text = `tunnel ${i} ` + 'x'.repeat((i * 97) % 5000);
      const answer = once(client, 'message');
      client.send(text);
      const [data] = await answer;
      assert.equal(data.toString(), text);
    }));
    const big = Buffer.alloc(1 << 20, 7);
    const answer = once(clients[0], 'message');
    clients[0].send(big);
    assert.ok(big.equals((await answer)[0]));
    await Promise.all(clients.map(async (client, i) => {
      const closed = once(client, 'close');
      client.close(4000 + (i % 100), 'done');
      const [code, reason] = await closed;
      assert.equal(code, 4000 + (i % 100));
      assert.equal(reason.toString(), 'done');
    }));
  },

  async 'a server that closes is heard with its code'({ WebSocket, address }) {
    const client = new WebSocket(`ws://${address}/bye`);
    const [code, reason] = await once(client, 'close');
    assert.equal(code, 4321);
    assert.equal(reason.toString(), 'bye');
  },

  async 'pings pass through'({ WebSocket, address }) {
    const client = new WebSocket(`ws://${address}/echo`);
    await once(client, 'open');
    client.ping('are you there');
    const [data] = await once(client, 'pong');
    assert.equal(data.toString(), 'are you there');
    client.terminate();
  },

  async 'half of a tunnel may close before the other'({ address }) {
    const [host, port] = address.split(':');
    const client = net.connect({ host, port, allowHalfOpen: true });
    client.write('GET /raw HTTP/1.1\r\nHost: v.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n');
    let text = (await once(client, 'data'))[0].toString();
    assert.match(text, /^HTTP\/1.1 101 /);
    client.end('last words');
    for await (const part of client) text += part;
    assert.match(text, /\r\n\r\nheard: last words$/);
  },

  async 'server-sent events arrive as they are written'({ address, events }) {
    const request = http.get(`http://${address}/events`, { headers: { host: 'v.test' } });
    const [response] = await once(request, 'response');
    for (let i = 0; i < 20; i += 1) {
      const came = once(response, 'data');
      events.write(`data: ${i}\n\n`);
      assert.equal((await came)[0].toString(), `data: ${i}\n\n`);
    }
    const gone = once(events.response, 'close');
    request.socket.resetAndDestroy();
    await gone;
  },
};

const ws = loadWs();
const sockets = new Set();
const events = { response: null, write(text) { this.response.write(text); } };
const server = http.createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
  events.response = response;
});
const echo = new ws.WebSocketServer({ noServer: true });
server.on('upgrade', (request, socket, head) => {
  if (request.url === '/raw') {
    socket.allowHalfOpen = true;
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    let heard = '';
    socket.on('data', (data) => { heard += data; });
    socket.on('end', () => socket.end(`heard: ${heard}`));
    return;
  }
  echo.handleUpgrade(request, socket, head, (socket) => {
    if (request.url === '/bye') return socket.close(4321, 'bye');
    sockets.add(socket);
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('close', () => sockets.delete(socket));
  });
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { proxy, address } = await startProxy(`127.0.0.1:${server.address().port}`);
let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test({ WebSocket: ws.WebSocket ?? ws, address, sockets, events });
    console.log(`ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`WRONG ${name}: ${error.stack}`);
  }
}
proxy.kill('SIGTERM');
await once(proxy, 'exit');
process.exit(failed ? 1 : 0);
