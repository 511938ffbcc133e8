/** Handlers, the acknowledgement queue, and what becomes of messages when the connection is lost. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, outcome, withGlobals } from './harness.js';
import { WebsockError } from '../websock.js';

const messagesOf = (socket) => socket.sent.map(({ message }) => message);

test('packets go to the handlers of their opcode, and to all', (t) => {
  const { push, last } = connect(t);
  const heard = [];
  push.on('feedback', (packet) => heard.push(['feedback', packet.message, packet.from]));
  push.on('form-lock', (packet) => heard.push(['form-lock', packet.id]));
  push.on('*', (packet) => heard.push(['*', packet.opcode]));
  last().greet();
  last().deliver({ opcode: 'feedback', message: { progress: 40 }, from: 'shop' });
  last().deliver({ opcode: 'form-lock', id: 7 });
  last().deliver({ opcode: 'unheard-of' });
  assert.deepEqual(heard, [
    ['*', 'ready'],
    ['feedback', { progress: 40 }, 'shop'], ['*', 'feedback'],
    ['form-lock', 7], ['*', 'form-lock'],
    ['*', 'unheard-of'],
  ]);
  push.close();
});

test('a packet named like an event of ours goes to * alone', (t) => {
  const { push, last, states } = connect(t);
  const all = [];
  push.on('*', (packet) => all.push(packet.opcode));
  last().greet();
  last().deliver({ opcode: 'state', state: 'closed' });
  last().deliver({ opcode: '*' });
  assert.deepEqual(states, ['connecting', 'ready']);
  assert.deepEqual(all, ['ready', 'state', '*']);
  push.close();
});

test('off takes away its own handler only', (t) => {
  const { push, last } = connect(t);
  let calls = 0;
  const handler = () => { calls += 1; };
  const off = push.on('echo', handler);
  push.on('echo', handler);
  last().greet();
  last().deliver({ opcode: 'echo', message: 1 });
  assert.equal(calls, 2);
  off();
  off();
  last().deliver({ opcode: 'echo', message: 2 });
  assert.equal(calls, 3);
  assert.throws(() => push.on('echo', 'not a function'), TypeError);
  push.close();
});

test('a handler that is added while a packet is handled hears the next one', (t) => {
  const { push, last } = connect(t);
  const late = [];
  const off = push.on('echo', () => {
    off();
    push.on('echo', ({ message }) => late.push(message));
  });
  last().greet();
  last().deliver({ opcode: 'echo', message: 1 });
  last().deliver({ opcode: 'echo', message: 2 });
  assert.deepEqual(late, [2]);
  push.close();
});

test('a handler that throws is reported and disturbs no other', (t) => {
  const { push, last } = connect(t);
  const reported = t.mock.method(console, 'error', () => {});
  const heard = [];
  push.on('feedback', () => { throw new Error('first'); });
  push.on('feedback', ({ message }) => heard.push(message));
  last().greet();
  last().deliver({ opcode: 'feedback', message: 'a' });
  assert.equal(reported.mock.callCount(), 1);
  assert.equal(reported.mock.calls[0].arguments[0].message, 'first');

  const reportError = t.mock.fn();
  withGlobals(t, { reportError });
  last().deliver({ opcode: 'feedback', message: 'b' });
  assert.equal(reportError.mock.callCount(), 1);
  assert.deepEqual(heard, ['a', 'b']);
  push.close();
});

test('what is not a packet is dropped, with a warning', (t) => {
  const { push, last } = connect(t);
  const warned = t.mock.method(console, 'warn', () => {});
  const heard = [];
  push.on('*', (packet) => heard.push(packet));
  last().greet();
  for (const text of ['{', 'bufferON', 'null', '[]', '7', '{"message":1}', '{"opcode":7}']) last().deliver(text);
  last().deliverBinary(new ArrayBuffer(3));
  assert.equal(warned.mock.callCount(), 8);
  assert.equal(heard.length, 1);
  assert.equal(push.state, 'ready');
  push.close();
});

test('the next message goes out once the one before is acknowledged', async (t) => {
  const { push, last } = connect(t);
  const first = push.feedback('one', { uuid: 'other', fromUUID: 'me' });
  const second = push.broadcast('two', { from: 'page' });
  const third = push.echo('three');
  assert.deepEqual(last().sent, [], 'nothing before the greeting');
  last().greet();
  assert.deepEqual(last().sent, [{ opcode: 'feedback', uuid: 'other', fromUUID: 'me', message: 'one' }]);
  last().next({ delivered: 0 });
  assert.equal((await first).delivered, 0);
  assert.deepEqual(last().sent[1], { opcode: 'broadcast', from: 'page', message: 'two' });
  assert.equal(await outcome(second), 'pending');
  last().next({ delivered: 0, error: 'browsers may not broadcast here' });
  assert.deepEqual(await second, { opcode: 'next', fyi: '', delivered: 0, error: 'browsers may not broadcast here' });
  last().deliver({ opcode: 'echo', message: 'not an acknowledgement' });
  assert.equal(await outcome(third), 'pending');
  last().next();
  assert.equal((await third).delivered, undefined);
  last().next();
  push.close();
});

test('extra members do not overrule what the method says', (t) => {
  const { push, last } = connect(t);
  last().greet();
  push.broadcast('mine', { opcode: 'quit', message: 'theirs' });
  assert.deepEqual(last().sent, [{ opcode: 'broadcast', message: 'mine' }]);
  push.close();
});

test('what could never be sent is rejected and sends nothing', async (t) => {
  const { push, last } = connect(t);
  last().greet();
  const circle = { opcode: 'x' };
  circle.circle = circle;
  for (const promise of [
    push.send(null), push.send('bufferON'), push.send({}), push.send({ opcode: '' }), push.send(circle),
    push.send({ opcode: 'x', message: 1n }), push.feedback('to nobody'), push.feedback('to nobody', { ident: '' }),
  ]) {
    assert.ok((await outcome(promise)).error instanceof TypeError);
  }
  assert.deepEqual(last().sent, []);
  push.close();
});

test('the queue has a limit', async (t) => {
  const { push, last } = connect(t, { queueLimit: 2 });
  const promises = ['a', 'b', 'c'].map((message) => push.echo(message));
  const { error } = await outcome(promises[2]);
  assert.ok(error instanceof WebsockError);
  assert.equal(error.code, 'full');
  last().greet();
  last().next();
  last().next();
  await Promise.all(promises.slice(0, 2));
  assert.deepEqual(messagesOf(last()), ['a', 'b']);
  push.close();
});

test('a reconnect keeps what was not sent, and gives back what was', async (t) => {
  const { push, last, tick } = connect(t);
  last().greet();
  const [first, second, third] = ['a', 'b', 'c'].map((message) => push.echo(message));
  last().next();
  last().end(1006);
  assert.equal((await first).opcode, 'next');
  assert.equal((await outcome(second)).error.code, 'unacknowledged');
  tick(500);
  last().greet();
  assert.deepEqual(messagesOf(last()), ['c']);
  last().next();
  assert.equal((await third).opcode, 'next');
  push.close();
});

test('with `resend` it is sent again, in its place, once', async (t) => {
  const { push, last, tick } = connect(t, { resend: true });
  last().greet();
  const [first, second] = ['a', 'b'].map((message) => push.echo(message));
  last().end(1006);
  tick(500);
  last().greet();
  assert.deepEqual(messagesOf(last()), ['a']);
  last().end(1009, 'too big');
  assert.equal((await outcome(first)).error.code, 'unacknowledged');
  tick(1_000);
  last().greet();
  assert.deepEqual(messagesOf(last()), ['b']);
  last().next();
  await second;
  push.close();
});

test('an acknowledgement that does not come ends the connection', async (t) => {
  const { push, last, tick } = connect(t, { ackTimeout: 4_000 });
  last().greet();
  const promise = push.echo('a');
  tick(3_999);
  assert.equal(push.state, 'ready');
  tick(1);
  assert.equal(push.state, 'waiting');
  assert.equal(push.detail, 'The server did not acknowledge a message within 4 s.');
  assert.equal((await outcome(promise)).error.code, 'unacknowledged');
  push.close();
});

test('a message that is still going out has time', (t) => {
  const { push, last, tick } = connect(t, { ackTimeout: 4_000 });
  last().greet();
  push.echo('very long');
  for (const left of [300_000, 200_000, 100_000]) {
    last().bufferedAmount = left;
    tick(4_000);
    assert.equal(push.state, 'ready');
  }
  tick(4_000);
  assert.equal(push.state, 'waiting', 'it got on no further');
  push.close();
});

test('close gives everything back, and takes nothing more', async (t) => {
  const { push, last } = connect(t);
  last().greet();
  const sent = push.echo('a');
  const queued = push.echo('b');
  push.close();
  const late = push.echo('c');
  for (const promise of [sent, queued, late]) assert.equal((await outcome(promise)).error.code, 'closed');
  assert.deepEqual(messagesOf(last()), ['a']);
});

test('a lost message that nobody waits for is no unhandled rejection', async (t) => {
  const unhandled = t.mock.fn();
  process.on('unhandledRejection', unhandled);
  t.after(() => process.off('unhandledRejection', unhandled));
  const { push, last } = connect(t);
  last().greet();
  push.echo('a');
  push.feedback('b', { uuid: 'u' });
  push.close();
  await new Promise(setImmediate);
  assert.equal(unhandled.mock.callCount(), 0);
});

test('a message that its sender waits for is confirmed when the page has it', async (t) => {
  const { push, last } = connect(t);
  const heard = [];
  push.on('*', (packet) => heard.push(packet.opcode));
  push.on('feedback', () => assert.deepEqual(last().sent.filter(({ opcode }) => opcode === 'ack'), [], 'not before'));
  last().deliver({ opcode: 'ready', uuid: 'u', acks: true });
  assert.deepEqual(last().sent, [{ opcode: 'acks' }]);
  const sent = push.echo('mine');
  last().deliver({ ack: '0123456789abcdef', opcode: 'feedback', message: 1 });
  assert.deepEqual(last().sent, [{ opcode: 'acks' }], 'one message at a time');
  last().next();
  last().next();
  assert.deepEqual(last().sent.slice(1), [{ opcode: 'ack', id: '0123456789abcdef' }, { opcode: 'echo', message: 'mine' }]);
  last().next({ delivered: 1 });
  assert.equal((await outcome(sent)).value.delivered, 1);
  // What acknowledges them is no business of the page.
  assert.deepEqual(heard, ['ready', 'feedback', 'next']);
  push.close();
});

test('what was to be confirmed on a connection that is lost is not confirmed on another', async (t) => {
  const { push, last, tick, opened } = connect(t, { resend: true });
  last().deliver({ opcode: 'ready', uuid: 'u', acks: true });
  last().deliver({ ack: '0123456789abcdef', opcode: 'feedback', message: 1 });
  last().end();
  tick(10_000);
  assert.equal(opened.length, 2);
  last().deliver({ opcode: 'ready', uuid: 'v', acks: true });
  last().next();
  assert.deepEqual(last().sent, [{ opcode: 'acks' }]);
  push.close();
});

test('a server that does not ask for it is told nothing', (t) => {
  const { push, last } = connect(t);
  last().greet();
  last().deliver({ opcode: 'feedback', message: 1, ack: 7 });
  assert.deepEqual(last().sent, []);
  push.close();
});
