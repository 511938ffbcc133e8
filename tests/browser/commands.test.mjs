/**
 * The command server's demo page in a real browser, against the real server.
 *
 * Run as demo.test.mjs is. The tests are one story; each goes on where the one before left the page.
 */

import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { isAboutMissing, looks, shows, state, text, violations } from './pages.mjs';
import { setUp, skipped } from './stage.mjs';

const SETTINGS = '[resources]\n/ = relay\n/commands = commands';

describe("the command server's demo", { skip: skipped("the command server's demo was not tested") }, () => {
  let a;

  const stage = setUp(SETTINGS, async () => {
    a = await open('A');
    await state(a, 'ready');
  });
  const { complaints } = stage;

  const open = (name, query = '') => stage.open(`/commands.html${query}`, name);

  const latest = (tab, wanted) =>
    tab.locator('#terminal li[data-way="in"]:last-child span', { hasText: wanted }).waitFor();

  async function type(tab, command) {
    await tab.fill('#command', command);
    await tab.press('#command', 'Enter');
  }

  test('what is typed is answered', async () => {
    for (const [command, answer] of [
      ['hello', 'hello human'],
      ['name', `My Name is ${hostname()}`],
      ['time', /^server time is \d\d:\d\d:\d\d$/],
      ['what is this', /^what is this not understood - \d\d:\d\d:\d\d$/],
    ]) {
      await type(a, command);
      await latest(a, answer);
    }
    assert.equal(await a.locator('#terminal li').count(), 8, 'four questions, four answers');
    assert.equal(await a.locator('#command').inputValue(), '');
  });

  test('so is what is pressed', async () => {
    await a.click('#ready-made button:text-is("age")');
    await latest(a, /^the server has been up for \d/);
    await a.click('#ready-made button:text-is("users")');
    await latest(a, /^[0-9a-f-]{36}$/);
  });

  test('what was typed comes back with the arrow keys', async () => {
    await a.focus('#command');
    await a.keyboard.press('ArrowUp');
    assert.equal(await a.locator('#command').inputValue(), 'what is this');
    await a.keyboard.press('ArrowUp');
    assert.equal(await a.locator('#command').inputValue(), 'time');
    await a.keyboard.press('ArrowDown');
    await a.keyboard.press('ArrowDown');
    assert.equal(await a.locator('#command').inputValue(), '');
  });

  test('what is said to all is heard in another tab, as text', async () => {
    const other = await open('B');
    await state(other, 'ready');
    const hostile = '<img src=x onerror="window.injected = true">';
    await type(a, `all ${hostile}`);
    await latest(other, hostile);
    assert.equal(await other.locator('#terminal img').count(), 0);
    assert.deepEqual(await violations(other), []);
    await other.close();
  });

  test('how it looks', async (t) => {
    await type(a, 'help');
    await latest(a, 'this list');
    await type(a, 'temp');
    await latest(a, 'the temperature ');
    await looks(a, stage.shots, 'commands-');
    t.diagnostic(`screenshots are in ${stage.shots}`);
  });

  test('bye ends the connection, until it is wanted again', async () => {
    await type(a, 'bye');
    await latest(a, /^bye$/);
    await state(a, 'closed');
    assert.equal(await a.locator('#send').isDisabled(), true);
    await a.click('#connect-again');
    await state(a, 'ready');
    assert.equal(await a.locator('#again').isVisible(), false);
    await type(a, 'ping');
    await latest(a, 'pong');
  });

  test('nothing was complained about, and nothing the policy forbids was tried', async () => {
    assert.deepEqual(complaints, []);
    assert.deepEqual(await violations(a), []);
  });

  test('where there is no command server, the page says what to add', async () => {
    const lost = await open('lost', '?resource=/elsewhere');
    await shows(lost, 'missing-title', 'There is no command server at /elsewhere');
    assert.match(await text(lost, 'missing-row'), /\n\/elsewhere = commands$/);
    assert.equal(await lost.locator('#ask').isVisible(), false);
    await state(lost, 'closed');
    await lost.screenshot({ path: join(stage.shots, 'commands-missing.png'), fullPage: true });
    const reported = complaints.splice(0);
    assert.ok(reported.every(isAboutMissing), reported.join('\n'));
  });
});
