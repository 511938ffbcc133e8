/**
 * Notifications against a real server, whose address is in WEBSOCK_TEST_URL, such as ws://127.0.0.1:8096, with the row
 * `/webntf = webntf` in its `[resources]`.
 */

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import WebSocket from 'ws';
import { WebNtf } from '../webntf.js';

const base = process.env.WEBSOCK_TEST_URL;
const options = { skip: base ? false : 'WEBSOCK_TEST_URL is not set: nothing was tested against a real server', timeout: 20_000 };

/** Nobody else's. */
const domain = `test-${process.pid}.example`;

const open = [];
after(() => open.forEach((page) => page.close()));

/** A page whose `next(name)` is what its method of that name is told the next time. */
class Page extends WebNtf {
  #waiting = new Map();

  constructor(wanted) {
    super(`${base}/webntf`, { WebSocket, retryBase: 20 });
    open.push(this);
    this.initSvc({ domain, ...wanted });
  }

  next(name) {
    return new Promise((resolve) => this.#waiting.set(name, resolve));
  }

  onInit() {
    this.#waiting.get('init')?.();
  }

  onData(message) {
    this.#waiting.get('data')?.(message);
  }

  onState({ state, detail }) {
    this.#waiting.get(state)?.(detail);
  }
}

async function call(action, data) {
  const response = await fetch(`${base.replace(/^ws/, 'http')}/api/webntf/${action}`, {
    method: 'POST',
    body: JSON.stringify({ domain, ...data }),
  });
  const { result, error } = await response.json();
  assert.equal(error, undefined);
  return result;
}

test('a page is reached by channel and by token, and by nothing that it has left', options, async () => {
  const page = new Page({ token: 'kim', channels: ['news', 'orders'] });
  await page.next('init');
  for (const [action, target] of [['send.to.channel', 'news'], ['send.to.channel', 'orders'], ['send.to.token', 'kim']]) {
    const message = { target, text: 'Größe \u{1F600}', nested: [null, true, 1.5] };
    const arrival = page.next('data');
    assert.equal(await call(action, { target, message }), 1);
    assert.deepEqual(await arrival, message);
  }
  page.setChannels(['alerts']);
  await page.next('init');
  assert.equal(await call('send.to.channel', { target: 'news', message: 1 }), 0);
  assert.deepEqual(await call('list.active.channels', {}), [{ key: 'alerts', domain, clients: 1 }]);
  page.setToken('lee');
  await page.next('init');
  assert.equal(await call('send.to.token', { target: 'kim', message: 1 }), 0);
  page.close();
});

test("the server's refusal comes in its words", options, async () => {
  const page = new Page({ token: 'x'.repeat(257) });
  assert.equal(await page.next('refused'), 'a name of more than 256 bytes');
  page.setToken('short');
  await page.next('init');
  assert.equal(await call('send.to.token', { target: 'short', message: 1 }), 1);
  page.close();
});
