/** Notifications against a fake socket and mocked timers: what is said, when, and what the page is told. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakePage } from './fake-socket.js';
import { subscriber, turn, withGlobals } from './harness.js';
import DefaultExport, { cookieValue, WebNtf } from '../webntf.js';

const KIM = { domain: 'shop.example', token: 'kim', channels: ['news', 'orders'] };

const init = (body) => ({ header: { type: 'init', target: 'svc/webntf', acks: true }, body: { domain: '', token: '', channels: [], ...body } });
const notification = (body) => ({ header: { type: 'message' }, body });

/** Connected, and what KIM wants taken. */
async function subscribed(t, then, options) {
  const all = await subscriber(t, then, options);
  all.page.initSvc(KIM);
  all.last().open();
  await turn();
  all.last().taken();
  return all;
}

test('what is wanted is said on connecting, and notifications come in', async (t) => {
  const { page, told, last } = await subscriber(t);
  assert.equal(last().url, 'ws://push.example/webntf');
  page.initSvc(KIM);
  await turn();
  assert.deepEqual(last().sent, [], 'not before it is connected');
  last().open();
  assert.deepEqual(told, ['connecting', 'open']);
  await turn();
  assert.deepEqual(last().sent, [init(KIM)]);
  last().taken();
  assert.equal(page.state, 'ready');
  for (const message of ['text', { progress: 40 }, null, 0, [false]]) last().deliver(notification(message));
  assert.deepEqual(told, [
    'connecting', 'open', 'ready', 'init',
    ['data', 'text'], ['data', { progress: 40 }], ['data', null], ['data', 0], ['data', [false]],
  ]);
  page.close();
});

test('a notification that its sender waits for is confirmed when the page has it', async (t) => {
  const { page, told, last } = await subscribed(t);
  last().deliver({ header: { type: 'message', ack: '0123456789abcdef' }, body: 1 });
  assert.deepEqual(last().sent.at(-1), { header: { type: 'ack', id: '0123456789abcdef' } });
  assert.deepEqual(told.at(-1), ['data', 1]);
  page.close();
});

test('a page that is closed by what it is told confirms nothing', async (t) => {
  const { last } = await subscribed(t, { data() { this.close(); } });
  const before = last().sent.length;
  last().deliver({ header: { type: 'message', ack: '0123456789abcdef' }, body: 1 });
  assert.equal(last().sent.length, before);
});

test('it can be said as late as one likes, or in onOpen', async (t) => {
  const { page, last, tick } = await subscriber(t);
  last().open();
  tick(10 ** 6);
  await turn();
  assert.deepEqual(last().sent, []);
  assert.equal(page.state, 'connecting');
  page.initSvc({ channels: ['news'] });
  await turn();
  last().taken();
  assert.deepEqual(last().sent, [init({ channels: ['news'] })]);
  assert.equal(page.state, 'ready');
  page.close();
  t.mock.timers.reset();
  t.mock.restoreAll();

  const other = await subscriber(t, { open() { this.initSvc(KIM); } });
  other.last().open();
  await turn();
  assert.deepEqual(other.last().sent, [init(KIM)], 'once');
  other.page.close();
});

test('after a reconnect it is said again, by itself', async (t) => {
  const { page, told, last, opened, tick } = await subscribed(t);
  last().end(1001);
  assert.equal(page.detail, 'The server is going away (1001).');
  tick(500);
  assert.equal(opened.length, 2);
  last().open();
  await turn();
  assert.deepEqual(last().sent, [init(KIM)]);
  last().taken();
  last().deliver(notification('again'));
  assert.deepEqual(told.slice(4), ['waiting', 'connecting', 'open', 'ready', 'init', ['data', 'again']]);
  page.close();
});

test('onOpen may change what is said, such as a token that has expired', async (t) => {
  let number = 0;
  const { page, last, tick } = await subscribed(t, { open() { this.setToken(`token-${number += 1}`); } });
  assert.deepEqual(last().sent, [init({ ...KIM, token: 'token-1' })]);
  last().end();
  tick(500);
  last().open();
  await turn();
  assert.deepEqual(last().sent, [init({ ...KIM, token: 'token-2' })]);
  page.close();
});

test('a change is said at once, and what is changed together is said together', async (t) => {
  const { page, told, last } = await subscribed(t);
  page.setToken('lee');
  await turn();
  last().taken();
  page.setChannels(['alerts']);
  page.setToken('max');
  page.initSvc({ domain: 'other.example' });
  await turn();
  last().taken();
  assert.deepEqual(last().sent.slice(1), [
    init({ ...KIM, token: 'lee' }),
    init({ domain: 'other.example', token: 'max', channels: ['alerts'] }),
  ]);
  assert.deepEqual(told, ['connecting', 'open', 'ready', 'init', 'init', 'init']);
  assert.deepEqual([page.domain, page.token, page.channels], ['other.example', 'max', ['alerts']]);
  page.close();
});

test('a change before the answer is said after it, and the answer is not told', async (t) => {
  const { page, told, last } = await subscriber(t);
  page.initSvc(KIM);
  last().open();
  await turn();
  page.setToken('lee');
  await turn();
  assert.equal(last().sent.length, 1);
  last().taken('a name of more than 256 bytes');
  assert.deepEqual(last().sent[1], init({ ...KIM, token: 'lee' }));
  assert.deepEqual(told, ['connecting', 'open']);
  last().taken();
  assert.deepEqual(told, ['connecting', 'open', 'ready', 'init']);
  page.close();
});

test('a token and channels may be there before they are asked for', async (t) => {
  const { page, last } = await subscriber(t);
  page.setToken('kim');
  page.setChannels(['news']);
  last().open();
  await turn();
  assert.deepEqual(last().sent, [], 'initSvc says that it is all');
  page.initSvc();
  await turn();
  assert.deepEqual(last().sent, [init({ token: 'kim', channels: ['news'] })]);
  page.close();
});

test("a refusal reaches the page in the server's words, and another wish is another chance", async (t) => {
  const { page, told, last, opened, tick } = await subscriber(t);
  page.initSvc({ channels: ['x'.repeat(300)] });
  last().open();
  await turn();
  last().taken('a name of more than 256 bytes');
  assert.deepEqual([page.state, page.detail, page.retryIn], ['refused', 'a name of more than 256 bytes', null]);
  tick(10 ** 6);
  assert.equal(opened.length, 1, 'the connection is kept, and not given up');
  page.setChannels(['x']);
  await turn();
  last().taken();
  assert.deepEqual(told, ['connecting', 'open', 'refused', 'ready', 'init']);

  page.setToken('');
  await turn();
  last().deliver({ header: { type: 'init', status: 'ERROR' } });
  assert.equal(page.detail, 'The server refused it.');
  last().deliver(notification('what was taken before stays'));
  assert.deepEqual(told.at(-1), ['data', 'what was taken before stays']);
  page.close();
});

test('a refusal that nobody looks for is a warning', async (t) => {
  const warned = t.mock.method(console, 'warn', () => {});
  const { FakeSocket, last } = (await subscriber(t));
  const plain = new WebNtf('ws://push.example/', { WebSocket: FakeSocket });
  plain.initSvc();
  await turn();
  last().open();
  await turn();
  last().taken('more than 1000 channels');
  assert.deepEqual(warned.mock.calls.map((call) => call.arguments[0]), ['websock: more than 1000 channels']);
  last().taken();
  last().deliver(notification('to nobody'));
  plain.close();
});

test('a connection too many is told why, and tried again', async (t) => {
  const { page, last, opened, tick } = await subscriber(t);
  page.initSvc(KIM);
  last().open();
  last().deliver({ opcode: 'close', error: 'too many connections from your address' });
  assert.deepEqual([page.state, page.detail, page.retryIn], ['refused', 'too many connections from your address', 500]);
  await turn();
  tick(500);
  assert.equal(opened.length, 2);
  page.close();
});

test('a server that does not answer is given up', async (t) => {
  const { page, last, tick } = await subscriber(t, {}, { greetingTimeout: 3_000, ackTimeout: 4_000 });
  page.initSvc(KIM);
  tick(2_999);
  last().open();
  await turn();
  tick(1);
  assert.equal(page.detail, 'The server sent no greeting within 3 s.');
  tick(500);
  last().open();
  await turn();
  last().taken();
  page.setToken('lee');
  await turn();
  tick(3_999);
  assert.equal(page.state, 'ready');
  tick(1);
  assert.equal(page.state, 'waiting');
  assert.equal(page.detail, 'The server did not answer within 4 s.');
  page.close();
});

test('on waking up, what is wanted is said again to see whether anyone is there', async (t) => {
  const window = fakePage();
  withGlobals(t, window.globals);
  const { page, told, last, tick } = await subscribed(t, {}, { checkTimeout: 2_000 });
  window.visibility('visible');
  window.online();
  assert.deepEqual(last().sent.slice(1), [init(KIM)], 'asked once at a time');
  last().taken();
  tick(2_000);
  assert.equal(page.state, 'ready');
  assert.equal(told.filter((name) => name === 'init').length, 1, 'nothing was changed, so nothing is told');

  // A change that is about to be said is told, although the page wakes up before it is.
  page.setToken('lee');
  window.online();
  await turn();
  last().taken();
  assert.equal(told.filter((name) => name === 'init').length, 2);

  window.online();
  tick(2_000);
  assert.equal(page.state, 'waiting');
  page.close();
  assert.equal(window.listeners('online'), 0);
});

test('close is the end, from within any method too', async (t) => {
  for (const [when, expected] of [
    ['connecting', ['connecting', 'closed']],
    ['open', ['connecting', 'open', 'closed']],
    ['ready', ['connecting', 'open', 'ready', 'closed']],
    ['init', ['connecting', 'open', 'ready', 'init', 'closed']],
  ]) {
    const { page, told, last, opened, tick } = await subscriber(t, { [when]() { this.close(); } });
    page.initSvc(KIM);
    last()?.open();
    await turn();
    last()?.taken();
    last()?.deliver(notification('too late'));
    tick(10 ** 6);
    await turn();
    assert.deepEqual(told, expected, when);
    assert.ok(opened.length <= 1, when);
    t.mock.timers.reset();
    t.mock.restoreAll();
  }
});

test('close in the turn of its making opens no socket', async (t) => {
  const { FakeSocket, opened } = await subscriber(t);
  const before = opened.length;
  const page = new WebNtf('ws://push.example/', { WebSocket: FakeSocket });
  page.close();
  page.initSvc();
  await turn();
  assert.equal(opened.length, before);
  assert.equal(page.state, 'closed');
});

test('a method that throws is reported, and the connection goes on', async (t) => {
  const reported = t.mock.method(console, 'error', () => {});
  const fail = () => { throw new Error('the page'); };
  const { page, told, last } = await subscribed(t, { connecting: fail, open: fail, ready: fail, init: fail, data: fail });
  last().deliver(notification(1));
  last().deliver(notification(2));
  assert.deepEqual(told, ['connecting', 'open', 'ready', 'init', ['data', 1], ['data', 2]]);
  assert.equal(reported.mock.callCount(), 6);
  page.close();
});

test('what is not of the service is dropped, with a warning, and an answer to nothing without', async (t) => {
  const warned = t.mock.method(console, 'warn', () => {});
  const { page, told, last } = await subscribed(t);
  const before = told.length;
  for (const packet of ['{', 'null', '[]', '7', '{}', '{"header":null}', '{"header":{"type":"other"}}', '{"opcode":"ready"}']) {
    last().deliver(packet);
  }
  last().deliverBinary(new ArrayBuffer(3));
  assert.equal(warned.mock.callCount(), 9);
  last().taken();
  last().taken('too late');
  assert.equal(told.length, before);
  assert.equal(page.state, 'ready');
  page.close();
});

test('what can not be wanted is said at once, and changes nothing', async (t) => {
  const { page } = await subscriber(t);
  page.initSvc(KIM);
  for (const [wanted, why] of [
    [{ token: 7 }, /token must be a string/], [{ token: null }, /token must be a string/], [{ domain: {} }, /domain/],
    [{ channels: 'news' }, /channels must be an array/], [{ channels: [''] }, /not empty/], [{ channels: [1] }, /channels/],
    [{ token: 'lee', channel: 'news' }, /unknown part channel/], [{ toString: '' }, /unknown part toString/], [null, TypeError],
  ]) {
    assert.throws(() => page.initSvc(wanted), why);
  }
  assert.throws(() => page.setToken(undefined ?? 7), TypeError);
  assert.deepEqual([page.domain, page.token, page.channels], [KIM.domain, KIM.token, KIM.channels]);
  page.channels.push('changed from outside');
  assert.deepEqual(page.channels, KIM.channels);
  const channels = ['news'];
  page.setChannels(channels);
  channels.push('later');
  assert.deepEqual(page.channels, ['news']);
  assert.throws(() => new WebNtf('ws://push.example/', { resend: true }), /unknown option resend/);
  assert.equal(DefaultExport, WebNtf);
  page.close();
});

test('a cookie is found by its whole name', (t) => {
  const cookies = 'a=1; PHPSESSID=abc; user=M%C3%BCller%3B; user=second; broken=100%; empty=; eq=a=b=; flag; b =2;x=3; $^.*=4';
  for (const [name, value] of [
    ['a', '1'], ['PHPSESSID', 'abc'], ['user', 'Müller;'], ['broken', '100%'], ['empty', ''], ['eq', 'a=b='], ['b', '2'],
    ['x', '3'], ['$^.*', '4'],
    ['phpsessid', null], ['SESSID', null], ['MYPHPSESSID', null], ['flag', null], ['', null], ['.', null], ['c', null],
  ]) {
    assert.equal(cookieValue(name, cookies), value, name);
  }
  assert.equal(cookieValue('a', ''), null);
  assert.equal(cookieValue('a'), null, 'no page, no cookies');
  withGlobals(t, { document: { cookie: 'token=from-the-page' } });
  assert.equal(cookieValue('token'), 'from-the-page');
});
