/**
 * A connection from a web page to a `websock` relay, kept up for as long as the page wants it.
 *
 * It connects, waits for the greeting that carries this connection's UUID, hands every packet to the handlers of its
 * opcode, sends one message at a time (the next when the server has acknowledged the one before), and connects again
 * when the connection is lost.
 *
 * It refuses to know what a message means, anything about the page's elements, and any way of connecting other than the
 * standard `WebSocket` interface.
 *
 * What a lost connection means for messages, said once:
 * - not yet sent: kept, and sent after the reconnect, in order;
 * - sent but not acknowledged: nobody can know whether it arrived. Its promise is rejected (`unacknowledged`), or with
 *   `resend: true` it is sent again, once, and may then arrive twice;
 * - meant for this page while it was away: gone. The server keeps nothing for a UUID that is no longer connected.
 */

const DEFAULTS = Object.freeze({
  WebSocket: undefined,
  greetingTimeout: 10_000,
  ackTimeout: 30_000,
  checkTimeout: 5_000,
  retryBase: 500,
  retryCap: 30_000,
  stableAfter: 5_000,
  queueLimit: 1_000,
  resend: false,
});

/** The relay answers an opcode that it does not know with `next` and does nothing else: a question whether it is there. */
const CHECK = JSON.stringify({ opcode: 'check' });

/** The longest delay that timers keep; they take anything longer for none at all. */
const LONGEST_DELAY = 2 ** 31 - 1;

/** Why a message was not acknowledged: see `code`. */
export class WebsockError extends Error {
  /** @param {'unacknowledged' | 'full' | 'closed'} code */
  constructor(code, message) {
    super(message);
    this.name = 'WebsockError';
    this.code = code;
  }
}

export class Websock {
  #url;
  #options;
  #handlers = new Map();

  #state = 'connecting';
  #detail = '';
  #retryIn = null;
  #uuid = null;
  #ready = null;

  #socket = null;
  #attempts = 0;
  /** One timer each; a name is one of `greeting`, `acknowledgement`, `stable`, `retry`. */
  #timers = new Map();

  #queue = [];
  #unacknowledged = null;

  /**
   * Connects at once; handlers registered in the same turn miss nothing.
   *
   * @throws {TypeError} for a URL or an option that can't be used
   */
  constructor(url = '/web', options = {}) {
    this.#options = checkedOptions(options);
    this.#url = webSocketUrl(url);
    this.#watchPage('addEventListener');
    this.#connect();
  }

  get url() {
    return this.#url;
  }

  get state() {
    return this.#state;
  }

  get detail() {
    return this.#detail;
  }

  get retryIn() {
    return this.#retryIn;
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
    if (this.#state === 'closed') {
      entry.reject(new WebsockError('closed', 'this connection was closed'));
    } else if (this.#queue.length >= this.#options.queueLimit) {
      entry.reject(new WebsockError('full', `${this.#queue.length} messages are waiting already`));
    } else {
      this.#queue.push(entry);
      this.#sendNext();
    }
    return entry.promise;
  }

  /** Ends it for good: no reconnect, no timer left, whatever still waits is rejected with the code `closed`. */
  close() {
    if (this.#state === 'closed') return;
    this.#watchPage('removeEventListener');
    const socket = this.#abandonSocket();
    socket?.close(1000);
    const waiting = [this.#unacknowledged, ...this.#queue];
    this.#unacknowledged = null;
    this.#queue = [];
    const error = new WebsockError('closed', 'this connection was closed');
    for (const entry of waiting) entry?.reject(error);
    // Created here if nobody has asked yet: who asks later must not wait for ever.
    void this.ready;
    this.#ready.reject(error);
    this.#enter('closed', 'Closed by this page.');
  }

  // -- connecting ----------------------------------------------------------------------------------------------------

  #connect() {
    this.#stop('retry');
    this.#enter('connecting', this.#attempts ? 'Connecting again …' : 'Connecting …');
    // A handler of the state may have called close().
    if (this.#state !== 'connecting') return;

    const { WebSocket = globalThis.WebSocket, greetingTimeout } = this.#options;
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch (error) {
      // Such as a page on https that may not use ws://. Tried again all the same: a state is the one place for failures.
      this.#lost('waiting', `The connection could not be opened: ${error.message}.`);
      return;
    }
    this.#socket = socket;
    // A socket that was given up may still have something to say; it is no longer listened to.
    const whileCurrent = (act) => (event) => {
      if (socket === this.#socket) act(event);
    };
    socket.addEventListener('message', whileCurrent((event) => this.#receive(event.data)));
    socket.addEventListener('close', whileCurrent((event) => this.#lost('waiting', closeDetail(event, this.#uuid))));
    // Says nothing that the close event behind it doesn't, but without a listener some implementations throw.
    socket.addEventListener('error', () => {});
    this.#start('greeting', greetingTimeout, () =>
      this.#drop(`The server sent no greeting within ${seconds(greetingTimeout)}.`));
  }

  #greeted(packet) {
    this.#stop('greeting');
    this.#uuid = packet.uuid;
    this.#start('stable', this.#options.stableAfter, () => { this.#attempts = 0; });
    this.#ready ??= deferred();
    this.#ready.resolve(this.#uuid);
    this.#enter('ready', 'Connected.');
  }

  /** Gives up a socket that is of no use any more, without waiting for it to notice. */
  #drop(detail, state = 'waiting') {
    const socket = this.#socket;
    this.#lost(state, detail);
    // `terminate` is what the npm package `ws` has beside the standard: `close` would wait for an answer.
    if (socket?.terminate && state !== 'refused') socket.terminate();
    else socket?.close();
  }

  #lost(state, detail) {
    this.#abandonSocket();
    this.#giveBackUnacknowledged();
    const { retryBase, retryCap } = this.#options;
    // The whole span is random ("full jitter"), so that the clients of a restarted server don't come back in step.
    const delay = Math.round(Math.random() * Math.min(retryCap, retryBase * 2 ** Math.min(this.#attempts, 30)));
    this.#attempts += 1;
    this.#start('retry', delay, () => this.#connect());
    this.#enter(state, detail, delay);
  }

  #abandonSocket() {
    const socket = this.#socket;
    this.#socket = null;
    if (this.#uuid !== null) this.#ready = null;
    this.#uuid = null;
    for (const name of [...this.#timers.keys()]) this.#stop(name);
    return socket;
  }

  // -- receiving -----------------------------------------------------------------------------------------------------

  #receive(data) {
    const packet = parsePacket(data);
    if (packet === null) {
      console.warn('websock: dropped a message that is not a JSON object with an opcode');
      return;
    }
    if (packet.opcode === 'next') {
      this.#acknowledged(packet);
    } else if (packet.opcode === 'close') {
      this.#drop(String(packet.error ?? 'The server refused this connection.'), 'refused');
    } else if (packet.opcode === 'ready' && typeof packet.uuid === 'string') {
      this.#greeted(packet);
    }
    // A packet that happens to be named like an event of ours goes to `*` alone.
    if (packet.opcode !== 'state' && packet.opcode !== '*') this.#emit(packet.opcode, packet);
    this.#emit('*', packet);
    this.#sendNext();
  }

  #emit(name, value) {
    // Whoever closed it wants to hear no more, except that it is closed.
    if (this.#state === 'closed' && name !== 'state') return;
    for (const entry of [...(this.#handlers.get(name) ?? [])]) {
      try {
        entry.handler(value);
      } catch (error) {
        if (typeof globalThis.reportError === 'function') globalThis.reportError(error);
        else console.error(error);
      }
    }
  }

  #enter(state, detail, retryIn = null) {
    this.#state = state;
    this.#detail = detail;
    this.#retryIn = retryIn;
    this.#emit('state', { state, detail, retryIn, uuid: this.#uuid });
  }

  // -- sending -------------------------------------------------------------------------------------------------------

  #sendNext() {
    if (this.#uuid === null || this.#unacknowledged || this.#queue.length === 0) return;
    const entry = this.#queue.shift();
    entry.sent += 1;
    this.#unacknowledged = entry;
    this.#awaitAcknowledgement(entry.check ? this.#options.checkTimeout : this.#options.ackTimeout);
    this.#socket.send(entry.text);
  }

  /** `unsent`: how many bytes were still on their way out when we last looked. */
  #awaitAcknowledgement(timeout, unsent = Infinity) {
    this.#start('acknowledgement', timeout, () => {
      const left = this.#socket.bufferedAmount;
      // A large message on a slow line: as long as it gets on, it is not the server that is slow.
      if (left > 0 && left < unsent) this.#awaitAcknowledgement(timeout, left);
      else this.#drop(`The server did not acknowledge a message within ${seconds(timeout)}.`);
    });
  }

  #acknowledged(packet) {
    this.#stop('acknowledgement');
    this.#unacknowledged?.resolve(packet);
    this.#unacknowledged = null;
  }

  #giveBackUnacknowledged() {
    const entry = this.#unacknowledged;
    this.#unacknowledged = null;
    // Once only: a message at which the server closes the connection would otherwise be sent for ever.
    if (entry && this.#options.resend && entry.sent === 1 && !entry.check) {
      this.#queue.unshift(entry);
    } else {
      entry?.reject(new WebsockError('unacknowledged',
        'the connection was lost before the server acknowledged this message; whether it arrived is not known'));
    }
  }

  // -- the page ------------------------------------------------------------------------------------------------------

  #watchPage(addOrRemove) {
    globalThis[addOrRemove]?.('online', this.#onAwake);
    globalThis.document?.[addOrRemove]('visibilitychange', this.#onAwake);
  }

  /** The network is back, or someone looks at the page again: no reason to go on waiting, or to trust the connection. */
  #onAwake = (event) => {
    if (event.type === 'visibilitychange' && globalThis.document.visibilityState === 'hidden') return;
    if (this.#timers.has('retry')) this.#connect();
    else if (this.#state === 'ready') this.#check();
  };

  /** A page can't ping. After a sleep the socket may be dead without knowing; an acknowledgement shows that it isn't. */
  #check() {
    // A message that is on its way is as good a question, with a time limit of its own.
    if (this.#unacknowledged) return;
    this.#queue.unshift({ ...deferred(), text: CHECK, sent: 0, check: true });
    this.#sendNext();
  }

  // -- timers --------------------------------------------------------------------------------------------------------

  /** Starts, or starts anew, the timer of that name. A delay of 0 is none for the time limits, at once for `retry`. */
  #start(name, delay, act) {
    this.#stop(name);
    if (delay === 0 && name !== 'retry') return;
    this.#timers.set(name, setTimeout(() => {
      this.#timers.delete(name);
      act();
    }, delay));
  }

  #stop(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

function checkedOptions(given) {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(DEFAULTS, name)) throw new TypeError(`unknown option ${name}`);
    if (typeof DEFAULTS[name] === 'number' && value !== undefined
      && !(Number.isFinite(value) && value >= 0 && value <= LONGEST_DELAY)) {
      throw new TypeError(`option ${name} must be a number from 0 to ${LONGEST_DELAY}`);
    }
  }
  const defined = Object.entries(given).filter(([, value]) => value !== undefined);
  const options = { ...DEFAULTS, ...Object.fromEntries(defined) };
  if (typeof (options.WebSocket ?? globalThis.WebSocket) !== 'function') {
    throw new TypeError('there is no global WebSocket here; pass one, such as that of the npm package ws, as an option');
  }
  return options;
}

function webSocketUrl(given) {
  const base = globalThis.location?.href;
  let url;
  try {
    url = new URL(given, base);
  } catch {
    throw new TypeError(base ? `not a URL: ${given}` : `not an absolute URL, and there is no page to resolve it: ${given}`);
  }
  if (url.protocol === 'http:') url.protocol = 'ws:';
  if (url.protocol === 'https:') url.protocol = 'wss:';
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') throw new TypeError(`not a WebSocket URL: ${given}`);
  url.hash = '';
  return url.href;
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

function parsePacket(data) {
  if (typeof data !== 'string') return null;
  try {
    const packet = JSON.parse(data);
    return typeof packet?.opcode === 'string' ? packet : null;
  } catch {
    return null;
  }
}

/** A sentence on why the connection ended. A page is not told more than this: not even the status of a failed upgrade. */
function closeDetail({ code, reason }, uuid) {
  if (code === 1006 || code === undefined) {
    return uuid === null ? 'The server could not be reached.' : 'The connection was lost.';
  }
  const known = { 1001: 'The server is going away', 1012: 'The server is restarting', 1013: 'The server is too busy' };
  const sentence = known[code] ?? 'The server closed the connection';
  return reason ? `${sentence}: ${reason} (${code}).` : `${sentence} (${code}).`;
}

function seconds(milliseconds) {
  return `${milliseconds / 1000} s`;
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
