/**
 * AutobahnJS in Node.js against the real server, in both serializations: each part of WAMP v2 that the server says it has.
 *
 * WEBSOCK_BIN names the server's program.
 */

import assert from 'node:assert/strict';
import { once, EventEmitter } from 'node:events';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import autobahn from 'autobahn';
import { startServer, temporaryDirectory } from '../browser/processes.mjs';

const binary = process.env.WEBSOCK_BIN && resolve(process.env.WEBSOCK_BIN);
const skip = binary ? false : 'WEBSOCK_BIN is not set: AutobahnJS was not tried';

describe('AutobahnJS in Node.js', { skip }, () => {
  let directory;
  let server;
  let json;
  let packed;

  before(async () => {
    directory = await temporaryDirectory();
    server = await startServer(binary, directory, { settings: '[resources]\n/wamp = wamp' });
    json = await open(new autobahn.serializer.JSONSerializer());
    packed = await open(new autobahn.serializer.MsgpackSerializer());
  });

  after(async () => {
    for (const opened of [json, packed]) if (opened?.connection.isOpen) opened.connection.close();
    if (server) assert.equal(await server.stop(), 0);
    await rm(directory, { recursive: true, force: true });
  });

  async function open(serializer) {
    const connection = new autobahn.Connection({
      url: `ws://${server.host}/wamp`, realm: 'realm1', serializers: [serializer], max_retries: 0,
    });
    const session = await new Promise((resolve, reject) => {
      connection.onopen = resolve;
      connection.onclose = (reason, details) => { reject(new Error(`${reason}: ${details.reason}`)); return true; };
      connection.open();
    });
    return { connection, session };
  }

  /** Subscribes; gives a function that waits for the next event. */
  async function listen(session, topic, options) {
    const events = new EventEmitter();
    const heard = [];
    await session.subscribe(topic, (args, kwargs, details) => {
      heard.push({ args, kwargs, details });
      events.emit('event');
    }, options);
    return async () => {
      if (heard.length === 0) await once(events, 'event', { signal: AbortSignal.timeout(5_000) });
      return heard.shift();
    };
  }

  const refused = (promise, uri) => assert.rejects(Promise.resolve(promise), (error) => {
    assert.equal(error.error, uri);
    return true;
  });

  for (const [name, one, other] of [['JSON', () => json, () => packed], ['MessagePack', () => packed, () => json]]) {
    test(`${name}: what is published reaches subscribers of either kind, and not the publisher`, async () => {
      const { session } = one();
      const topic = `com.example.${name}`;
      const mine = await listen(session, topic);
      const theirs = await listen(other().session, topic);
      await session.publish(topic, ['first', 2.5, [null]], { k: 'ü' }, { acknowledge: true });
      const event = await theirs();
      assert.deepEqual([...event.args], ['first', 2.5, [null]]);
      assert.deepEqual({ ...event.kwargs }, { k: 'ü' });
      await session.publish(topic, ['to all'], {}, { acknowledge: true, exclude_me: false });
      assert.deepEqual([...(await mine()).args], ['to all'], 'its own first event was not sent to it');
      await theirs();
      await session.publish(topic, ['nobody'], {}, { acknowledge: true, exclude: [other().session.id] });
      await session.publish(topic, ['who'], {}, { acknowledge: true, eligible: [other().session.id], disclose_me: true });
      const told = await theirs();
      assert.deepEqual([told.args[0], told.details.publisher], ['who', session.id]);
    });

    test(`${name}: calls, errors, progress`, async () => {
      const callee = one().session;
      const caller = other().session;
      const registration = await callee.register(`add.${name}`, async ([a, b], { fail }, details) => {
        if (fail) throw new autobahn.Error('com.example.failed', ['no'], { a });
        for (let part = 0; details.progress && part < 3; part += 1) details.progress([part]);
        return a + b;
      });
      assert.equal(await caller.call(`add.${name}`, [2, 3]), 5);
      assert.equal(await callee.call(`add.${name}`, [3, 4]), 7);
      const parts = [];
      const whole = caller.call(`add.${name}`, [1, 1], {}, { receive_progress: true });
      whole.then(() => {}, () => {}, (part) => parts.push(part));
      assert.equal(await whole, 2);
      assert.deepEqual(parts.flat(), [0, 1, 2]);
      await refused(caller.call(`add.${name}`, [1, 2], { fail: true }), 'com.example.failed');
      await refused(caller.register(`add.${name}`, () => {}), 'wamp.error.procedure_already_exists');
      await callee.unregister(registration);
      await refused(caller.call(`add.${name}`, [1, 2]), 'wamp.error.no_such_procedure');
    });

    test(`${name}: a call that takes too long`, async () => {
      await one().session.register(`slow.${name}`, () => new Promise(() => {}));
      await refused(other().session.call(`slow.${name}`, [], {}, { timeout: 50 }), 'wamp.error.timeout');
    });

    test(`${name}: form locks`, async () => {
      const form = `shop.form.${name}`;
      const theirs = await listen(other().session, form);
      assert.equal((await theirs()).args[0].status, 'subscribed');
      const lock = await one().session.call('form-lock', [{ form }]);
      assert.equal(lock.event, 'locked');
      assert.ok(Number.isSafeInteger(lock.fence));
      assert.equal((await theirs()).args[0].status, 'editing');
      await assert.rejects(Promise.resolve(other().session.call('form-lock', [], { form })), (error) => {
        assert.deepEqual({ ...error.args[0] }, { form, status: 'locked' });
        return true;
      });
      await one().session.call('form-release', [{ form }]);
      assert.equal((await theirs()).args[0].status, 'released');
    });
  }

  test('a callee that leaves in the middle of a call', async () => {
    const { session, connection } = await open(new autobahn.serializer.JSONSerializer());
    const begun = new EventEmitter();
    await session.register('vanish', () => { begun.emit('call'); return new Promise(() => {}); });
    const called = once(begun, 'call');
    const answer = refused(json.session.call('vanish'), 'wamp.error.canceled');
    await called;
    connection.close();
    await answer;
  });
});
