/**
 * The demo page in a real browser, against the real server and a PHP script behind the page's AJAX call.
 *
 *     WEBSOCK_BIN=../../target/release/websock npm test
 *
 * What else it can be told is in stage.mjs.
 * The tests are one story and share two tabs; each goes on where the one before left the page.
 */

import assert from 'node:assert/strict';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { looks, shows, state, text, violations } from './pages.mjs';
import { shell, startPhp } from './processes.mjs';
import { binary, setUp, skipped } from './stage.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
/** Two tabs, and the connection that the page's JavaScript command makes. */
const SETTINGS = '[limits]\nmaxPerIP = 3';

describe('the demo page', { skip: skipped('the demo page was not tested') }, () => {
  let php;
  let a;
  let b;

  const stage = setUp(SETTINGS, async () => {
    const environment = { WEBSOCK_URL: `ws://${stage.server.host}/php` };
    php = stage.also(await startPhp(join(ROOT, 'clients/php/examples'), environment));
    a = await open('A');
    b = await open('B');
  });
  const { complaints } = stage;

  const open = (name) => {
    const backend = encodeURIComponent(`${php.origin}/backend.php`);
    return stage.open(`/?backend=${backend}`, name);
  };

  /** Whatever was sent to the tab before is shown by now: the echo came after it. */
  async function settled(tab) {
    const echoes = tab.locator('#log [data-opcode="echo"][data-way="in"]');
    const earlier = await echoes.count();
    await tab.click('#echo');
    await echoes.nth(earlier).waitFor();
  }

  test('every file it is made of is served as what it is', async () => {
    for (const [path, type] of [
      ['/', 'text/html'], ['/page.css', 'text/css'], ['/demo.css', 'text/css'], ['/page.js', 'text/javascript'],
      ['/demo.js', 'text/javascript'], ['/websock.js', 'text/javascript'], ['/connection.js', 'text/javascript'],
      ['/events.js', 'text/javascript'], ['/icon.svg', 'image/svg+xml'],
    ]) {
      const response = await stage.browser.context.request.get(`http://${stage.server.host}${path}`);
      assert.equal(response.status(), 200, path);
      assert.equal(response.headers()['content-type'].split(';')[0], type, path);
    }
  });

  test('both tabs are connected, under UUIDs of their own', async () => {
    for (const tab of [a, b]) {
      await state(tab, 'ready');
      assert.equal(await text(tab, 'state-name'), 'Connected');
    }
    const [one, other] = [await text(a, 'uuid'), await text(b, 'uuid')];
    assert.match(one, UUID);
    assert.match(other, UUID);
    assert.notEqual(one, other);
  });

  test('the script behind the AJAX call reports to the tab that called, and only there', async () => {
    await a.bringToFront();
    await a.click('#call');
    await shows(a, 'answer', 'Answered after');
    await shows(a, 'percent', '100 %');
    assert.equal(await a.locator('#progress').evaluate((bar) => bar.value), 100);
    assert.equal(await text(a, 'feedback'), 'done');
    const reports = await a.locator('#log [data-opcode="feedback"]').count();
    assert.ok(reports > 1, 'it was told while the script ran');
    await settled(b);
    assert.equal(await b.locator('#log [data-opcode="feedback"]').count(), 0);
    assert.equal(await b.locator('#progress').evaluate((bar) => bar.value), 0);
  });

  test('a broadcast from one tab shows in the other', async () => {
    await a.fill('#broadcast', 'Hello from A');
    await a.press('#broadcast', 'Enter');
    await shows(b, 'broadcasts', 'Hello from A');
    await shows(a, 'broadcast-note', 'Handed to 1 other page.');
    await settled(a);
    assert.equal(await a.locator('#broadcasts li').count(), 0);
  });

  test('an echo shows its round trip', async () => {
    await a.click('#echo');
    await shows(a, 'trip', /^\d+(\.\d)? ms$/);
  });

  test('the shell command on the page reaches the page', async () => {
    const environment = { ...process.env, PATH: dirname(binary) + delimiter + process.env.PATH };
    await shell(await text(a, 'command-shell'), { cwd: stage.directory, env: environment });
    await a.locator('#feedback', { hasText: /^Hello$/ }).waitFor();
  });

  test('so does the PHP command', async () => {
    await a.focus('#tab-shell');
    await a.keyboard.press('ArrowRight');
    assert.equal(await a.locator('#panel-php').isVisible(), true);
    await shell(await text(a, 'command-php'), { cwd: ROOT });
    await shows(a, 'feedback', 'Hello from PHP');
  });

  test('and the JavaScript, in another tab', async () => {
    await b.evaluate(await text(a, 'command-js'));
    await shows(a, 'feedback', 'Hello from JavaScript');
  });

  test('the UUID is copied', async () => {
    await stage.browser.context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await a.bringToFront();
    await a.click('#copy-uuid');
    await shows(a, 'copied', 'Copied to the clipboard');
    assert.equal(await a.evaluate(() => navigator.clipboard.readText()), await text(a, 'uuid'));
  });

  test('how it looks', async (t) => {
    await b.fill('#broadcast', 'Hello from the other tab');
    await b.press('#broadcast', 'Enter');
    await shows(a, 'broadcasts', 'Hello from the other tab');
    await a.bringToFront();
    await a.click('#call');
    await shows(a, 'percent', '100 %');
    await shows(a, 'answer', 'Answered after');
    await a.click('#tab-shell');
    await looks(a, stage.shots, '');
    t.diagnostic(`screenshots are in ${stage.shots}`);
  });

  test('what others send is shown as text, never as markup', async () => {
    const hostile = '<img src=x onerror="window.injected = true"><b>bold</b>';
    await b.fill('#broadcast', hostile);
    await b.press('#broadcast', 'Enter');
    await shows(a, 'broadcasts', hostile);
    assert.equal(await a.locator('#broadcasts img, #broadcasts b, #log img, #log b').count(), 0);
    assert.equal(await a.evaluate(() => window.injected), undefined);
  });

  test('a tab too many is told why, and let in when there is room', async () => {
    const third = await open('C');
    await state(third, 'ready');
    const fourth = await open('D');
    await state(fourth, 'refused');
    await shows(fourth, 'log', /refused.*connections/);
    await fourth.screenshot({ path: join(stage.shots, 'refused.png') });
    await third.close();
    await state(fourth, 'ready');
    await fourth.close();
  });

  test('a script that is not running is told with the command that starts it', async () => {
    await php.stop();
    const earlier = complaints.length;
    await a.click('#call');
    await shows(a, 'answer', 'Not reached.');
    assert.equal(await text(a, 'backend-command'),
      `WEBSOCK_URL=ws://${stage.server.host}/php php -S ${new URL(php.origin).host} -t clients/php/examples`);
    // The browser itself reports the failed request, and nothing else may have come up.
    const reported = complaints.splice(earlier);
    assert.ok(reported.every((line) => line.includes('net::ERR_CONNECTION_REFUSED')), reported.join('\n'));
  });

  test('nothing was complained about, and nothing the policy forbids was tried', async () => {
    assert.deepEqual(complaints, []);
    for (const tab of [a, b]) assert.deepEqual(await violations(tab), []);
  });

  test('after a restart of the server it is connected again, under another UUID', async () => {
    const earlier = await text(a, 'uuid');
    assert.equal(await stage.server.stop(), 0);
    await state(a, 'waiting');
    await shows(a, 'state-countdown', /^Again (in \d+ s|now)$/);
    assert.equal(await text(a, 'uuid'), '');
    assert.equal(await a.locator('#echo').isDisabled(), true);
    await a.screenshot({ path: join(stage.shots, 'waiting.png'), fullPage: true });
    await stage.serve({ port: stage.server.port });
    await state(a, 'ready');
    const uuid = await text(a, 'uuid');
    assert.match(uuid, UUID);
    assert.notEqual(uuid, earlier);
    assert.ok((await text(a, 'command-shell')).includes(uuid));
    await settled(a);
    // The browser reports each attempt that failed.
    assert.ok(complaints.every((line) => line.includes('WebSocket connection to')), complaints.join('\n'));
  });
});
