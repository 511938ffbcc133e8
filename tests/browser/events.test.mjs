/**
 * Server-sent events in a real browser: its own EventSource on a line that breaks, and the demo pages in a network that
 * lets no WebSocket through.
 *
 * Run as demo.test.mjs is.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { shows, state, text, violations } from './pages.mjs';
import { breakableProxy, socketlessProxy } from './proxies.mjs';
import { setUp, skipped } from './stage.mjs';

const SETTINGS = '[resources]\n/ = relay\n/web = relay\n/webntf = webntf\n/sse = sse';
const CUTS = 4;

describe('server-sent events', { skip: skipped('server-sent events were not tested') }, () => {
  let line;
  let network;

  const stage = setUp(SETTINGS, async () => {
    line = stage.also(await breakableProxy(stage.server.port));
    network = stage.also(await socketlessProxy(stage.server.port));
  });
  const { complaints } = stage;

  /** The backend, beside the network that the page is in: how many connections a message was handed to. */
  async function call(path, data) {
    const response = await fetch(`http://${stage.server.host}/api/${path}`, { method: 'POST', body: JSON.stringify(data) });
    const { result, error } = await response.json();
    assert.equal(error, undefined);
    return result;
  }

  test("a browser's own EventSource comes back to its UUID, and nothing is lost or comes twice", async () => {
    const tab = await stage.open(`http://${line.host}/notifications.html`, 'EventSource');
    await tab.evaluate(() => {
      window.heard = { uuids: [], numbers: [], others: [] };
      const source = new EventSource('/sse?channels=news');
      source.addEventListener('message', ({ data }) => {
        const packet = JSON.parse(data);
        if (packet.opcode === 'ready') window.heard.uuids.push(packet.uuid);
        else if (packet.header?.type === 'message') window.heard.numbers.push(packet.body);
        else if (packet.opcode) window.heard.numbers.push(packet.message);
      });
      for (const name of ['gap', 'close']) {
        source.addEventListener(name, ({ data }) => window.heard.others.push(data));
      }
    });
    await tab.waitForFunction(() => window.heard.uuids.length === 1);
    const [uuid] = await tab.evaluate(() => window.heard.uuids);
    let number = 0;
    const push = async () => {
      number += 1;
      const message = number;
      if (number % 3 === 0) return call('relay/broadcast', { message });
      if (number % 3 === 1) return call('relay/feedback', { uuid, message });
      return call('webntf/send.to.channel', { domain: '', target: 'news', message });
    };
    let undelivered = 0;
    for (let round = 1; round <= CUTS; round += 1) {
      for (let count = 0; count < 10; count += 1) assert.equal(await push(), 1);
      // In the middle of a message on its way, as likely as not.
      const during = push();
      line.cut();
      await during;
      for (let count = 0; count < 20; count += 1) undelivered += await push() === 0 ? 1 : 0;
      line.mend();
      await tab.waitForFunction((count) => window.heard.uuids.length === count, round + 1);
    }
    assert.ok(undelivered > CUTS, `${undelivered} were pushed while it was away`);
    await tab.waitForFunction((count) => window.heard.numbers.length >= count, number);
    const { uuids, numbers, others } = await tab.evaluate(() => window.heard);
    assert.deepEqual(numbers, Array.from({ length: number }, (_, index) => index + 1));
    assert.deepEqual(new Set(uuids), new Set([uuid]));
    assert.deepEqual(others, []);
    assert.deepEqual(await violations(tab), []);
    await tab.close();
    complaints.length = 0;
  });

  test('the demo page works where WebSockets are blocked', async () => {
    const tab = await stage.open(`http://${network.host}/`, 'demo');
    await state(tab, 'ready');
    const uuid = await text(tab, 'uuid');
    assert.match(uuid, /^[0-9a-f-]{36}$/);
    assert.equal(await call('relay/feedback', { uuid, message: { progress: 40, text: 'by events' } }), 1);
    await shows(tab, 'feedback', 'by events');
    assert.equal(await call('relay/broadcast', { message: 'to everyone' }), 1);
    await shows(tab, 'broadcasts', 'to everyone');
    await tab.fill('#broadcast', 'from here');
    await tab.press('#broadcast', 'Enter');
    await shows(tab, 'broadcast-note', 'this page can only listen');
    await tab.screenshot({ path: join(stage.shots, 'events.png'), fullPage: true });
    assert.deepEqual(await violations(tab), []);
    // Each attempt that failed is reported by the browser, and nothing else.
    const reported = complaints.splice(0);
    assert.ok(reported.length > 0 && reported.every((said) => said.includes('WebSocket connection to')), reported.join('\n'));
    await tab.close();
  });

  test('so does the client in any page, and a WebSocket takes over once one gets through', async () => {
    const tab = await stage.open(`http://${network.host}/notifications.html`, 'client');
    await tab.evaluate(async () => {
      const { Websock } = await import('/websock.js');
      window.heard = [];
      window.push = new Websock('/web', { socketRetry: 200 });
      window.push.on('broadcast', ({ message }) => window.heard.push(message));
      await window.push.ready;
    });
    assert.equal(await tab.evaluate(() => window.push.listening), true);
    await call('relay/broadcast', { message: 1 });
    network.forbids = false;
    await tab.waitForFunction(() => window.push.listening === false && window.push.uuid !== null);
    const { delivered } = await tab.evaluate(() => window.push.feedback('x', { uuid: window.push.uuid }));
    assert.equal(delivered, 1);
    await call('relay/broadcast', { message: 2 });
    await tab.waitForFunction(() => window.heard.length === 2);
    assert.deepEqual(await tab.evaluate(() => window.heard), [1, 2]);
    network.forbids = true;
    complaints.length = 0;
    await tab.close();
  });

  test('notifications come by events as well', async () => {
    const tab = await stage.open(`http://${network.host}/notifications.html`, 'notifications');
    await state(tab, 'ready');
    await shows(tab, 'taken', 'Subscribed to news, orders, and the token');
    const domain = await tab.inputValue('#domain');
    assert.equal(await call('webntf/send.to.channel', { domain, target: 'news', message: 'by events' }), 1);
    await shows(tab, 'received', 'by events');
    await tab.locator('input[value="alerts"]').setChecked(true);
    await shows(tab, 'taken', 'news, orders, alerts, and the token');
    assert.equal(await call('webntf/send.to.channel', { domain, target: 'alerts', message: 'another' }), 1);
    await shows(tab, 'received', 'another');
    assert.deepEqual(await violations(tab), []);
    await tab.close();
  });
});
