/** Listening to server-sent events where no WebSocket gets through, against fakes of both and mocked timers. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeSources } from './fake-source.js';
import { fakePage } from './fake-socket.js';
import { connect, outcome, subscriber, turn, withGlobals } from './harness.js';
import { Websock } from '../websock.js';

/** A connection to the relay whose first two WebSockets were never open, so that it listens to events by now. */
function blocked(t, options = {}) {
  const sources = fakeSources();
  const connection = connect(t, { EventSource: sources.FakeSource, ...options });
  for (let attempt = 0; attempt < 2; attempt += 1) {
    assert.equal(sources.sources.length, 0);
    connection.last().end(1006);
    connection.tick(connection.push.retryIn);
  }
  assert.equal(sources.sources.length, 1);
  return { ...connection, ...sources };
}

/** The same for a page that has notifications. */
async function blockedPage(t, then = {}) {
  const sources = fakeSources();
  const connection = await subscriber(t, then, { EventSource: sources.FakeSource });
  return {
    ...connection,
    ...sources,
    block() {
      for (let attempt = 0; attempt < 2; attempt += 1) {
        connection.last().end(1006);
        connection.tick(connection.page.retryIn);
      }
    },
  };
}

test('after two WebSockets that were never open it listens to events, and the page is told as ever', async (t) => {
  const { push, states, opened, source } = blocked(t);
  assert.equal(source().url.href, 'http://push.example/sse');
  assert.equal(source().withCredentials, false);
  assert.equal(push.listening, true);
  const heard = [];
  push.on('ready', ({ uuid }) => heard.push(uuid));
  push.on('feedback', ({ message }) => heard.push(message));
  push.on('broadcast', ({ message }) => heard.push(message));
  source().greet('u-1');
  assert.equal(await push.ready, 'u-1');
  source().deliver({ opcode: 'feedback', uuid: 'u-1', message: 1 });
  source().deliver({ opcode: 'broadcast', message: 2 });
  assert.deepEqual(heard, ['u-1', 1, 2]);
  assert.equal(opened.length, 2);
  assert.deepEqual(states, ['connecting', 'waiting', 'connecting', 'waiting', 'connecting', 'ready']);
  push.close();
  assert.equal(source().readyState, 2);
});

test('nothing can be sent meanwhile, and that is said at once', async (t) => {
  const { push, source, last } = blocked(t);
  const early = push.echo('asked for before');
  assert.equal((await outcome(early)).error.code, 'listening');
  source().greet();
  assert.equal((await outcome(push.broadcast('x'))).error.code, 'listening');
  assert.deepEqual(last().sent, []);
  push.close();
});

test('what waited for a WebSocket is given back', async (t) => {
  const sources = fakeSources();
  const { push, last, tick } = connect(t, { EventSource: sources.FakeSource });
  const waiting = push.echo('a');
  for (const wait of [500, 1_000]) {
    last().end(1006);
    assert.equal(await outcome(waiting), 'pending');
    tick(wait);
  }
  sources.source().greet();
  assert.equal((await outcome(waiting)).error.code, 'listening');
  push.close();
});

test('an interrupted stream goes on under its UUID, which stays good', async (t) => {
  const { push, states, sources, source, tick } = blocked(t, { greetingTimeout: 3_000 });
  source().greet('u-1');
  states.length = 0;
  source().interrupt();
  assert.equal(push.uuid, 'u-1', 'what is sent to it is kept by the server');
  assert.equal(push.detail, 'The connection was interrupted.');
  tick(1_000);
  source().interrupt();
  source().greet('u-1');
  assert.deepEqual(states, ['waiting', 'ready']);
  assert.equal(await push.ready, 'u-1');
  // The server does not know it any more.
  const gaps = [];
  push.on('gap', ({ reason }) => gaps.push(reason));
  source().interrupt();
  source().greet('u-2');
  source().deliver({ opcode: 'gap', reason: 'restarted' }, 'gap');
  assert.equal(await push.ready, 'u-2');
  assert.deepEqual(gaps, ['restarted']);
  assert.equal(sources.length, 1);
  // The browser does not get on: another one, from where this one was.
  source().interrupt();
  tick(2_999);
  assert.equal(sources.length, 1);
  tick(1);
  assert.equal(source().readyState, 2);
  tick(push.retryIn);
  assert.equal(source().url.href, 'http://push.example/sse?lastEventId=3-id');
  push.close();
});

test('a stream that the browser gives up is made anew from where it was', (t) => {
  const { push, sources, source, tick } = blocked(t);
  source().greet('u-1');
  source().deliver({ opcode: 'broadcast', message: 1 });
  source().fail();
  assert.equal(push.state, 'waiting');
  assert.equal(push.uuid, null);
  tick(push.retryIn);
  assert.equal(sources.length, 2);
  assert.equal(source().url.searchParams.get('lastEventId'), '2-id');
  source().greet('u-1');
  assert.equal(push.uuid, 'u-1');
  push.close();
});

test('where events do not get through either, both are tried in turn', (t) => {
  const { push, opened, sources, source, last, tick } = blocked(t);
  for (let round = 1; round < 4; round += 1) {
    assert.deepEqual([opened.length, sources.length], [round + 1, round]);
    source()[round === 2 ? 'interrupt' : 'fail']();
    tick(push.retryIn);
    assert.equal(source().readyState, 2);
    last().end(1006);
    tick(push.retryIn);
  }
  push.close();
});

test('the end of a stream is told in words, and no room is a refusal', (t) => {
  const { push, source, tick } = blocked(t);
  const refusals = [];
  push.on('close', ({ error }) => refusals.push(error));
  source().greet();
  source().end(1001, 'server is stopping');
  assert.deepEqual([push.state, push.detail], ['waiting', 'The server is going away: server is stopping (1001).']);
  tick(push.retryIn);
  source().open();
  source().end(1013, 'too many connections');
  assert.deepEqual([push.state, push.detail], ['refused', 'too many connections']);
  assert.deepEqual(refusals, ['too many connections']);
  assert.notEqual(push.retryIn, null);
  push.close();
});

test('now and then a WebSocket is tried, and takes over when it is open', async (t) => {
  const { push, states, opened, source, last, tick } = blocked(t, { socketRetry: 10_000 });
  tick(5_000);
  source().greet('u-1');
  tick(9_999);
  assert.equal(opened.length, 2);
  tick(1);
  assert.equal(opened.length, 3);
  last().end(1006);
  assert.equal(push.state, 'ready', 'a failed attempt goes unseen');
  tick(10_000);
  assert.equal(opened.length, 4);
  states.length = 0;
  last().open();
  assert.equal(source().readyState, 2);
  assert.equal(push.listening, false);
  last().greet('u-2');
  assert.deepEqual([push.uuid, ...states], ['u-2', 'connecting', 'ready']);
  const echo = push.echo('x');
  assert.deepEqual(last().sent, [{ opcode: 'echo', message: 'x' }]);
  last().next();
  assert.equal((await echo).opcode, 'next');
  tick(100_000);
  assert.equal(opened.length, 4, 'no further attempts');
  push.close();
});

test('an attempt under way ends with the stream, or with the page', (t) => {
  const { push, opened, source, last, tick } = blocked(t, { socketRetry: 10_000 });
  source().greet();
  tick(10_000);
  source().interrupt();
  assert.notEqual(last().closedWith, undefined);
  last().open();
  assert.equal(push.listening, true);
  source().greet();
  tick(10_000);
  assert.equal(opened.length, 4);
  push.close();
  assert.notEqual(last().closedWith, undefined);
  last().open();
  tick(100_000);
  assert.deepEqual([push.state, opened.length], ['closed', 4]);
});

test('a network where a WebSocket got through is given more time', (t) => {
  const sources = fakeSources();
  const { push, last, opened, tick } = connect(t, { EventSource: sources.FakeSource });
  last().open();
  last().greet();
  last().end(1006);
  for (let attempt = 0; attempt < 6; attempt += 1) {
    tick(push.retryIn);
    assert.deepEqual([opened.length, sources.sources.length], [attempt + 2, 0]);
    last().end(1006);
  }
  tick(push.retryIn);
  assert.equal(sources.sources.length, 1);
  push.close();
});

test('without an implementation, or where the page wants none, there are only WebSockets', (t) => {
  for (const options of [{ EventSource: undefined }, { EventSource: fakeSources().FakeSource, events: false }]) {
    const { push, opened, last, tick } = connect(t, options);
    for (let attempt = 1; attempt < 6; attempt += 1) {
      last().end(1006);
      tick(push.retryIn);
      assert.equal(opened.length, attempt + 1);
    }
    push.close();
    t.mock.timers.reset();
    t.mock.restoreAll();
  }
});

test('where the events are', (t) => {
  for (const [url, events, expected] of [
    ['wss://push.example:8443/web?x=1', undefined, 'https://push.example:8443/sse'],
    ['ws://push.example/a/web', 'events?domain=d', 'http://push.example/a/events?domain=d'],
    ['ws://push.example/web', 'https://other.example/sse', 'https://other.example/sse'],
  ]) {
    const { push, source } = blocked(t, { url, events, withCredentials: true });
    assert.equal(source().url.href, expected);
    assert.equal(source().withCredentials, true);
    push.close();
    t.mock.timers.reset();
    t.mock.restoreAll();
  }
  assert.throws(() => new Websock('ws://a/', { WebSocket: class {}, events: 'ftp://a/' }), /not a URL of a stream/);
});

test('when the network is back the stream is made anew', (t) => {
  const page = fakePage();
  withGlobals(t, page.globals);
  const { push, sources, source } = blocked(t);
  source().greet('u-1');
  page.visibility('visible');
  assert.equal(sources.length, 1);
  page.online();
  assert.equal(sources.length, 2);
  assert.equal(sources[0].readyState, 2);
  assert.equal(source().url.searchParams.get('lastEventId'), '1-id');
  source().greet('u-1');
  assert.equal(push.uuid, 'u-1');
  push.close();
});

// -- notifications -----------------------------------------------------------------------------------------------------

const TAKEN = { header: { type: 'init', status: 'OK' } };

test('what a page wants is said in the URL, and a change of it opens another stream where this one was', async (t) => {
  const { page, told, block, sources, source } = await blockedPage(t);
  page.initSvc({ domain: 'd', token: 't&', channels: ['a,b', 'c'] });
  await turn();
  block();
  assert.equal(source().url.search, '?domain=d&token=t%26&channel=a%2Cb&channel=c');
  told.length = 0;
  source().greet();
  assert.deepEqual(told, ['open']);
  source().deliver(TAKEN);
  source().deliver({ opcode: 'broadcast', message: 'for the relay' });
  source().deliver({ header: { type: 'message' }, body: 5 });
  assert.deepEqual(told, ['open', 'ready', 'init', ['data', 5]]);
  assert.equal(page.listening, true);
  page.setToken('t&');
  await turn();
  assert.equal(sources.length, 1, 'nothing has changed');
  page.setToken('u');
  page.setChannels([]);
  await turn();
  assert.equal(sources.length, 2);
  assert.equal(sources[0].readyState, 2);
  assert.equal(source().url.search, '?domain=d&token=u&lastEventId=4-id');
  source().greet();
  source().deliver(TAKEN);
  assert.equal(page.state, 'ready');
  page.close();
});

test('a page that says what it wants when it is connected is heard', async (t) => {
  const { page, told, block, sources, source } = await blockedPage(t, {
    open() { this.initSvc({ token: 'mine' }); },
  });
  block();
  assert.equal(source().url.search, '');
  source().greet();
  await turn();
  assert.equal(sources.length, 2);
  assert.equal(source().url.search, '?domain=&token=mine&lastEventId=1-id');
  source().greet();
  await turn();
  source().deliver(TAKEN);
  await turn();
  assert.equal(sources.length, 2);
  assert.equal(told.at(-1), 'init');
  page.close();
});

test('an interrupted page is told when it is back, and of a gap', async (t) => {
  const gaps = [];
  const { page, told, block, source } = await blockedPage(t);
  page.onGap = (reason) => gaps.push(reason);
  page.initSvc({ token: 'x' });
  await turn();
  block();
  source().greet();
  source().deliver(TAKEN);
  told.length = 0;
  source().interrupt();
  source().greet();
  source().deliver(TAKEN);
  source().deliver({ opcode: 'gap', reason: 'restarted' }, 'gap');
  assert.deepEqual(told, ['waiting', 'open', 'ready', 'init']);
  assert.deepEqual(gaps, ['restarted']);
  page.close();
});

test('when a WebSocket gets through again, what is wanted is said there', async (t) => {
  const { page, block, source, last, tick } = await blockedPage(t);
  page.initSvc({ token: 'x' });
  await turn();
  block();
  source().greet();
  source().deliver(TAKEN);
  tick(30_000);
  last().open();
  await turn();
  assert.deepEqual(last().sent.map(({ body }) => body), [{ domain: '', token: 'x', channels: [] }]);
  last().taken();
  assert.deepEqual([page.state, page.listening], ['ready', false]);
  page.close();
});
