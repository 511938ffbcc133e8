/** What every test file of the client starts from: mocked timers, fake sockets, and states written down. */

import { fakeSockets } from './fake-socket.js';
import { WebNtf } from '../webntf.js';
import { Websock } from '../websock.js';

/**
 * Timers stand still until `t.mock.timers.tick`, and the random part of a wait is `random` of it.
 */
export function connect(t, { random = 1, url = 'ws://push.example/web', ...options } = {}) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  t.mock.method(Math, 'random', () => random);
  const sockets = fakeSockets();
  const push = new Websock(url, { WebSocket: sockets.FakeSocket, ...options });
  const states = [push.state];
  push.on('state', ({ state }) => states.push(state));
  return { push, states, tick: (ms) => t.mock.timers.tick(ms), ...sockets };
}

/**
 * A page that has notifications, before it says what it wants: what its methods are told, in order, is in `told`.
 *
 * `then` is what the page does on top, by the name of the method.
 */
export async function subscriber(t, then = {}, options = {}) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  t.mock.method(Math, 'random', () => 1);
  const sockets = fakeSockets();

  class Page extends WebNtf {
    // A field of its own, as a page's class has them: not there yet while the constructor above it runs.
    told = [];

    onOpen() {
      this.#tell('open');
    }

    onInit() {
      this.#tell('init');
    }

    onData(message) {
      this.#tell('data', message);
    }

    onState(change) {
      this.#tell(change.state, change);
    }

    #tell(name, value) {
      this.told.push(name === 'data' ? [name, value] : name);
      then[name]?.call(this, value);
    }
  }

  const page = new Page('ws://push.example/webntf', { WebSocket: sockets.FakeSocket, ...options });
  await turn();
  return { page, told: page.told, tick: (ms) => t.mock.timers.tick(ms), ...sockets };
}

/** What a page does at the end of a turn is done. */
export const turn = () => new Promise(setImmediate);

/** Makes globals of a page's objects for one test; each only once, since they are put back in no particular order. */
export function withGlobals(t, globals) {
  for (const [name, value] of Object.entries(globals)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    t.after(() => {
      if (before) Object.defineProperty(globalThis, name, before);
      else delete globalThis[name];
    });
  }
}

/** How a promise has ended by now, without waiting for it. */
export async function outcome(promise) {
  const pending = Symbol('pending');
  // Several turns, since a promise may hang on others that have ended already.
  const later = (async () => {
    for (let turn = 0; turn < 10; turn += 1) await null;
    return pending;
  })();
  try {
    const value = await Promise.race([promise, later]);
    return value === pending ? 'pending' : { value };
  } catch (error) {
    return { error };
  }
}
