/**
 * Notifications: a page says once who it is and which channels it listens to, and gets what the backend sends there.
 *
 * A class to be extended. Its methods `onOpen`, `onInit`, `onData` and `onState` are called; the page's own class says what
 * they do. What it wants is said again by itself on every connection, so a restart of the server needs nothing of the
 * page's; what was sent while it was away is gone.
 *
 * It refuses to know what a notification means, and anything about the page's elements. That it connects again when the
 * connection is lost is `connection.js`'s business.
 */

import { Connection, guarded, parsed } from './connection.js';

export class WebNtf {
  #connection;
  #wanted = { domain: '', token: '', channels: [] };
  /** `initSvc` was called: there is something to say. */
  #known = false;
  #open = false;
  /** What the server has not answered yet: `init`, or `check` for one whose answer only shows that it is there. */
  #asked = null;
  /** What is wanted is not what was said last on this connection. */
  #due = false;
  /** What was said in the URL of a stream of events. */
  #said = '';

  /** @throws {TypeError} for a URL or an option that can't be used */
  constructor(url = '/webntf', options = {}) {
    this.#connection = new Connection(url, options, {
      opened: () => this.#opened(),
      received: (data) => this.#receive(data),
      lost: () => this.#lost(),
      changed: (change) => guarded(() => this.onState(change)),
      woken: () => this.#check(),
      query: () => this.#query(),
    });
    // A turn later, since the fields of the class that extends this one are not there yet, and its methods may want them.
    queueMicrotask(() => this.#connection.open());
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

  get domain() {
    return this.#wanted.domain;
  }

  get token() {
    return this.#wanted.token;
  }

  get channels() {
    return [...this.#wanted.channels];
  }

  initSvc(wanted = {}) {
    this.#want(wanted);
    this.#known = true;
    this.#sayLater();
  }

  setToken(token) {
    this.#want({ token });
    this.#sayLater();
  }

  setChannels(channels) {
    this.#want({ channels });
    this.#sayLater();
  }

  close() {
    this.#connection.close();
  }

  // -- for the class that extends this one -----------------------------------------------------------------------------

  onOpen() {}

  onInit() {}

  onData(_message) {}

  onGap(_reason) {}

  /** A refusal that the page does not look for should not go unseen. */
  onState({ state, detail }) {
    if (state === 'refused') console.warn(`websock: ${detail}`);
  }

  // -- saying what is wanted -------------------------------------------------------------------------------------------

  #want(changes) {
    const given = Object.entries(changes).filter(([, value]) => value !== undefined);
    for (const [name, value] of given) {
      if (!Object.hasOwn(PARTS, name)) throw new TypeError(`unknown part ${name}`);
      if (!PARTS[name].accepts(value)) throw new TypeError(`${name} must be ${PARTS[name].expected}`);
    }
    // A copy, so that an array of channels which the page goes on changing is not said in part.
    this.#wanted = structuredClone({ ...this.#wanted, ...Object.fromEntries(given) });
  }

  /** At the end of the turn, so that what is changed together is said together. */
  #sayLater() {
    this.#due = true;
    queueMicrotask(() => this.#say());
  }

  #say() {
    // One at a time, since the answers don't say to what.
    if (!this.#due || !this.#known || !this.#open || this.#asked) return;
    // To a stream of events it is said where it begins.
    if (this.listening) {
      if (this.#isSaid()) this.#due = false;
      else this.#connection.reopen();
      return;
    }
    this.#ask('init', this.#connection.options.ackTimeout);
  }

  /** A page can't ping. What is wanted already can be said again, and the answer shows that the connection is alive. */
  #check() {
    // What is on its way, or about to be, is as good a question, with a time limit of its own.
    if (!this.#asked && !this.#due) this.#ask('check', this.#connection.options.checkTimeout);
  }

  #ask(what, timeout) {
    this.#due = false;
    this.#asked = what;
    this.#connection.awaitAnswer(timeout, 'The server did not answer');
    this.#connection.send(JSON.stringify({ header: { type: 'init', target: 'svc/webntf', acks: true }, body: this.#wanted }));
  }

  // -- what happens on the connection ----------------------------------------------------------------------------------

  /** What is wanted, for the URL of a stream of events. */
  #query() {
    this.#due = false;
    this.#said = this.#known ? JSON.stringify(this.#wanted) : '';
    if (!this.#known) return [];
    const { domain, token, channels } = this.#wanted;
    return [['domain', domain], ['token', token], ...channels.map((channel) => ['channel', channel])];
  }

  #isSaid() {
    return this.listening && this.#said === JSON.stringify(this.#wanted);
  }

  #opened() {
    this.#open = true;
    if (this.listening) {
      // It was said already, and the server answers that.
      if (this.#known) this.#asked = 'init';
      else this.#connection.stopWaiting();
      guarded(() => this.onOpen());
      return;
    }
    // Nobody has said yet what to ask for, and that may take its time.
    if (!this.#known) this.#connection.stopWaiting();
    guarded(() => this.onOpen());
    this.#sayLater();
  }

  #lost() {
    this.#open = false;
    this.#asked = null;
  }

  #receive(data) {
    const packet = parsed(data);
    if (packet?.header?.type === 'message') this.#given(packet);
    else if (packet?.header?.type === 'init') this.#answered(packet);
    else if (packet?.opcode === 'close') this.#connection.turnedAway(packet.error);
    else if (packet?.opcode === 'gap') guarded(() => this.onGap(packet.reason));
    // What else a stream of events brings is the relay's.
    else if (!this.listening) {
      console.warn('websock: dropped a message that is not one of the notification service');
    }
  }

  #given({ header, body }) {
    guarded(() => this.onData(body));
    // Its sender waits to hear that the page has it. A handler may have called close().
    if (typeof header.ack === 'string' && this.#open && !this.listening) {
      this.#connection.send(JSON.stringify({ header: { type: 'ack', id: header.ack } }));
    }
  }

  #answered({ header, body }) {
    const asked = this.#asked;
    if (!asked) return;
    this.#asked = null;
    this.#connection.answered();
    // Changed meanwhile: what the answer is about is wanted no more.
    if (this.#due && !this.#isSaid()) {
      this.#say();
    } else if (header.status !== 'OK') {
      this.#connection.refused(String(body?.error ?? 'The server refused it.'));
    } else {
      if (this.state !== 'ready') this.#connection.ready();
      // A handler of the state may have called close().
      if (asked === 'init' && this.state === 'ready') guarded(() => this.onInit());
    }
  }
}

const isString = (value) => typeof value === 'string';

/** What each part must be. How long a name may be, and how many there may be, is the server's to say. */
const PARTS = {
  domain: { expected: 'a string', accepts: isString },
  token: { expected: 'a string', accepts: isString },
  channels: {
    expected: 'an array of strings that are not empty',
    accepts: (value) => Array.isArray(value) && value.every((name) => isString(name) && name !== ''),
  },
};

/**
 * The value of the page's cookie of that name (case counts), or `null` where there is none that scripts may see.
 *
 * Percent-encoding is undone; a value that isn't properly encoded comes as it is. Of several the first, as PHP takes it.
 */
export function cookieValue(name, cookies = globalThis.document?.cookie ?? '') {
  for (const pair of cookies.split(';')) {
    const equals = pair.indexOf('=');
    if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
    const value = pair.slice(equals + 1).trim();
    try {
      return decodeURIComponent(value);
    } catch {
      return value;
    }
  }
  return null;
}

export default WebNtf;
