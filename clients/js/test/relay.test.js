/**
 * The client against a real server, whose address is in WEBSOCK_TEST_URL, such as ws://127.0.0.1:8096.
 *
 * The relay's contract is the server's to test; here it is seen from a page: what arrives, what is acknowledged.
 */

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import WebSocket from 'ws';
import { Websock } from '../websock.js';

const base = process.env.WEBSOCK_TEST_URL;
const options = { skip: base ? false : 'WEBSOCK_TEST_URL is not set: nothing was tested against a real server', timeout: 20_000 };

const open = [];
after(() => open.forEach((push) => push.close()));

async function connected(settings = {}, resource = '/web') {
  const push = new Websock(base + resource, { WebSocket, ...settings });
  open.push(push);
  await push.ready;
  return push;
}

function next(push, opcode) {
  return new Promise((resolve) => {
    const off = push.on(opcode, (packet) => {
      off();
      resolve(packet);
    });
  });
}

test('everyone has a UUID of their own', options, async () => {
  const [one, other] = await Promise.all([connected(), connected({}, '/')]);
  assert.match(one.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(one.uuid, other.uuid);
});

test('feedback goes to the UUID it names, with all its members', options, async () => {
  const [one, other] = await Promise.all([connected(), connected()]);
  const message = { progress: 40, text: 'Größe / \u{1F600} / 漢字', nested: [null, true, 1.5] };
  const arrival = next(other, 'feedback');
  const { delivered, error } = await one.feedback(message, { uuid: other.uuid, fromUUID: one.uuid });
  assert.equal(error, undefined);
  assert.equal(delivered, 1);
  const packet = await arrival;
  assert.deepEqual(packet.message, message);
  assert.equal(packet.fromUUID, one.uuid);
});

test('feedback to nobody is acknowledged, and says so', options, async () => {
  const push = await connected();
  const { delivered } = await push.feedback('hello?', { uuid: '00000000-0000-4000-8000-000000000000' });
  assert.equal(delivered, 0);
});

test('who waits learns that the page has it', options, async () => {
  const [one, other] = await Promise.all([connected(), connected()]);
  const { targets } = await one.feedback(1, { uuid: other.uuid, wait: 10_000 });
  assert.deepEqual(targets, [{ uuid: other.uuid, fate: 'acked' }]);
  const { targets: nobody } = await one.feedback(1, { ident: 'nobody', wait: 10_000 });
  assert.deepEqual(nobody, [{ ident: 'nobody', fate: 'unknown' }]);
});

test('feedback goes to an ident', options, async () => {
  class Named extends WebSocket {
    constructor(url) {
      super(url, { headers: { Ident: `receiver-${process.pid}` } });
    }
  }
  const [sender, receiver] = await Promise.all([connected(), connected({ WebSocket: Named })]);
  const arrival = next(receiver, 'feedback');
  const { delivered } = await sender.feedback('by name', { ident: `receiver-${process.pid}` });
  assert.equal(delivered, 1);
  assert.equal((await arrival).message, 'by name');
});

test('a broadcast reaches the others and not the sender', options, async () => {
  const [sender, web, root] = await Promise.all([connected(), connected(), connected({}, '/')]);
  let own = 0;
  sender.on('broadcast', () => { own += 1; });
  const arrivals = [next(web, 'broadcast'), next(root, 'broadcast')];
  const { delivered } = await sender.broadcast('to all', { from: 'test' });
  assert.ok(delivered >= 2);
  for (const packet of await Promise.all(arrivals)) {
    assert.equal(packet.message, 'to all');
    assert.equal(packet.from, 'test');
  }
  // Had it been sent to the sender, it would have come before the acknowledgement of a later message.
  await sender.echo('afterwards');
  assert.equal(own, 0);
});

test('an echo comes after its acknowledgement', options, async () => {
  const push = await connected();
  const order = [];
  push.on('next', () => order.push('next'));
  const arrival = next(push, 'echo').then((packet) => {
    order.push('echo');
    return packet;
  });
  await push.echo({ sent: 1 }, { more: 2 });
  const packet = await arrival;
  assert.deepEqual(order, ['next', 'echo']);
  assert.deepEqual([packet.message, packet.more], [{ sent: 1 }, 2]);
});

test('a message of one MiB', options, async () => {
  const push = await connected();
  const message = 'ä'.repeat(2 ** 19);
  const arrival = next(push, 'echo');
  await push.echo(message);
  assert.equal((await arrival).message, message);
});

test('500 messages at once arrive once each, in order', options, async () => {
  const [sender, receiver] = await Promise.all([connected(), connected()]);
  const arrived = [];
  const all = new Promise((resolve) => {
    receiver.on('feedback', ({ message }) => arrived.push(message) === 500 && resolve());
  });
  const sent = Array.from({ length: 500 }, (_, number) => number);
  const answers = await Promise.all(sent.map((number) => sender.feedback(number, { uuid: receiver.uuid })));
  await all;
  assert.deepEqual(arrived, sent);
  assert.ok(answers.every(({ delivered }) => delivered === 1));
});

test('an opcode that the server does not know is acknowledged', options, async () => {
  const push = await connected();
  assert.equal((await push.send({ opcode: 'check' })).opcode, 'next');
  assert.equal(push.state, 'ready');
});

test('after quit it connects again, under another UUID', options, async () => {
  const push = await connected({ retryBase: 20 });
  const before = push.uuid;
  const states = [];
  push.on('state', ({ state }) => states.push(state));
  const again = next(push, 'ready');
  assert.equal((await push.send({ opcode: 'quit' })).opcode, 'next');
  const { uuid } = await again;
  assert.notEqual(uuid, before);
  assert.deepEqual(states, ['waiting', 'connecting', 'ready']);
});
