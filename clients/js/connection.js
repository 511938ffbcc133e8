/**
 * A WebSocket that is kept up for as long as the page wants it: what `websock.js` and `webntf.js` have in common.
 *
 * It opens the socket, gives up one that doesn't get on, waits a random while and opens another, at once when the network
 * is back or someone looks at the page. Its five states are those of `State` in `websock.d.ts`.
 *
 * Where no WebSocket gets through, it listens to server-sent events (`events.js`) meanwhile.
 *
 * It refuses to know what is said over the socket. The application that owns it says when the other side has let it in
 * (`ready`), and is told through its methods:
 * - `opened()`: the socket is open; nothing was said on it yet
 * - `received(data)`: a message
 * - `lost()`: whatever was on its way over the socket is gone; the change of state follows
 * - `changed(change)`: another state, as `{ state, detail, retryIn }`
 * - `woken()`: the page wakes up and the socket looks alive; a page can't ping, so ask something that is answered
 * - `query()`: what is wanted of a stream of events, as pairs of a name and a value
 */

import { EventSocket, eventsUrl } from './events.js';

const DEFAULTS = Object.freeze({
  WebSocket: undefined,
  EventSource: undefined,
  events: undefined,
  withCredentials: false,
  greetingTimeout: 10_000,
  ackTimeout: 30_000,
  checkTimeout: 5_000,
  retryBase: 500,
  retryCap: 30_000,
  stableAfter: 5_000,
  fallbackAfter: 2,
  socketRetry: 30_000,
});

/** How much more patience there is with WebSockets where one has been open before: they are hardly blocked. */
const PROVEN = 3;

/** The longest delay that timers keep; they take anything longer for none at all. */
const LONGEST_DELAY = 2 ** 31 - 1;

export class Connection {
  #url;
  #application;

  #state = 'connecting';
  #detail = '';
  #retryIn = null;

  #socket = null;
  /** The socket is, or was to be, a stream of events. */
  #viaEvents = false;
  /** The socket was open. */
  #opened = false;
  #attempts = 0;
  /** A WebSocket was open once. */
  #proven = false;
  /** How many attempts in a row have never been open. */
  #shut = 0;
  #eventsUrl;
  /** The id of the last event, by which a stream goes on. */
  #lastEventId = '';
  /** A WebSocket that is tried while the events go on. */
  #probe = null;
  /** One timer each; a name is one of `greeting`, `answer`, `stable`, `retry`, `probe`. */
  #timers = new Map();

  /**
   * Does nothing yet: `open` does.
   *
   * @param defaults of the options that the application has beside those of every connection
   * @throws {TypeError} for a URL or an option that can't be used
   */
  constructor(url, given, application, defaults = {}) {
    this.options = checkedOptions(given, { ...DEFAULTS, ...defaults });
    this.#url = webSocketUrl(url);
    this.#eventsUrl = eventsUrl(this.options.events, this.#url);
    this.#application = application;
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

  /** There is a stream of events in place of a WebSocket: nothing can be sent. */
  get listening() {
    return this.#viaEvents && this.#socket !== null;
  }

  open() {
    if (this.#state === 'closed') return;
    this.#watchPage('addEventListener');
    this.#connect();
  }

  send(text) {
    this.#socket.send(text);
  }

  /** The other side has let it in. */
  ready() {
    this.stopWaiting();
    this.#start('stable', this.options.stableAfter, () => { this.#attempts = 0; });
    if (this.listening) this.#probeLater();
    this.#enter('ready', this.listening ? 'Connected, by a stream of events: this page can only listen.' : 'Connected.');
  }

  /** There is nothing to be let in to as yet, so no time limit either. */
  stopWaiting() {
    this.#stop('greeting');
  }

  /** What was sent last is to be answered within `timeout` ms, or else the socket is given up with the sentence `late`. */
  awaitAnswer(timeout, late, unsent = Infinity) {
    this.#start('answer', timeout, () => {
      // `unsent`: how many bytes were still on their way out when we last looked.
      const left = this.#socket.bufferedAmount;
      // A large message on a slow line: as long as it gets on, it is not the server that is slow.
      if (left > 0 && left < unsent) this.awaitAnswer(timeout, late, left);
      else this.#drop('waiting', `${late} within ${seconds(timeout)}.`);
    });
  }

  answered() {
    this.#stop('answer');
  }

  /** The server does not want this socket: another attempt may find room. */
  turnedAway(error) {
    this.#drop('refused', String(error ?? 'The server refused this connection.'));
  }

  /** The server will not do what it was asked. The socket stays, since there is nothing that another would change. */
  refused(detail) {
    this.stopWaiting();
    this.#enter('refused', detail);
  }

  /** Something else is wanted of the stream of events, which is said where it begins. */
  reopen() {
    this.#abandonSocket()?.close();
    this.#application.lost();
    this.#connect();
  }

  /** Ends it for good: no reconnect, no timer left. */
  close() {
    if (this.#state === 'closed') return;
    this.#watchPage('removeEventListener');
    const socket = this.#abandonSocket();
    socket?.close(1000);
    this.#application.lost();
    this.#enter('closed', 'Closed by this page.');
  }

  // -- connecting ----------------------------------------------------------------------------------------------------

  #connect() {
    this.#stop('retry');
    this.#enter('connecting', this.#attempts ? 'Connecting again …' : 'Connecting …');
    // A handler of the state may have called close().
    if (this.#state !== 'connecting') return;

    const { WebSocket = globalThis.WebSocket } = this.options;
    this.#viaEvents = this.#blocked();
    this.#opened = false;
    try {
      this.#attach(this.#viaEvents ? this.#eventSocket() : new WebSocket(this.#url));
    } catch (error) {
      // Such as a page on https that may not use ws://. Tried again all the same: a state is the one place for failures.
      this.#lost('waiting', `The connection could not be opened: ${error.message}.`);
    }
  }

  #attach(socket) {
    this.#socket = socket;
    // A socket that was given up may still have something to say; it is no longer listened to.
    const whileCurrent = (act) => (event) => {
      if (socket === this.#socket) act(event);
    };
    socket.addEventListener('open', whileCurrent(() => this.#open()));
    socket.addEventListener('message', whileCurrent(({ data, lastEventId }) => {
      if (this.listening) this.#lastEventId = lastEventId || this.#lastEventId;
      this.#application.received(data);
    }));
    socket.addEventListener('interrupted', whileCurrent(() => this.#interrupted()));
    socket.addEventListener('close', whileCurrent((event) => this.#lost('waiting', closeDetail(event, this.#state))));
    // Says nothing that the close event behind it doesn't, but without a listener some implementations throw.
    socket.addEventListener('error', () => {});
    this.#awaitGreeting();
  }

  #awaitGreeting() {
    const { greetingTimeout } = this.options;
    this.#start('greeting', greetingTimeout, () =>
      this.#drop('waiting', `The server sent no greeting within ${seconds(greetingTimeout)}.`));
  }

  #open() {
    this.#opened = true;
    if (!this.listening) {
      this.#proven = true;
      this.#shut = 0;
      // The next stream is another's.
      this.#lastEventId = '';
    }
    this.#application.opened();
  }

  // -- events in place of a WebSocket --------------------------------------------------------------------------------

  /** Whether it looks as if no WebSocket got through, and there is something else to try. */
  #blocked() {
    const { EventSource = globalThis.EventSource } = this.options;
    return this.#shut >= this.#patience() && this.#eventsUrl !== null && typeof EventSource === 'function';
  }

  #patience() {
    return this.options.fallbackAfter * (this.#proven ? PROVEN : 1);
  }

  #eventSocket() {
    const { EventSource = globalThis.EventSource, withCredentials } = this.options;
    const url = new URL(this.#eventsUrl);
    for (const [name, value] of this.#application.query()) url.searchParams.append(name, value);
    if (this.#lastEventId) url.searchParams.append('lastEventId', this.#lastEventId);
    return new EventSocket(EventSource, url.href, withCredentials);
  }

  /** The browser connects again by itself. What is sent to this page meanwhile is kept by the server for a while. */
  #interrupted() {
    // Not open yet: the browser may go on trying for ever, and a WebSocket may get through by now.
    if (!this.#opened) {
      this.#drop('waiting', 'The server could not be reached.');
      return;
    }
    // It says so each time that it fails.
    if (this.#state === 'waiting') return;
    for (const name of ['probe', 'stable']) this.#stop(name);
    this.#abandonProbe();
    this.#awaitGreeting();
    this.#enter('waiting', 'The connection was interrupted.');
  }

  #probeLater() {
    this.#start('probe', this.options.socketRetry, () => {
      const { WebSocket = globalThis.WebSocket } = this.options;
      let probe;
      try {
        probe = new WebSocket(this.#url);
      } catch {
        this.#probeLater();
        return;
      }
      this.#probe = probe;
      probe.addEventListener('open', () => {
        if (probe === this.#probe) this.#takeOver();
      });
      probe.addEventListener('close', () => {
        if (probe !== this.#probe) return;
        this.#probe = null;
        this.#probeLater();
      });
      probe.addEventListener('error', () => {});
    });
  }

  /** WebSockets get through again: the one that was tried takes the place of the events. */
  #takeOver() {
    const socket = this.#probe;
    this.#probe = null;
    this.#abandonSocket().close();
    this.#application.lost();
    this.#viaEvents = false;
    this.#attach(socket);
    this.#enter('connecting', 'Connecting again …');
    if (this.#state === 'connecting') this.#open();
  }

  #abandonProbe() {
    const probe = this.#probe;
    this.#probe = null;
    probe?.close();
  }

  // -- losing it -----------------------------------------------------------------------------------------------------

  /** Gives up a socket that is of no use any more, without waiting for it to notice. */
  #drop(state, detail) {
    const socket = this.#socket;
    this.#lost(state, detail);
    // `terminate` is what the npm package `ws` has beside the standard: `close` would wait for an answer.
    if (socket?.terminate && state !== 'refused') socket.terminate();
    else socket?.close();
  }

  #lost(state, detail) {
    // Where events don't get through either, both are tried in turn.
    if (!this.#opened) this.#shut = this.#viaEvents ? this.#patience() - 1 : this.#shut + 1;
    this.#abandonSocket();
    this.#application.lost();
    const { retryBase, retryCap } = this.options;
    // The whole span is random ("full jitter"), so that the clients of a restarted server don't come back in step.
    const delay = Math.round(Math.random() * Math.min(retryCap, retryBase * 2 ** Math.min(this.#attempts, 30)));
    this.#attempts += 1;
    this.#start('retry', delay, () => this.#connect());
    this.#enter(state, detail, delay);
  }

  #abandonSocket() {
    const socket = this.#socket;
    this.#socket = null;
    this.#abandonProbe();
    for (const name of [...this.#timers.keys()]) this.#stop(name);
    return socket;
  }

  #enter(state, detail, retryIn = null) {
    this.#state = state;
    this.#detail = detail;
    this.#retryIn = retryIn;
    this.#application.changed({ state, detail, retryIn });
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
    // Nothing can be asked on a stream of events; another one goes on where this one was.
    else if (this.listening && event.type === 'online') this.reopen();
    else if (this.#state === 'ready' && !this.listening) this.#application.woken();
  };

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

/** A message as an object, or `null` where it is none in JSON. */
export function parsed(data) {
  if (typeof data !== 'string') return null;
  try {
    const value = JSON.parse(data);
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

/** Calls what the page has written. If that throws, it is reported, and the connection goes on. */
export function guarded(act) {
  try {
    act();
  } catch (error) {
    if (typeof globalThis.reportError === 'function') globalThis.reportError(error);
    else console.error(error);
  }
}

function checkedOptions(given, defaults) {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaults, name)) throw new TypeError(`unknown option ${name}`);
    if (typeof defaults[name] === 'number' && value !== undefined
      && !(Number.isFinite(value) && value >= 0 && value <= LONGEST_DELAY)) {
      throw new TypeError(`option ${name} must be a number from 0 to ${LONGEST_DELAY}`);
    }
  }
  const defined = Object.entries(given).filter(([, value]) => value !== undefined);
  const options = { ...defaults, ...Object.fromEntries(defined) };
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

/** A sentence on why the connection ended. A page is not told more than this: not even the status of a failed upgrade. */
function closeDetail({ code, reason }, state) {
  if (code === 1006 || code === undefined) {
    return state === 'connecting' ? 'The server could not be reached.' : 'The connection was lost.';
  }
  const known = { 1001: 'The server is going away', 1012: 'The server is restarting', 1013: 'The server is too busy' };
  const sentence = known[code] ?? 'The server closed the connection';
  return reason ? `${sentence}: ${reason} (${code}).` : `${sentence} (${code}).`;
}

function seconds(milliseconds) {
  return `${milliseconds / 1000} s`;
}
