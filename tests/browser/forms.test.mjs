/**
 * The demo of form locks in a real browser, against the real server: two tabs fight for one form.
 *
 * Run as demo.test.mjs is. The tests are one story.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { isAboutMissing, looks, shows, state, text, violations } from './pages.mjs';
import { setUp, skipped } from './stage.mjs';

const SETTINGS = '[resources]\n/ = relay\n/wamp = wamp\n[wamp]\nlockGrace = 5';
const FORM = 'demo.form.customer42';

describe('the demo of form locks', { skip: skipped('the demo of form locks was not tested') }, () => {
  let a;
  let b;

  const stage = setUp(SETTINGS, async () => {
    a = await open('A');
    b = await open('B');
    for (const tab of [a, b]) {
      await state(tab, 'ready');
      await lock(tab, 'nobody');
    }
  });
  const { complaints } = stage;

  const open = (name, query = '') => stage.open(`/forms.html${query}`, name);
  const lock = (tab, wanted) => tab.locator(`#lock[data-lock="${wanted}"]`).waitFor();
  const latest = (tab, wanted) => tab.locator('#events li:first-child', { hasText: wanted }).waitFor();

  /** What a backend is told that asks whether a token still holds the form. */
  async function check(token) {
    const response = await fetch(`http://${stage.server.host}/api/form-lock/check`, {
      method: 'POST', body: JSON.stringify({ form: FORM, token }),
    });
    return (await response.json()).result;
  }

  test('one edits, and the other sees so', async () => {
    assert.equal(await a.locator('#name').isEnabled(), false);
    await a.click('#edit');
    await lock(a, 'mine');
    await lock(b, 'theirs');
    await latest(b, 'Somebody has begun to edit the form');
    assert.equal(await a.locator('#name').isEnabled(), true);
    assert.equal(await b.locator('#edit').isEnabled(), false);
    assert.equal(await b.locator('#name').isEnabled(), false);
  });

  test('how it looks', async (t) => {
    await looks(a, stage.shots, 'forms-mine-');
    await looks(b, stage.shots, 'forms-theirs-');
    t.diagnostic(`screenshots are in ${stage.shots}`);
  });

  test('it is saved while the lock is held, and then free for the other', async () => {
    const token = await text(a, 'token');
    const fence = Number(await text(a, 'fence'));
    assert.deepEqual(await check(token), { held: true, fence });
    assert.deepEqual(await check('somebody else’s'), { held: false, locked: true });
    await a.fill('#name', 'Ada Lovelace');
    await a.click('#save');
    await shows(a, 'answer', 'Stored');
    await lock(a, 'nobody');
    await lock(b, 'nobody');
    assert.deepEqual(await check(token), { held: false, locked: false });
    await b.click('#edit');
    await lock(b, 'mine');
    await lock(a, 'theirs');
    assert.ok(Number(await text(b, 'fence')) > fence, 'the numbers rise');
  });

  test('both want it at the same moment, and one gets it', async () => {
    await b.click('#cancel');
    for (const tab of [a, b]) await lock(tab, 'nobody');
    for (let turn = 0; turn < 10; turn += 1) {
      // Not by a click, which would wait until the button may be pressed.
      await Promise.all([a, b].map((tab) => tab.evaluate(() => document.getElementById('edit').click())));
      for (const tab of [a, b]) await tab.locator('#lock:not([data-lock="nobody"])').waitFor();
      await Promise.race([lock(a, 'theirs'), lock(b, 'theirs')]);
      const states = await Promise.all([a, b].map((tab) => tab.locator('#lock').getAttribute('data-lock')));
      assert.deepEqual(states.toSorted(), ['mine', 'theirs'], `turn ${turn}`);
      await (states[0] === 'mine' ? a : b).click('#cancel');
      for (const tab of [a, b]) await lock(tab, 'nobody');
    }
  });

  test('who is gone for a moment has it still; who stays away loses it', async () => {
    await a.click('#edit');
    await lock(a, 'mine');
    const token = await text(a, 'token');
    assert.equal((await check(token)).held, true);
    await a.close();
    const lock2 = b.locator('#lock[data-lock="nobody"]');
    assert.equal((await check(token)).held, true, 'it is kept for five seconds');
    await lock2.waitFor();
    assert.deepEqual(await check(token), { held: false, locked: false });
    a = await open('A again');
    await lock(a, 'nobody');
  });

  test('what is not held any more is not stored, and not released', async () => {
    await a.click('#edit');
    await lock(a, 'mine');
    const token = await text(a, 'token');
    await a.route('**/api/form-lock/check', (route) => route.fulfill({ json: { status: 'OK', result: { held: false, locked: true } } }));
    await a.click('#save');
    await shows(a, 'answer', 'Not stored');
    await lock(a, 'theirs');
    assert.equal(await text(a, 'token'), 'none');
    assert.equal((await check(token)).held, true, 'the page has left it alone');
    await a.close();
    await lock(b, 'nobody');
    a = await open('A once more');
    await lock(a, 'nobody');
  });

  test('nothing was complained about, and nothing the policy forbids was tried', async () => {
    assert.deepEqual(complaints, []);
    for (const tab of [a, b]) assert.deepEqual(await violations(tab), []);
  });

  test('after a restart of the server the page is there again', async () => {
    await b.click('#edit');
    await lock(b, 'mine');
    assert.equal(await stage.server.stop(), 0);
    await state(b, 'waiting');
    await stage.serve({ port: stage.server.port });
    await state(b, 'ready');
    // The lock went with the server: it is asked for anew, and there is nobody else who has it.
    await lock(b, 'mine');
    await lock(a, 'theirs');
    const reported = complaints.splice(0);
    assert.ok(reported.every((line) => line.includes('WebSocket connection to')), reported.join('\n'));
  });

  test('where there is no WAMP, the page says what to add', async () => {
    const lost = await open('lost', '?resource=/elsewhere');
    await shows(lost, 'missing-title', 'There is no WAMP at /elsewhere');
    assert.match(await text(lost, 'missing-row'), /^\[resources\]\n\/ = relay\n(.+\n)+\/elsewhere = wamp$/);
    await state(lost, 'closed');
    await lost.screenshot({ path: join(stage.shots, 'forms-missing.png'), fullPage: true });
    const reported = complaints.splice(0);
    assert.ok(reported.every(isAboutMissing), reported.join('\n'));
  });
});
