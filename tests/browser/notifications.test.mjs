/**
 * The notification demo in a real browser, against the real server; the backend is `fetch`, and curl where it is there.
 *
 * Run as demo.test.mjs is. The tests are one story and share two tabs of one user.
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { isAboutMissing, looks, shows, state, text, violations } from './pages.mjs';
import { shell } from './processes.mjs';
import { setUp, skipped } from './stage.mjs';

const SETTINGS = '[resources]\n/ = relay\n/webntf = webntf';
const KEY = 'a-key-of-the-test';
const DOMAIN = 'demo.example';

const noCurl = spawnSync('curl', ['--version']).status === 0 ? false : 'there is no curl here';

describe('the notification demo', { skip: skipped('the notification demo was not tested') }, () => {
  let a;
  let b;

  const stage = setUp(SETTINGS, async () => {
    a = await open('A');
    await state(a, 'ready');
    b = await open('B');
    await state(b, 'ready');
  });
  const { complaints } = stage;

  const open = (name, query = '') => stage.open(`/notifications.html${query}`, name);

  /** The backend: how many pages a message was handed to. */
  async function push(action, target, message, domain = DOMAIN) {
    const response = await fetch(`http://${stage.server.host}/api/webntf/${action}`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${KEY}` },
      body: JSON.stringify({ domain, target, message }),
    });
    const { result, error } = await response.json();
    assert.equal(response.status, 200, error);
    return result;
  }

  const field = (tab, id) => tab.locator(`#${id}`).inputValue();
  const tick = (tab, channel, on) => tab.locator(`[name="channel"][value="${channel}"]`).setChecked(on);
  const latest = (tab, wanted) => tab.locator('#received li:first-child', { hasText: wanted }).waitFor();
  const count = (tab) => tab.locator('#received li').count();

  /** Whatever was sent to the tab before is shown by now: this came after it. */
  async function settled(tab, token, mark) {
    assert.ok(await push('send.to.token', token, mark) > 0);
    await latest(tab, mark);
  }

  async function fill(tab, id, value) {
    await tab.fill(`#${id}`, value);
    await tab.press(`#${id}`, 'Tab');
  }

  test('the server has taken what the page wants', async () => {
    await shows(a, 'taken', 'Subscribed to news, orders, and the token in the domain 127.0.0.1.');
    await fill(a, 'domain', DOMAIN);
    await shows(a, 'taken', DOMAIN);
  });

  test('what is sent to a channel reaches those who have ticked it', async () => {
    assert.equal(await push('send.to.channel', 'news', 'the first'), 1);
    await latest(a, 'the first');
    await tick(a, 'alerts', true);
    await shows(a, 'taken', 'news, orders, alerts, and the token');
    assert.equal(await push('send.to.channel', 'alerts', { level: 2 }), 1);
    await latest(a, '{"level":2}');
    await tick(a, 'news', false);
    await shows(a, 'taken', 'orders, alerts, and the token');
    assert.equal(await push('send.to.channel', 'news', 'unheard'), 0);
    await settled(a, await field(a, 'token'), 'to the user');
    assert.equal(await count(a), 3);
    assert.equal(await text(a, 'count'), '3');
  });

  test('what is sent to a token reaches every tab of the user, and a new token is another user', async () => {
    const token = await field(a, 'token');
    assert.equal(await field(b, 'token'), token, 'the tabs have the token in common');
    await fill(b, 'domain', DOMAIN);
    await shows(b, 'taken', DOMAIN);
    assert.equal(await push('send.to.token', token, 'to both'), 2);
    await latest(a, 'to both');
    await latest(b, 'to both');
    await b.click('#new-token');
    await b.locator('#taken[data-outcome="good"]').waitFor();
    const other = await field(b, 'token');
    assert.notEqual(other, token);
    await settled(b, other, 'only to B');
    assert.equal(await push('send.to.token', token, 'only to A'), 1);
    await latest(a, 'only to A');
  });

  test('the curl command on the page reaches the page', { skip: noCurl }, async () => {
    await a.selectOption('#target', 'orders');
    await a.fill('#message', "It's 20 % off: “Größe”");
    await shell(await text(a, 'command'), { cwd: stage.directory });
    await latest(a, "It's 20 % off: “Größe”");
    await a.selectOption('#target', '');
    await a.fill('#message', 'to whom it may concern');
    await shell(await text(a, 'command'), { cwd: stage.directory });
    await latest(a, 'to whom it may concern');
  });

  test('it is copied', async () => {
    await stage.browser.context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await a.bringToFront();
    await a.click('[data-copy="command"]');
    await shows(a, 'copied', 'Copied to the clipboard');
    assert.equal(await a.evaluate(() => navigator.clipboard.readText()), await text(a, 'command'));
  });

  test('a phone has no curl: the page sends it by itself, and says to how many', async () => {
    await a.selectOption('#target', 'alerts');
    await a.fill('#message', 'Backup finished');
    await a.press('#message', 'Enter');
    await shows(a, 'answer', 'Handed to 1 page');
    await latest(a, 'Backup finished');
    await a.selectOption('#target', 'news');
    await tick(b, 'news', false);
    await shows(b, 'taken', 'Subscribed to orders and the token');
    await a.click('#send-form button');
    await shows(a, 'answer', 'Nobody listens there');
  });

  test('how it looks', async (t) => {
    await a.click('#clear');
    await tick(a, 'news', true);
    await shows(a, 'taken', 'news, orders, alerts');
    await push('send.to.channel', 'orders', 'Order 4711 was paid');
    await push('send.to.channel', 'alerts', { disk: '/dev/sda1', used: '91 %', host: 'db-2.internal.example' });
    await a.selectOption('#target', 'news');
    await a.fill('#message', 'Version 2.4 is out');
    await a.click('#send-form button');
    await latest(a, 'Version 2.4 is out');
    await looks(a, stage.shots, 'notifications-');
    t.diagnostic(`screenshots are in ${stage.shots}`);
  });

  test('what others send is shown as text, never as markup', async () => {
    const hostile = '<img src=x onerror="window.injected = true"><b>bold</b>';
    await push('send.to.channel', 'orders', hostile);
    await latest(a, hostile);
    assert.equal(await a.locator('#received img, #received b').count(), 0);
    assert.equal(await a.evaluate(() => window.injected), undefined);
  });

  test('nothing was complained about, and nothing the policy forbids was tried', async () => {
    assert.deepEqual(complaints, []);
    for (const tab of [a, b]) assert.deepEqual(await violations(tab), []);
  });

  test("what the server won't take is said in its words, and taken back", async () => {
    const token = await field(a, 'token');
    await fill(a, 'token', 'x'.repeat(257));
    await state(a, 'refused');
    await shows(a, 'taken', 'The server refused: a name of more than 256 bytes.');
    await a.screenshot({ path: join(stage.shots, 'notifications-refused.png'), fullPage: true });
    await fill(a, 'token', token);
    await state(a, 'ready');
    await settled(a, token, 'taken back');
  });

  test('after a restart of the server it is subscribed again, by itself', async () => {
    assert.equal(await stage.server.stop(), 0);
    await state(a, 'waiting');
    assert.equal(await text(a, 'taken'), '');
    await stage.serve({ port: stage.server.port, settings: `${SETTINGS}\n[api]\nkeys = ${KEY}` });
    await state(a, 'ready');
    assert.equal(await push('send.to.channel', 'alerts', 'after the restart'), 1);
    await latest(a, 'after the restart');
    // The browser reports each attempt that failed.
    const reported = complaints.splice(0);
    assert.ok(reported.every((line) => line.includes('WebSocket connection to')), reported.join('\n'));
  });

  test('where the server wants a key, the command has the place for it', async () => {
    assert.doesNotMatch(await text(a, 'command'), /KEY/);
    await a.click('#send-form button');
    await shows(a, 'answer', 'The server would not do it. a key is needed: Authorization: Bearer KEY.');
    assert.match(await text(a, 'command'), /^curl -H 'Authorization: Bearer KEY' -d '/);
    const reported = complaints.splice(0);
    assert.ok(reported.every((line) => line.includes('401')), reported.join('\n'));
  });

  test('where there is no such service, the page says what to add', async () => {
    const lost = await open('lost', '?resource=/elsewhere');
    await shows(lost, 'missing-title', 'There is no notification service at /elsewhere');
    assert.match(await text(lost, 'missing-row'), /^\[resources\]\n\/ = relay\n(.+\n)+\/elsewhere = webntf$/);
    assert.equal(await lost.locator('#send-form').isVisible(), false);
    await state(lost, 'closed');
    await lost.screenshot({ path: join(stage.shots, 'notifications-missing.png'), fullPage: true });
    const reported = complaints.splice(0);
    assert.ok(reported.every(isAboutMissing), reported.join('\n'));
  });
});
