/**
 * A WebSocket without a network: a test plays the server through it.
 *
 * It knows the standard interface as far as the client uses it, of the relay no more than `greet` and `next`, and of the notification
 * service `taken`.
 */

export function fakeSockets() {
  const opened = [];

  class FakeSocket extends EventTarget {
    sent = [];
    bufferedAmount = 0;
    closedWith = undefined;

    constructor(url) {
      super();
      this.url = url;
      opened.push(this);
    }

    send(text) {
      if (this.closedWith !== undefined) throw new Error('sent on a closed socket');
      this.sent.push(JSON.parse(text));
    }

    close(code = 1005) {
      this.closedWith ??= code;
    }

    // -- the server's side ---------------------------------------------------------------------------------------------

    deliver(data) {
      this.dispatchEvent(new MessageEvent('message', { data: typeof data === 'string' ? data : JSON.stringify(data) }));
    }

    deliverBinary(data) {
      this.dispatchEvent(new MessageEvent('message', { data }));
    }

    open() {
      this.dispatchEvent(new Event('open'));
    }

    greet(uuid = `uuid-${opened.length}`) {
      this.deliver({ opcode: 'ready', uuid });
    }

    next(members = {}) {
      this.deliver({ opcode: 'next', fyi: '', ...members });
    }

    /** The notification service has taken what was wanted, or says why not. */
    taken(error) {
      this.deliver(error === undefined
        ? { header: { type: 'init', status: 'OK' } }
        : { header: { type: 'init', status: 'ERROR' }, body: { error } });
    }

    /** The connection ends: with a close frame, or without one where the code is 1006. */
    end(code = 1006, reason = '') {
      this.dispatchEvent(new Event('error'));
      this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
    }
  }

  return { FakeSocket, opened, last: () => opened.at(-1) };
}

/** The page around the client: what it may listen to, and a hand to set it off. */
export function fakePage(href = 'http://page.example/shop/cart') {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  const listening = new Map();
  for (const target of [window, document]) {
    const { addEventListener, removeEventListener } = EventTarget.prototype;
    target.addEventListener = (type, listener) => {
      listening.set(type, (listening.get(type) ?? 0) + 1);
      addEventListener.call(target, type, listener);
    };
    target.removeEventListener = (type, listener) => {
      listening.set(type, listening.get(type) - 1);
      removeEventListener.call(target, type, listener);
    };
  }
  return {
    globals: {
      location: { href },
      document,
      addEventListener: window.addEventListener,
      removeEventListener: window.removeEventListener,
    },
    listeners: (type) => listening.get(type) ?? 0,
    online: () => window.dispatchEvent(new Event('online')),
    visibility(state) {
      document.visibilityState = state;
      document.dispatchEvent(new Event('visibilitychange'));
    },
  };
}
