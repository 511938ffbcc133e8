/**
 * The live page in a real browser, against the real server, with clients of every kind around it.
 *
 * Run as demo.test.mjs is. The tests are one story and share a tab; each goes on where the one before left it.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { looks, openTab, shows, state, text, violations } from './pages.mjs';
import { setUp, skipped } from './stage.mjs';

const KEY = 'a-key-of-the-test';
/** 127.0.0.2 is loopback, and not on the allow list. */
const SETTINGS = `[resources]\n/ = relay\n/web = relay\n/php = relay\n/echo = echo\n[api]\nkeys = ${KEY}`;

describe('the live page', { skip: skipped('the live page was not tested') }, () => {
  let tab;
  let demo;
  let uuid;

  const stage = setUp(SETTINGS, async () => {
    tab = await stage.open('/admin', 'live');
    await state(tab, 'ready');
    demo = await stage.open('/', 'demo');
    await state(demo, 'ready');
    uuid = await text(demo, 'uuid');
    await tab.bringToFront();
  });
  const { complaints } = stage;

  const row = (of) => tab.locator(`#clients-rows tr[data-uuid="${of}"]`);
  const rows = () => tab.locator('#clients-rows tr').count();
  const plot = (name) => tab.locator('.plot', { hasText: name });

  /** Sockets of the page's own server, held by the demo tab until it is closed. */
  const crowd = (path, number) => demo.evaluate(async ([path, number]) => {
    window.crowd ??= [];
    for (let index = 0; index < number; index += 1) {
      const socket = new WebSocket(`ws://${location.host}${path}`);
      window.crowd.push(socket);
      await new Promise((done, failed) => {
        socket.onopen = done;
        socket.onerror = failed;
      });
    }
  }, [path, number]);

  test('it shows who is connected', async () => {
    await row(uuid).waitFor();
    await shows(tab, 'clients-count', '1 connected');
    const shown = await row(uuid).textContent();
    for (const part of [uuid, '/web', 'browser', '127.0.0.1']) assert.ok(shown.includes(part), shown);
    await plot('Clients').getByText('1 browser, 0 scripts').waitFor();
    await crowd('/web', 3);
    await crowd('/echo', 2);
    await shows(tab, 'clients-count', '6 connected');
    await plot('Clients').getByText('6 browsers, 0 scripts').waitFor();
    assert.match(await text(tab, 'paths'), /\/web relay404.*\/echo echo202/);
  });

  test('they are searched, and come and go by themselves', async () => {
    await tab.fill('#search', '/web');
    await shows(tab, 'clients-count', '4 found');
    assert.equal(await rows(), 4);
    await crowd('/web', 1);
    await shows(tab, 'clients-count', '5 found');
    await demo.evaluate(() => window.crowd.pop().close());
    await shows(tab, 'clients-count', '4 found');
    await tab.fill('#search', 'no such thing');
    await shows(tab, 'clients-none', 'Nobody who is connected has that.');
    assert.equal(await rows(), 0);
    await tab.fill('#search', uuid.slice(0, 8).toUpperCase());
    await row(uuid).waitFor();
    assert.equal(await rows(), 1);
    await tab.fill('#search', '');
    await shows(tab, 'clients-count', '6 connected');
  });

  test('whoever is picked can be sent a test message', async () => {
    await row(uuid).click();
    assert.equal(await row(uuid).getAttribute('aria-selected'), 'true');
    assert.equal(await tab.locator('#whom').inputValue(), uuid);
    assert.equal(await tab.locator('#why').inputValue(), uuid);
    const hostile = '<img src=x onerror="window.injected = true">';
    await tab.fill('#message', hostile);
    await tab.click('#send');
    await shows(tab, 'answer', 'Handed to 1 connection');
    await demo.locator('#log [data-opcode="feedback"]', { hasText: 'onerror' }).first().waitFor();
    await tab.selectOption('#to', 'everyone');
    await shows(tab, 'send', 'Send to 4 browsers');
    await tab.fill('#message', '{"maintenance": true}');
    await tab.click('#send');
    await shows(tab, 'answer', 'Handed to 4 connections');
    await demo.locator('#log [data-opcode="broadcast"]', { hasText: 'maintenance' }).first().waitFor();
    await tab.selectOption('#to', 'ident');
    await tab.click('#send');
    await shows(tab, 'answer', 'To whom?');
    await tab.fill('#whom', 'nobody');
    await tab.press('#whom', 'Enter');
    await shows(tab, 'answer', 'Nobody got it');
  });

  test('what happened to it is told, and what became of a message', async () => {
    await row(uuid).click();
    await shows(tab, 'events', 'Was handed a message');
    await shows(tab, 'events', 'Connected: /web, browser, from 127.0.0.1');
    await shows(tab, 'why-hint', 'Connected. What has happened is remembered since');
    await tab.locator('#events li', { hasText: 'feedback' }).locator('button').first().click();
    await shows(tab, 'why-hint', 'A message.');
    await tab.locator('#events button', { hasText: uuid }).click();
    await shows(tab, 'why-hint', 'Connected.');
    await tab.fill('#why', 'no such thing');
    await tab.press('#why', 'Enter');
    await shows(tab, 'why-hint', "The id is no message's.");
    assert.equal(await tab.locator('#events li').count(), 0);
  });

  test('refusals and closes are told with their reasons', async () => {
    await fetch(`http://${stage.server.host}/nowhere`);
    await tab.locator('#ends li', { hasText: 'Refused: status 404, /nowhere' }).waitFor();
    await demo.evaluate(() => window.crowd.shift().close(4001, 'enough'));
    await tab.locator('#ends li', { hasText: 'enough' }).waitFor();
    await crowd('/web', 1);
  });

  test('rates and totals move', async () => {
    const totals = () => text(tab, 'totals');
    await demo.evaluate(async () => {
      const socket = window.crowd.find(({ url }) => url.endsWith('/echo'));
      for (let index = 0; index < 500; index += 1) socket.send('x'.repeat(100));
    });
    await tab.locator('#totals', { hasText: /Messages in5\d\d/ }).waitFor();
    await plot('Messages in/s').getByText('max').waitFor();
    assert.match(await plot('Messages in/s').locator('svg').getAttribute('aria-label'), /at most \d/);
    assert.match(await plot('Messages in/s').locator('.line').getAttribute('d'), /^M[\d. L]+/);
    await fetch(`http://${stage.server.host}/none`);
    await tab.locator('#totals', { hasText: 'Refused with 4042' }).waitFor();
    assert.match(await totals(), /Connections accepted/);
  });

  test('how it looks', async (t) => {
    await tab.fill('#search', '');
    await tab.click('#clients-title');
    await row(uuid).click();
    await shows(tab, 'events', 'Connected');
    await looks(tab, stage.shots, 'admin-');
    t.diagnostic(`screenshots are in ${stage.shots}`);
  });

  test('a phone gets by with a thumb', async () => {
    await tab.setViewportSize({ width: 390, height: 844 });
    await tab.evaluate(() => scrollTo(0, 0));
    await row(uuid).click();
    await tab.waitForFunction(() => {
      const { top } = document.getElementById('one').getBoundingClientRect();
      return top >= -1 && top < innerHeight * 0.75;
    });
    await tab.setViewportSize({ width: 1280, height: 900 });
  });

  test('a name is asked for a key, and with it page and feed open', async () => {
    const far = `http://127.0.0.1.nip.example:${stage.server.port}/admin`;
    const other = await stage.launch({
      options: { httpCredentials: { username: 'anna', password: KEY } },
      args: ['--host-resolver-rules=MAP *.nip.example 127.0.0.1'],
    });
    try {
      const key = await openTab(other.context, far, 'with a key', complaints);
      await state(key, 'ready');
      await shows(key, 'clients-count', 'connected');
    } finally {
      await other.stop();
    }
  });

  test('nothing was complained about, and nothing the policy forbids was tried', async () => {
    assert.deepEqual(complaints, []);
    for (const page of [tab, demo]) assert.deepEqual(await violations(page), []);
    assert.equal(await demo.evaluate(() => window.injected), undefined);
  });

  test('a lost server is waited for, and another one in its place is gone on with', async () => {
    const { port } = stage.server;
    await stage.server.stop();
    await tab.locator('#state:is([data-state="waiting"], [data-state="connecting"])').waitFor();
    assert.ok(await tab.locator('#send').isDisabled());
    assert.equal(await tab.locator('#live[data-stale]').count(), 1);
    await tab.screenshot({ path: join(stage.shots, 'admin-lost.png') });
    await stage.serve({ port });
    await state(tab, 'ready');
    assert.equal(await tab.locator('#live[data-stale]').count(), 0);
    await row(await shownUuid(demo)).waitFor();
  });

  /** Where it is connected again. */
  async function shownUuid(page) {
    await page.waitForFunction((old) => {
      const shown = document.getElementById('uuid').textContent;
      return shown !== '' && shown !== old;
    }, uuid);
    return text(page, 'uuid');
  }

  test('a server that lets it in no more says so, and is not tried again', async () => {
    const { port } = stage.server;
    await stage.server.stop();
    await stage.serve({
      settings: '[access]\ntrustedProxies = 127.0.0.1\nallowedIP = 192.0.2.1\n', port, address: '0.0.0.0',
    });
    await state(tab, 'refused');
    await shows(tab, 'state', 'Not allowed');
    await shows(tab, 'state-detail', 'allow list');
    assert.ok(await tab.locator('#again').isVisible());
    await tab.screenshot({ path: join(stage.shots, 'admin-refused.png') });
  });
});
