/**
 * A stream of server-sent events without a network: a test plays the server, and the browser that connects again.
 *
 * It knows the standard interface as far as the client uses it, and of what is said no more than the greeting and the end.
 */

export function fakeSources() {
  const sources = [];

  class FakeSource extends EventTarget {
    static CLOSED = 2;

    readyState = 0;
    count = 0;

    constructor(url, { withCredentials }) {
      super();
      this.url = new URL(url);
      this.withCredentials = withCredentials;
      sources.push(this);
    }

    close() {
      this.readyState = FakeSource.CLOSED;
    }

    // -- the server's side ---------------------------------------------------------------------------------------------

    open() {
      this.readyState = 1;
      this.dispatchEvent(new Event('open'));
    }

    deliver(data, name = 'message') {
      if (name === 'message') this.count += 1;
      const text = typeof data === 'string' ? data : JSON.stringify(data);
      this.dispatchEvent(new MessageEvent(name, { data: text, lastEventId: `${this.count}-id` }));
    }

    greet(uuid = `stream-${sources.length}`) {
      this.open();
      this.deliver({ opcode: 'ready', uuid });
    }

    /** The server ends it, and says why; the browser sees the end behind it. */
    end(code, error) {
      this.deliver({ opcode: 'close', code, error }, 'close');
      if (this.readyState !== FakeSource.CLOSED) this.interrupt();
    }

    // -- the browser's -------------------------------------------------------------------------------------------------

    /** It is lost, and the browser connects again by itself. */
    interrupt() {
      this.readyState = 0;
      this.dispatchEvent(new Event('error'));
    }

    /** The browser gives up: whoever answered was no stream of events. */
    fail() {
      this.readyState = FakeSource.CLOSED;
      this.dispatchEvent(new Event('error'));
    }
  }

  return { FakeSource, sources, source: () => sources.at(-1) };
}
