/** Connecting, being refused, losing the connection and getting it back, against a fake socket and mocked timers. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakePage, fakeSockets } from './fake-socket.js';
import { connect, outcome, withGlobals } from './harness.js';
import DefaultExport, { Websock } from '../websock.js';

test('the greeting makes it ready, with a UUID', async (t) => {
  const { push, states, last } = connect(t);
  assert.equal(push.uuid, null);
  assert.equal(await outcome(push.ready), 'pending');
  const greetings = [];
  push.on('ready', (packet) => greetings.push(packet));
  const early = push.ready;
  last().deliver({ opcode: 'ready', uuid: 'u-1', server: 'websock' });
  assert.equal(await early, 'u-1');
  assert.equal(await push.ready, 'u-1');
  assert.equal(push.uuid, 'u-1');
  assert.deepEqual(states, ['connecting', 'ready']);
  assert.deepEqual(greetings, [{ opcode: 'ready', uuid: 'u-1', server: 'websock' }]);
  push.close();
});

test('a lost connection is made again, and has another UUID', async (t) => {
  const { push, states, opened, last, tick } = connect(t);
  const uuids = [];
  push.on('ready', ({ uuid }) => uuids.push(uuid));
  last().greet('u-1');
  last().end(1006);
  assert.equal(push.uuid, null);
  assert.equal(push.detail, 'The connection was lost.');
  assert.equal(push.retryIn, 500);
  const next = push.ready;
  assert.equal(await outcome(next), 'pending');
  tick(499);
  assert.equal(opened.length, 1);
  tick(1);
  assert.equal(opened.length, 2);
  last().greet('u-2');
  assert.equal(await next, 'u-2');
  assert.deepEqual(uuids, ['u-1', 'u-2']);
  assert.deepEqual(states, ['connecting', 'ready', 'waiting', 'connecting', 'ready']);
  push.close();
});

test('the wait doubles up to the cap, and starts over after a stable connection', (t) => {
  const { push, last, tick } = connect(t, { retryBase: 100, retryCap: 1_000, stableAfter: 5_000 });
  const waits = [];
  for (let attempt = 0; attempt < 6; attempt += 1) {
    last().end(1006);
    waits.push(push.retryIn);
    tick(push.retryIn);
  }
  assert.deepEqual(waits, [100, 200, 400, 800, 1_000, 1_000]);

  last().greet();
  tick(4_999);
  last().end(1001);
  assert.equal(push.retryIn, 1_000, 'a connection that did not last counts as a failure');
  tick(1_000);
  last().greet();
  tick(5_000);
  last().end(1001);
  assert.equal(push.retryIn, 100);
  push.close();
});

test('the whole wait is random', (t) => {
  for (const [random, wait] of [[0, 0], [0.25, 125], [1, 500]]) {
    const { push, last, opened, tick } = connect(t, { random });
    last().end(1006);
    assert.equal(push.retryIn, wait);
    tick(wait);
    assert.equal(opened.length, 2);
    push.close();
    t.mock.timers.reset();
    t.mock.restoreAll();
  }
});

test('a base of 0 never waits, however often it fails', (t) => {
  const { push, last, tick } = connect(t, { retryBase: 0 });
  for (let attempt = 0; attempt < 1_100; attempt += 1) {
    last().end(1006);
    assert.equal(push.retryIn, 0);
    tick(1);
  }
  push.close();
});

test('a refusal is shown until the next attempt', (t) => {
  const { push, states, last, opened, tick } = connect(t);
  const refusals = [];
  push.on('close', (packet) => refusals.push(packet));
  last().deliver({ opcode: 'close', error: 'too many connections from your address' });
  last().end(1013);
  assert.equal(push.state, 'refused');
  assert.equal(push.detail, 'too many connections from your address');
  assert.equal(push.retryIn, 500);
  assert.equal(refusals.length, 1);
  tick(500);
  assert.equal(opened.length, 2);
  last().deliver({ opcode: 'close' });
  assert.equal(push.detail, 'The server refused this connection.');
  assert.equal(push.retryIn, 1_000);
  assert.deepEqual(states, ['connecting', 'refused', 'connecting', 'refused']);
  push.close();
});

test('a close frame is told in words', (t) => {
  const { push, last, tick } = connect(t);
  for (const [code, reason, detail] of [
    [1006, '', 'The server could not be reached.'],
    [1001, '', 'The server is going away (1001).'],
    [1013, 'too slow', 'The server is too busy: too slow (1013).'],
    [1008, 'too many messages', 'The server closed the connection: too many messages (1008).'],
  ]) {
    last().end(code, reason);
    assert.equal(push.detail, detail);
    tick(push.retryIn);
  }
  push.close();
});

test('no greeting in time: given up and tried again', (t) => {
  const { push, states, opened, last, tick } = connect(t, { greetingTimeout: 3_000 });
  const mute = last();
  tick(2_999);
  assert.equal(push.state, 'connecting');
  tick(1);
  assert.equal(push.state, 'waiting');
  assert.equal(push.detail, 'The server sent no greeting within 3 s.');
  assert.notEqual(mute.closedWith, undefined);
  tick(500);
  assert.equal(opened.length, 2);
  mute.greet('too late');
  mute.end(1006);
  assert.equal(push.uuid, null);
  assert.deepEqual(states, ['connecting', 'waiting', 'connecting']);
  last().greet('u-2');
  assert.equal(push.uuid, 'u-2');
  push.close();
});

test('a time limit of 0 is none', (t) => {
  const { push, opened, last, tick } = connect(t, { greetingTimeout: 0, ackTimeout: 0 });
  tick(10 ** 9);
  assert.equal(push.state, 'connecting');
  last().greet();
  push.echo('a');
  tick(10 ** 9);
  assert.equal(push.state, 'ready');
  assert.equal(opened.length, 1);
  push.close();
});

test('a socket that can not even be made is a failed attempt', (t) => {
  const { FakeSocket, opened } = fakeSockets();
  let failures = 2;
  function Reluctant(url) {
    if (failures-- > 0) throw new Error('not from a secure page');
    return new FakeSocket(url);
  }
  const { push, tick } = connect(t, { WebSocket: Reluctant });
  assert.equal(push.state, 'waiting');
  assert.match(push.detail, /not from a secure page/);
  tick(500);
  tick(1_000);
  assert.equal(opened.length, 1);
  push.close();
});

test('the network coming back, or the tab, ends the wait', (t) => {
  const page = fakePage();
  withGlobals(t, page.globals);
  const { push, last, opened } = connect(t);
  last().end(1006);
  page.visibility('hidden');
  assert.equal(opened.length, 1);
  page.visibility('visible');
  assert.equal(opened.length, 2);
  page.online();
  assert.equal(opened.length, 2, 'an attempt is under way');
  page.visibility('hidden');
  last().end(1006);
  page.online();
  assert.equal(opened.length, 3, 'in a hidden tab too');
  push.close();
  assert.equal(page.listeners('online'), 0);
  assert.equal(page.listeners('visibilitychange'), 0);
  page.online();
  assert.equal(opened.length, 3);
});

test('on waking up, a connection that only looks alive is found out', (t) => {
  const page = fakePage();
  withGlobals(t, page.globals);
  const { push, last, tick } = connect(t, { checkTimeout: 2_000 });
  last().greet();
  page.visibility('visible');
  page.visibility('visible');
  assert.deepEqual(last().sent, [{ opcode: 'check' }], 'asked once at a time');
  last().next();
  tick(2_000);
  assert.equal(push.state, 'ready');
  page.online();
  tick(2_000);
  assert.equal(push.state, 'waiting');
  assert.equal(push.detail, 'The server did not acknowledge a message within 2 s.');
  tick(500);
  last().greet();
  assert.deepEqual(last().sent, [], 'the question is not asked again');
  push.close();
});

test('close is the end', async (t) => {
  const { push, states, opened, last, tick } = connect(t);
  last().greet();
  push.close();
  push.close();
  assert.equal(last().closedWith, 1000);
  last().end(1000);
  tick(1_000_000);
  assert.equal(opened.length, 1);
  assert.deepEqual(states, ['connecting', 'ready', 'closed']);
  assert.equal((await outcome(push.ready)).error.code, 'closed');
});

test('close while waiting, and before anyone asked for ready', async (t) => {
  const { push, opened, last, tick } = connect(t);
  last().end(1006);
  push.close();
  tick(1_000_000);
  assert.equal(opened.length, 1);
  assert.equal((await outcome(push.ready)).error.code, 'closed');
});

test('close from within a handler', (t) => {
  for (const [when, play] of [
    ['waiting', (socket) => socket.end(1006)],
    ['ready', (socket) => socket.greet()],
    ['refused', (socket) => socket.deliver({ opcode: 'close', error: 'full' })],
  ]) {
    const { push, opened, last, tick } = connect(t);
    const heard = [];
    push.on('*', (packet) => heard.push(packet));
    push.on('state', ({ state }) => state === when && push.close());
    play(last());
    tick(1_000_000);
    assert.equal(push.state, 'closed', when);
    assert.equal(opened.length, 1, when);
    assert.deepEqual(heard, [], when);
    t.mock.timers.reset();
    t.mock.restoreAll();
  }
});

test('close in the state `connecting` of a later attempt opens no socket', (t) => {
  const { push, opened, last, tick } = connect(t);
  push.on('state', ({ state }) => state === 'connecting' && push.close());
  last().end(1006);
  tick(500);
  assert.equal(push.state, 'closed');
  assert.equal(opened.length, 1);
});

test('URLs', (t) => {
  const location = {};
  withGlobals(t, { location });
  const urlFrom = (href, ...given) => {
    location.href = href;
    const { FakeSocket } = fakeSockets();
    const push = new Websock(...given, { WebSocket: FakeSocket });
    push.close();
    return push.url;
  };
  assert.equal(urlFrom('http://page.example/shop/cart', '/web'), 'ws://page.example/web');
  assert.equal(urlFrom('https://page.example/shop/cart?a#b', '/web'), 'wss://page.example/web');
  assert.equal(urlFrom('https://page.example:8443/', undefined), 'wss://page.example:8443/web');
  assert.equal(urlFrom('https://page.example/', '//push.example/web?a=1#part'), 'wss://push.example/web?a=1');
  assert.equal(urlFrom('https://page.example/', 'ws://push.example:8096/web'), 'ws://push.example:8096/web');
  assert.equal(urlFrom('https://page.example/', 'http://push.example/web'), 'ws://push.example/web');
  assert.equal(urlFrom('https://page.example/', new URL('wss://push.example/web')), 'wss://push.example/web');
  assert.throws(() => urlFrom('https://page.example/', 'ftp://push.example/'), /not a WebSocket URL/);
  assert.throws(() => urlFrom('https://page.example/', 'ws://'), /not a URL/);
});

test('what can not be used is said at once', (t) => {
  const { FakeSocket } = fakeSockets();
  assert.throws(() => new Websock('/web', { WebSocket: FakeSocket }), /not an absolute URL/);
  assert.throws(() => new Websock('ws://push.example/', { WebSocket: FakeSocket, retries: 3 }), /unknown option retries/);
  assert.throws(() => new Websock('ws://push.example/', { WebSocket: FakeSocket, ackTimeout: -1 }), /ackTimeout/);
  assert.throws(() => new Websock('ws://push.example/', { WebSocket: FakeSocket, ackTimeout: 2 ** 31 }), /ackTimeout/);
  withGlobals(t, { WebSocket: undefined });
  assert.throws(() => new Websock('ws://push.example/'), /no global WebSocket/);
  assert.equal(DefaultExport, Websock);
});

test('the global WebSocket is the default', (t) => {
  const { FakeSocket, opened } = fakeSockets();
  withGlobals(t, { WebSocket: FakeSocket });
  const push = new Websock('ws://push.example/');
  assert.equal(opened.length, 1);
  push.close();
});
