/**
 * AutobahnJS in Chromium against the real server: what is published in one tab is heard in the other, and one calls the
 * other. WEBSOCK_BIN names the server's program.
 */

import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startBrowser, startServer, temporaryDirectory } from '../browser/processes.mjs';

const AUTOBAHN = createRequire(import.meta.url).resolve('autobahn-browser/autobahn.min.js');

const binary = process.env.WEBSOCK_BIN && resolve(process.env.WEBSOCK_BIN);
const skip = binary ? false : 'WEBSOCK_BIN is not set: AutobahnJS was not tried in Chromium';

describe('AutobahnJS in Chromium', { skip }, () => {
  let directory;
  let server;
  let browser;
  let a;
  let b;

  before(async () => {
    directory = await temporaryDirectory();
    server = await startServer(binary, directory, { settings: '[resources]\n/wamp = wamp' });
    browser = await startBrowser(process.env.CHROMIUM ?? '/usr/bin/chromium');
    [a, b] = [await open(), await open()];
  }, { timeout: 60_000 });

  after(async () => {
    await browser?.stop();
    if (server) assert.equal(await server.stop(), 0);
    await rm(directory, { recursive: true, force: true });
  }, { timeout: 60_000 });

  /** A tab with a session in `window.session`. */
  async function open() {
    const tab = await browser.context.newPage();
    tab.setDefaultTimeout(15_000);
    await tab.addInitScript({ path: AUTOBAHN });
    await tab.goto(`http://${server.host}/healthz`);
    await tab.evaluate((url) => new Promise((done, failed) => {
      const connection = new autobahn.Connection({ url, realm: 'realm1' });
      connection.onopen = (session) => { window.session = session; done(); };
      connection.onclose = (reason) => { failed(new Error(reason)); return true; };
      connection.open();
    }), `ws://${server.host}/wamp`);
    return tab;
  }

  test('events and calls go from tab to tab', async () => {
    await b.evaluate(async () => {
      window.heard = new Promise((resolve) => { session.subscribe('com.example.news', (args) => resolve(args)).then(() => { window.ready = true; }); });
      await session.register('com.example.add', ([x, y]) => x + y);
    });
    await b.waitForFunction(() => window.ready);
    await a.evaluate(() => session.publish('com.example.news', ['ü', { n: 1 }], {}, { acknowledge: true }));
    assert.deepEqual(await b.evaluate(() => window.heard), ['ü', { n: 1 }]);
    assert.equal(await a.evaluate(() => session.call('com.example.add', [2, 3])), 5);
  });

  test('one of two tabs locks a form', async () => {
    const lock = (tab) => tab.evaluate(() => session.call('form-lock', [{ form: 'shop.form.1' }])
      .then((result) => result.event, (error) => error.args[0].status));
    const outcomes = await Promise.all([lock(a), lock(b)]);
    // Both are `locked`: the result says that it has happened, the error that it had.
    assert.deepEqual(outcomes, ['locked', 'locked']);
    const info = await a.evaluate(() => session.call('form-lock-info', [{ form: 'shop.form.1' }]));
    const ids = await Promise.all([a, b].map((tab) => tab.evaluate(() => session.id)));
    assert.ok(ids.includes(info.holder.session));
    await (ids[0] === info.holder.session ? a : b).close();
    const other = ids[0] === info.holder.session ? b : a;
    await other.waitForFunction(async () => (await session.call('form-lock-info', [{ form: 'shop.form.1' }])).status === 'released');
    assert.equal(await lock(other), 'locked');
  });
});
