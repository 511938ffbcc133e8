/**
 * A connection from a web page to a `websock` relay, kept up for as long as the page wants it.
 *
 * It waits for the greeting that carries this connection's UUID, hands every packet to the handlers of its opcode, and
 * sends one message at a time: the next when the server has acknowledged the one before. That it connects again when the
 * connection is lost is `connection.js`'s business.
 *
 * It refuses to know what a message means, and anything about the page's elements.
 *
 * What a lost connection means for messages, said once:
 * - not yet sent: kept, and sent after the reconnect, in order;
 * - sent but not acknowledged: nobody can know whether it arrived. Its promise is rejected (`unacknowledged`), or with
 *   `resend: true` it is sent again, once, and may then arrive twice;
 * - meant for this page while it was away: gone. The server keeps nothing for a UUID that is no longer connected.
 *
 * Where no WebSocket gets through, it listens to server-sent events instead: all comes the same way, nothing can be sent.
 */

import { Connection, guarded, parsed } from './connection.js';

/** The options that a connection to the relay has beside those of every connection. */
const DEFAULTS = Object.freeze({ queueLimit: 1_000, resend: false });

/** The relay answers an opcode that it does not know with `next` and does nothing else: a question whether it is there. */
const CHECK = { opcode: 'check' };

/** Why a message was not acknowledged: see `code`. */
export class WebsockError extends Error {
  /** @param {'unacknowledged' | 'full' | 'closed' | 'listening'} code */
  constructor(code, message) {
    super(message);
    this.name = 'WebsockError';
    this.code = code;
  }
}

export class Websock {
  #connection;
  #handlers = new Map();

  #uuid = null;
  #ready = null;

  #queue = [];
  #unacknowledged = null;

  /**
   * Connects at once; handlers registered in the same turn miss nothing.
   *
   * @throws {TypeError} for a URL or an option that can't be used
   */
  constructor(url = '/web', options = {}) {
    this.#connection = new Connection(url, options, {
      opened: () => {},
      received: (data) => this.#receive(data),
      lost: () => this.#lost(),
      changed: (change) => this.#emit('state', { ...change, uuid: this.#uuid }),
      woken: () => this.#check(),
      query: () => [],
    }, DEFAULTS);
    this.#connection.open();
  }

  get url() {
    return this.#connection.url;
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

  get listening() {
    return this.#connection.listening;
  }

  get uuid() {
    return this.#uuid;
  }

  /** The UUID of this connection, or of the next one if there is none now. Rejected only by `close`. */
  get ready() {
    this.#ready ??= deferred();
    return this.#ready.promise;
  }

  on(name, handler) {
    if (typeof handler !== 'function') throw new TypeError('a handler must be a function');
    // Wrapped, so that a function registered twice is called twice and each `off` takes away its own.
    const entry = { handler };
    const entries = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, entries.add(entry));
    return () => void entries.delete(entry);
  }

  feedback(message, to = {}) {
    if (!to.uuid && !to.ident) return Promise.reject(new TypeError('feedback needs a uuid or an ident to go to'));
    return this.send({ ...to, opcode: 'feedback', message });
  }

  broadcast(message, extra = {}) {
    return this.send({ ...extra, opcode: 'broadcast', message });
  }

  echo(message, extra = {}) {
    return this.send({ ...extra, opcode: 'echo', message });
  }

  send(packet) {
    const text = packetText(packet);
    if (text instanceof TypeError) return Promise.reject(text);
    const entry = { ...deferred(), text, sent: 0 };
    if (this.state === 'closed') {
      entry.reject(new WebsockError('closed', 'this connection was closed'));
    } else if (this.listening) {
      entry.reject(onlyListening());
    } else if (this.#queue.length >= this.#connection.options.queueLimit) {
      entry.reject(new WebsockError('full', `${this.#queue.length} messages are waiting already`));
    } else {
      this.#queue.push(entry);
      this.#sendNext();
    }
    return entry.promise;
  }

  /** Ends it for good: no reconnect, no timer left, whatever still waits is rejected with the code `closed`. */
  close() {
    if (this.state === 'closed') return;
    const waiting = [this.#unacknowledged, ...this.#queue];
    this.#unacknowledged = null;
    this.#queue = [];
    const error = new WebsockError('closed', 'this connection was closed');
    for (const entry of waiting) entry?.reject(error);
    this.#connection.close();
    // Created here if nobody has asked yet: who asks later must not wait for ever.
    void this.ready;
    this.#ready.reject(error);
  }

  // -- receiving -----------------------------------------------------------------------------------------------------

  #receive(data) {
    const packet = parsed(data);
    if (typeof packet?.opcode !== 'string') {
      console.warn('websock: dropped a message that is not a JSON object with an opcode');
      return;
    }
    // What acknowledges something that the page has not said is none of its business.
    const own = packet.opcode === 'next' && this.#unacknowledged?.own;
    if (packet.opcode === 'next') {
      this.#acknowledged(packet);
    } else if (packet.opcode === 'close') {
      this.#connection.turnedAway(packet.error);
    } else if (packet.opcode === 'ready' && typeof packet.uuid === 'string') {
      this.#greeted(packet);
    }
    // A packet that happens to be named like an event of ours goes to `*` alone.
    if (!own && packet.opcode !== 'state' && packet.opcode !== '*') this.#emit(packet.opcode, packet);
    if (!own) this.#emit('*', packet);
    // Its sender waits to hear that the page has it.
    if (typeof packet.ack === 'string') this.#sayFirst({ opcode: 'ack', id: packet.ack });
    this.#sendNext();
  }

  #greeted(packet) {
    // The server knows nothing any more of a stream that went on by itself.
    if (this.#uuid !== null && this.#uuid !== packet.uuid) this.#ready = null;
    this.#uuid = packet.uuid;
    this.#ready ??= deferred();
    this.#ready.resolve(this.#uuid);
    this.#connection.ready();
    if (packet.acks === true) this.#sayFirst({ opcode: 'acks' });
  }

  #lost() {
    if (this.#uuid !== null) this.#ready = null;
    this.#uuid = null;
    this.#giveBackUnacknowledged();
    this.#queue = this.#queue.filter((entry) => !entry.own);
  }

  #emit(name, value) {
    // Whoever closed it wants to hear no more, except that it is closed.
    if (this.state === 'closed' && name !== 'state') return;
    for (const entry of [...(this.#handlers.get(name) ?? [])]) guarded(() => entry.handler(value));
  }

  // -- sending -------------------------------------------------------------------------------------------------------

  #sendNext() {
    if (this.listening) {
      for (const entry of this.#queue.splice(0)) entry.reject(onlyListening());
      return;
    }
    if (this.#uuid === null || this.#unacknowledged || this.#queue.length === 0) return;
    const entry = this.#queue.shift();
    entry.sent += 1;
    this.#unacknowledged = entry;
    const { ackTimeout, checkTimeout } = this.#connection.options;
    this.#connection.awaitAnswer(entry.check ? checkTimeout : ackTimeout, 'The server did not acknowledge a message');
    this.#connection.send(entry.text);
  }

  #acknowledged(packet) {
    this.#connection.answered();
    this.#unacknowledged?.resolve(packet);
    this.#unacknowledged = null;
  }

  #giveBackUnacknowledged() {
    const entry = this.#unacknowledged;
    this.#unacknowledged = null;
    // Once only: a message at which the server closes the connection would otherwise be sent for ever.
    if (entry && this.#connection.options.resend && entry.sent === 1 && !entry.own) {
      this.#queue.unshift(entry);
    } else {
      entry?.reject(new WebsockError('unacknowledged',
        'the connection was lost before the server acknowledged this message; whether it arrived is not known'));
    }
  }

  /** A page can't ping. After a sleep the socket may be dead without knowing; an acknowledgement shows that it isn't. */
  #check() {
    // A message that is on its way is as good a question, with a time limit of its own.
    if (this.#unacknowledged) return;
    this.#sayFirst(CHECK, true);
  }

  /** Says something of this client's own, before what the page has to say. */
  #sayFirst(packet, check = false) {
    if (this.listening || this.state === 'closed') return;
    this.#queue.unshift({ ...deferred(), text: JSON.stringify(packet), sent: 0, own: true, check });
    this.#sendNext();
  }
}

/** The text to send, or, as a value, the TypeError that says why the packet can't be: the server would close on it. */
function packetText(packet) {
  if (packet === null || typeof packet !== 'object' || typeof packet.opcode !== 'string' || packet.opcode === '') {
    return new TypeError('a packet must be an object with an opcode');
  }
  try {
    return JSON.stringify(packet);
  } catch (error) {
    return new TypeError(`this packet can't be written as JSON: ${error.message}`);
  }
}

function onlyListening() {
  return new WebsockError('listening', 'no WebSocket gets through to the server, so this page can only listen');
}

/** A promise with its levers. A rejection that nobody waits for is not reported: the state tells of the same loss. */
function deferred() {
  let levers;
  const promise = new Promise((resolve, reject) => {
    levers = { resolve, reject };
  });
  promise.catch(() => {});
  return { promise, ...levers };
}

export default Websock;
