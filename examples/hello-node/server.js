const http = require('node:http');

const port = Number(process.env.PORT || 8080);
const who = process.env.TARGET || 'world';

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname === '/') {
    response.setHeader('Content-Type', 'text/plain; charset=utf-8');
    response.end(`hello, ${who}, from Node.js ${process.versions.node}\n`);
  } else if (pathname === '/echo') {
    response.setHeader('Content-Type', request.headers['content-type'] || 'application/octet-stream');
    request.pipe(response);
  } else {
    response.statusCode = 404;
    response.end('not found\n');
  }
});

server.listen(port, '0.0.0.0', () => console.log(`listening on port ${port}`));

// What is being answered is finished; idle connections are closed at once.
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
