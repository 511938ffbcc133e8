/**
 * Networks that are no good, between a page and the server: one that breaks, one that lets no WebSocket through.
 *
 * Each listens on a port of the loopback that the kernel chooses. Knows nothing of what is said.
 */

import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';

/** A line that can be cut: `cut` ends all connections, and takes no other until `mend`. */
export async function breakableProxy(port) {
  const open = new Set();
  let whole = true;
  const server = createTcpServer((client) => {
    if (!whole) {
      client.destroy();
      return;
    }
    const upstream = connect(port, '127.0.0.1');
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      open.add(one);
      one.on('error', () => {}).on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  const cut = () => {
    whole = false;
    for (const socket of open) socket.destroy();
  };
  return {
    host: await listening(server),
    cut,
    mend: () => { whole = true; },
    stop: () => stopped(server, cut),
  };
}

/** A proxy as some networks have them: it passes requests on, and forbids upgrades for as long as `forbids` is not false. */
export async function socketlessProxy(port) {
  const open = new Set();
  const proxy = { forbids: true };
  const server = createServer((incoming, answer) => {
    const { method, url, headers } = incoming;
    const outgoing = request({ host: '127.0.0.1', port, method, path: url, headers }, (response) => {
      answer.writeHead(response.statusCode, response.headers);
      answer.flushHeaders();
      response.pipe(answer);
    });
    outgoing.on('error', () => answer.destroy());
    answer.on('close', () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  server.on('connection', (socket) => {
    open.add(socket);
    socket.on('error', () => {}).on('close', () => open.delete(socket));
  });
  server.on('upgrade', ({ url, rawHeaders }, client) => {
    if (proxy.forbids) {
      client.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const upstream = connect(port, '127.0.0.1');
    upstream.on('error', () => {}).on('close', () => client.destroy());
    client.on('close', () => upstream.destroy());
    let head = `GET ${url} HTTP/1.1\r\n`;
    for (let at = 0; at < rawHeaders.length; at += 2) head += `${rawHeaders[at]}: ${rawHeaders[at + 1]}\r\n`;
    upstream.write(`${head}\r\n`);
    upstream.pipe(client).pipe(upstream);
  });
  proxy.host = await listening(server);
  proxy.stop = () => stopped(server, () => {
    for (const socket of open) socket.destroy();
  });
  return proxy;
}

async function listening(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `127.0.0.1:${server.address().port}`;
}

async function stopped(server, cut) {
  const closed = once(server, 'close');
  server.close();
  cut();
  await closed;
}
