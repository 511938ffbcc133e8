/**
 * The chat's demo page in a real browser, against the real server: two tabs that talk.
 *
 * Run as demo.test.mjs is. The tests are one story; each goes on where the one before left the page.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { isAboutMissing, looks, shows, state, text, violations } from './pages.mjs';
import { setUp, skipped } from './stage.mjs';

const SETTINGS = '[resources]\n/ = relay\n/chat = chat';

describe("the chat's demo", { skip: skipped("the chat's demo was not tested") }, () => {
  let a;
  let b;

  const stage = setUp(SETTINGS, async () => {
    a = await open('A');
    await state(a, 'ready');
  });
  const { complaints } = stage;

  const open = (name, query = '') => stage.open(`/chat.html${query}`, name);

  const field = (tab, id) => tab.locator(`#${id}`).inputValue();
  const latest = (tab, whose, wanted) =>
    tab.locator(`#talk li[data-whose="${whose}"]:last-child`, { hasText: wanted }).waitFor();
  const count = (tab) => tab.locator('#talk li').count();

  async function fill(tab, id, value) {
    await tab.fill(`#${id}`, value);
    await tab.press(`#${id}`, 'Tab');
  }

  async function write(tab, message) {
    await tab.fill('#message', message);
    await tab.press('#message', 'Enter');
    await latest(tab, 'ours', message);
  }

  test('the page goes by an id of its own', async () => {
    assert.match(await field(a, 'id'), /^\d{3}$/);
    await shows(a, 'registered', `You are ${await field(a, 'id')} here.`);
  });

  test('its link opens a tab that goes by the other id, and answers to this one', async () => {
    const link = new URL(await a.locator('#partner').getAttribute('href'), a.url());
    assert.equal(link.origin, new URL(a.url()).origin);
    b = await open('B', link.search);
    await state(b, 'ready');
    assert.equal(await field(b, 'id'), await field(a, 'to'));
    assert.equal(await field(b, 'to'), await field(a, 'id'));
  });

  test('the tabs talk', async () => {
    await fill(a, 'name', 'Ada');
    await fill(b, 'name', 'Bob <b>');
    await write(a, 'Hello from A');
    await latest(b, 'theirs', 'Hello from A');
    await latest(b, 'theirs', 'Ada');
    await write(b, '<img src=x onerror="window.injected = true">');
    await latest(a, 'theirs', '<img src=x');
    await latest(a, 'theirs', 'Bob <b>');
    assert.equal(await a.locator('#talk img, #talk b').count(), 0);
    assert.equal(await a.evaluate(() => window.injected), undefined);
  });

  test('a message has the colour of who wrote it', async () => {
    await a.locator('#color').evaluate((input) => { input.value = '#c2410c'; });
    await write(a, 'in orange');
    await latest(b, 'theirs', 'in orange');
    const color = await b.locator('#talk li:last-child').evaluate((item) => getComputedStyle(item).borderLeftColor);
    assert.equal(color, 'rgb(194, 65, 12)');
  });

  test('who takes an id over gets what is sent to it', async () => {
    const third = await open('C', `?id=${await field(b, 'id')}`);
    await state(third, 'ready');
    const before = await count(b);
    await write(a, 'to whoever it is');
    await latest(third, 'theirs', 'to whoever it is');
    assert.equal(await count(b), before);
    await third.close();
    await latest(a, 'system', 'disconnected');
    await latest(b, 'system', 'disconnected');
    // It is nobody's now, until it is taken anew.
    await fill(b, 'name', 'Bob');
    await b.locator('#registered[data-outcome="good"]').waitFor();
    await write(a, 'and now?');
    await latest(b, 'theirs', 'and now?');
  });

  test('an id is a number or a word', async () => {
    await fill(b, 'id', 'Jürgen "J"');
    await shows(b, 'registered', 'You are Jürgen "J" here.');
    await fill(a, 'to', 'Jürgen "J"');
    await write(a, 'by name');
    await latest(b, 'theirs', 'by name');
  });

  test('what the server refuses is said, and taken back', async () => {
    await fill(b, 'id', '');
    await state(b, 'refused');
    await shows(b, 'registered', 'The server refused: the id is empty.');
    assert.equal(await b.locator('#send').isDisabled(), true);
    await fill(b, 'id', '7');
    await state(b, 'ready');
    await fill(a, 'to', '7');
    await write(a, 'back again');
    await latest(b, 'theirs', 'back again');
  });

  test('how it looks', async (t) => {
    await write(b, 'Nice to read you. This one is longer, so that it is seen how a message looks that takes more than one line.');
    await latest(a, 'theirs', 'Nice to read you');
    await looks(a, stage.shots, 'chat-');
    t.diagnostic(`screenshots are in ${stage.shots}`);
  });

  test('nothing was complained about, and nothing the policy forbids was tried', async () => {
    assert.deepEqual(complaints, []);
    for (const tab of [a, b]) assert.deepEqual(await violations(tab), []);
  });

  test('after a restart of the server both are who they were, by themselves', async () => {
    assert.equal(await stage.server.stop(), 0);
    await state(a, 'waiting');
    assert.equal(await text(a, 'registered'), '');
    await stage.serve({ port: stage.server.port });
    await state(a, 'ready');
    await state(b, 'ready');
    await write(a, 'after the restart');
    await latest(b, 'theirs', 'after the restart');
    // The browser reports each attempt that failed.
    const reported = complaints.splice(0);
    assert.ok(reported.every((line) => line.includes('WebSocket connection to')), reported.join('\n'));
  });

  test('where there is no chat, the page says what to add', async () => {
    const lost = await open('lost', '?resource=/elsewhere');
    await shows(lost, 'missing-title', 'There is no chat at /elsewhere');
    assert.match(await text(lost, 'missing-row'), /^\[resources\]\n\/ = relay\n(.+\n)+\/elsewhere = chat$/);
    assert.equal(await lost.locator('#write').isVisible(), false);
    await state(lost, 'closed');
    await lost.screenshot({ path: join(stage.shots, 'chat-missing.png'), fullPage: true });
    const reported = complaints.splice(0);
    assert.ok(reported.every(isAboutMissing), reported.join('\n'));
  });
});
