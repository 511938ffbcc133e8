/**
 * As much of WAMP v2 as the demo page needs: a session that is kept up, topics, calls. In JSON.
 *
 * It is no library: a page of one's own uses AutobahnJS, or whatever else speaks WAMP. The socket is `connection.js`'s
 * business, as it is for the server's other protocols.
 */

import { Connection, guarded, parsed } from './connection.js';

const HELLO = 1;
const WELCOME = 2;
const ABORT = 3;
const ERROR = 8;
const SUBSCRIBE = 32;
const SUBSCRIBED = 33;
const EVENT = 36;
const CALL = 48;
const RESULT = 50;

/** A call that the other side would not do; `uri` says why to programs, `args` to anyone. */
export class WampError extends Error {
  constructor(uri, args = []) {
    super(typeof args[0] === 'string' ? args[0] : uri);
    this.uri = uri;
    this.args = args;
  }
}

export class WampSession {
  #connection;
  #realm;
  #joined;
  #request = 0;
  /** By request id: what is done with the answer. */
  #asked = new Map();
  /** By subscription id: what is done with an event. */
  #topics = new Map();

  /**
   * Does nothing yet: `open` does.
   *
   * @param handlers `joined()`: there is a session, a new one after each loss; `changed(change)`: as `connection.js` says it
   */
  constructor(url, realm, { joined, changed }) {
    this.#realm = realm;
    const Json = class extends WebSocket {
      constructor(address) {
        super(address, 'wamp.2.json');
      }
    };
    this.#connection = new Connection(url, { WebSocket: Json, events: false }, {
      opened: () => this.#send([HELLO, this.#realm, { roles: { subscriber: {}, caller: {} } }]),
      received: (data) => this.#received(parsed(data)),
      lost: () => this.#lost(),
      changed: (change) => guarded(() => changed(change)),
      // Whether the connection is still there is asked of a procedure that nobody offers: the error is an answer.
      woken: () => {
        this.#connection.awaitAnswer(this.#connection.options.checkTimeout, 'The server did not answer');
        this.call('alive').catch(() => {});
      },
    });
    this.#joined = joined;
  }

  open() {
    this.#connection.open();
  }

  get state() {
    return this.#connection.state;
  }

  get detail() {
    return this.#connection.detail;
  }

  get retryIn() {
    return this.#connection.retryIn;
  }

  /** Calls `heard` with the first argument of each event, for as long as the session lasts. */
  async subscribe(topic, heard) {
    await this.#ask(SUBSCRIBE, [{}, topic], ([id]) => this.#topics.set(id, heard));
  }

  /** Resolves with the first argument of the result; rejects with a `WampError`, also where the session is lost. */
  call(procedure, ...args) {
    return this.#ask(CALL, [{}, procedure, args], ([, result]) => result?.[0]);
  }

  close() {
    this.#connection.close();
  }

  #send(message) {
    this.#connection.send(JSON.stringify(message));
  }

  /** What an answer means is found out as it comes: an event may come right behind it. */
  #ask(code, rest, understand) {
    return new Promise((resolve, reject) => {
      if (this.state !== 'ready') throw new WampError('wamp.error.canceled', ['There is no connection.']);
      this.#request += 1;
      this.#asked.set(this.#request, { resolve: (answer) => resolve(understand(answer)), reject });
      this.#send([code, this.#request, ...rest]);
    });
  }

  #received(message) {
    if (!Array.isArray(message)) return;
    this.#connection.answered();
    const [code, ...rest] = message;
    switch (code) {
      case WELCOME:
        this.#request = 0;
        this.#connection.ready();
        guarded(() => this.#joined(rest[0]));
        break;
      case ABORT:
        this.#connection.turnedAway(`${rest[0]?.message ?? rest[1]}.`);
        break;
      case EVENT:
        guarded(() => this.#topics.get(rest[0])?.(rest[3]?.[0]));
        break;
      case SUBSCRIBED:
      case RESULT:
        this.#answered(rest[0], ({ resolve }) => resolve(rest.slice(1)));
        break;
      case ERROR:
        this.#answered(rest[1], ({ reject }) => reject(new WampError(rest[3], rest[4])));
        break;
    }
  }

  #answered(request, act) {
    const asked = this.#asked.get(request);
    this.#asked.delete(request);
    if (asked) act(asked);
  }

  #lost() {
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    this.#topics.clear();
    for (const { reject } of asked) reject(new WampError('wamp.error.canceled', ['The connection was lost.']));
  }
}
