/**
 * A stream of server-sent events in the place of a WebSocket, for networks that let no WebSocket through: it has a socket's
 * interface, as far as `connection.js` uses it, and can only listen.
 *
 * The browser connects again by itself when the stream is interrupted, and goes on where it was; that is the event
 * `interrupted`. Only when the browser has given up is the stream closed.
 *
 * It refuses to know what is said.
 */

export class EventSocket extends EventTarget {
  #source;

  /** @param EventSource the implementation */
  constructor(EventSource, url, withCredentials) {
    super();
    const source = new EventSource(url, { withCredentials });
    this.#source = source;
    source.addEventListener('open', () => this.dispatchEvent(new Event('open')));
    // What may be missing is a packet like any other.
    for (const name of ['message', 'gap']) {
      source.addEventListener(name, ({ data, lastEventId }) => this.#say(data, lastEventId));
    }
    source.addEventListener('close', ({ data }) => this.#closed(data));
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) this.#end(1006, '');
      else this.dispatchEvent(new Event('interrupted'));
    });
  }

  get bufferedAmount() {
    return 0;
  }

  send() {
    throw new Error('a stream of events can only listen');
  }

  close() {
    this.#source.close();
  }

  #say(data, lastEventId) {
    this.dispatchEvent(new MessageEvent('message', { data, lastEventId }));
  }

  /** The server says why it ends the stream. The browser would come again by itself, and knows nothing of the reason. */
  #closed(data) {
    this.#source.close();
    const { code = 1006, error = '' } = JSON.parse(data);
    // No room: over a WebSocket that is a packet as well.
    if (code === 1013) this.#say(data, '');
    else this.#end(code, error);
  }

  #end(code, reason) {
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
  }
}

/** Where the events are: `given`, or the path `/sse` beside the WebSocket at `url`; `null` where `given` is false. */
export function eventsUrl(given, url) {
  if (given === false) return null;
  const resolved = new URL(given ?? '/sse', url.replace(/^ws/, 'http'));
  if (resolved.protocol !== 'http:' && resolved.protocol !== 'https:') {
    throw new TypeError(`not a URL of a stream of events: ${given}`);
  }
  return resolved.href;
}
