/**
 * The queue with senders of two other languages, and a real browser that gets what they push.
 *
 *     WEBSOCK_BIN=../../target/debug/websock PYTHON=…/bin/python npm run queue
 *
 * The program must be built with the feature zmq, PHP must have its zmq extension, and the Python pyzmq.
 */

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { shows, state, text } from './pages.mjs';
import { shell } from './processes.mjs';
import { binary, setUp } from './stage.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SETTINGS = '[zmq]\nbind = tcp://127.0.0.1:*';
const program = binary ?? join(ROOT, 'target/debug/websock');
const python = process.env.PYTHON ?? 'python3';

describe('the queue', () => {
  let environment;
  let a;
  let b;

  const stage = setUp(SETTINGS, async () => {
    const [, endpoint] = await stage.server.prints(/from the queue at (tcp:\/\/127\.0\.0\.1:\d+)/);
    const ini = join(stage.directory, 'client.ini');
    await writeFile(ini, `address = ws://${stage.server.host}\n`);
    environment = { ...process.env, WEBSOCK_QUEUE: endpoint, WEBSOCK_INI: ini };
    a = await stage.open('/', 'A');
    b = await stage.open('/', 'B');
    await state(a, 'ready');
    await state(b, 'ready');
  }, { program, shots: false });

  const quoted = (word) => `'${word.replaceAll("'", String.raw`'\''`)}'`;
  const run = (...words) => shell(words.map(quoted).join(' '), { cwd: ROOT, env: environment });

  test('a message of pyzmq reaches the page that it is for', async () => {
    const uuid = await text(a, 'uuid');
    const message = JSON.stringify({ opcode: 'feedback', uuid, message: { progress: 40, text: 'Grüße aus Python' } });
    await run(python, 'tests/browser/queue.py', environment.WEBSOCK_QUEUE, message);
    await shows(a, 'feedback', 'Grüße aus Python');
    await shows(a, 'percent', '40 %');
  });

  test('what is no message disturbs nobody', async () => {
    const good = JSON.stringify({ opcode: 'broadcast', message: 'after the bad ones' });
    await run(python, 'tests/browser/queue.py', environment.WEBSOCK_QUEUE, '{', '[]', '{"opcode":1}', good);
    await shows(a, 'broadcasts', 'after the bad ones');
    await shows(b, 'broadcasts', 'after the bad ones');
  });

  test('the PHP example pushes through the queue', async () => {
    await run('php', 'clients/php/examples/queue.php', await text(b, 'uuid'), 'Grüße aus PHP');
    await shows(b, 'feedback', 'Grüße aus PHP');
    await run('php', 'clients/php/examples/queue.php', 'all', 'to all, from PHP');
    await shows(a, 'broadcasts', 'to all, from PHP');
    await shows(b, 'broadcasts', 'to all, from PHP');
  });

  test('and through the control API where PHP has no zmq extension', async () => {
    // With -n PHP loads no extension.
    await run('php', '-n', 'clients/php/examples/queue.php', await text(a, 'uuid'), 'without the extension');
    await shows(a, 'feedback', 'without the extension');
    assert.equal(await b.locator('#feedback', { hasText: 'without the extension' }).count(), 0);
  });

  test('each of them took its own way', async () => {
    const response = await stage.browser.context.request.get(`http://${stage.server.host}/metrics`);
    const metrics = await response.text();
    for (const [outcome, count] of [['delivered', 4], ['unusable', 3], ['nobody', 0], ['forbidden', 0]]) {
      assert.ok(metrics.includes(`websock_queue_messages_total{outcome="${outcome}"} ${count}\n`), outcome);
    }
    assert.deepEqual(stage.complaints, []);
  });
});
