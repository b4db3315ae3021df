// Parks a Node program: Node is booted and its standard modules are loaded, then it waits for a byte on a socket before
// the program's own code begins. Loaded by --require in NODE_OPTIONS, put there by wick (src/serving/park.cpp); the
// socket's number is in WICK_PARK_FD. It takes itself out of the environment first: what the program starts does not
// park. The end of the socket means that nobody will ever ask: the process ends. Opt out: wick.dev/park: never.
'use strict';
const fd = Number.parseInt(process.env.WICK_PARK_FD, 10);
delete process.env.WICK_PARK_FD;
const rest = (process.env.NODE_OPTIONS || '').replace(`--require=${__filename}`, '').trim();
if (rest) process.env.NODE_OPTIONS = rest;
else delete process.env.NODE_OPTIONS;

if (fd > 2) {
  const fs = require('fs');
  for (const name of ['assert', 'async_hooks', 'buffer', 'child_process', 'crypto', 'dns', 'events', 'fs/promises', 'http', 'http2', 'https',
    'module', 'net', 'os', 'path', 'perf_hooks', 'querystring', 'stream', 'stream/promises', 'string_decoder', 'timers', 'timers/promises',
    'tls', 'tty', 'url', 'util', 'worker_threads', 'zlib']) {
    try {
      require(name);
    } catch {
      // an older Node, or one built without it
    }
  }
  require('http').createServer(() => {}).close(); // what is set up at the first server
  void process.stdin, process.stdout, process.stderr; // opened when first touched

  const byte = Buffer.alloc(1);
  let count = 0;
  try {
    fs.writeSync(fd, 'P');
    for (let waiting = true; waiting;) {
      try {
        count = fs.readSync(fd, byte, 0, 1, null);
        waiting = false;
      } catch (error) {
        if (error.code !== 'EINTR' && error.code !== 'EAGAIN') throw error;
      }
    }
    fs.closeSync(fd);
  } catch {
    // the other end is gone
  }
  if (count === 0) process.exit(0);
}
