/** Compiled, never run: the declarations say what the module does, and refuse what it would refuse. */

import Default, { Websock, WebsockError, type Acknowledgement, type CommonOptions, type Options, type State, type WebSocketLike } from '../websock.js';
import { WebNtf, cookieValue, type Change, type Wanted } from '../webntf.js';

declare class Implementation implements WebSocketLike {
  constructor(url: string | URL);
  readonly bufferedAmount: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: string, listener: (event: any) => void): void;
}

const options: Options = { WebSocket: Implementation, resend: true, greetingTimeout: 5_000 };
const push: Websock = new Default('/web', options);
new Websock();
new Websock(new URL('wss://push.example/web'), { WebSocket: globalThis.WebSocket });

const uuid: Promise<string> = push.ready;
const now: string | null = push.uuid;
const state: State = push.state;

const off: () => void = push.on('ready', (packet) => packet.uuid.toUpperCase());
push.on('state', ({ detail, retryIn }) => detail.length + (retryIn ?? 0));
push.on('feedback', ({ message, from }) => [message, from]);
push.on('close', ({ error }) => error.length);
push.on('next', ({ delivered = 0 }) => delivered + 1);
push.on('gap', ({ reason }) => reason.length);
new Websock('/web', { events: false, fallbackAfter: 1, socketRetry: 0 });
new Websock('/web', { events: '/push/sse', EventSource: globalThis.EventSource, withCredentials: true });
if (push.listening) console.log(new WebsockError('listening', ''));
push.on('*', (packet) => packet.opcode.length);
push.on('form-lock', (packet) => packet.opcode.length);

class Page extends WebNtf {
  override onOpen(): void {
    this.setToken(cookieValue('token') ?? '');
  }

  override onData(message: unknown): void {
    console.log(message);
  }

  override onState({ state: now, detail, retryIn }: Change): void {
    console.log(now === 'refused', detail.length, (retryIn ?? 0) + 1);
  }
}

const page: WebNtf = new Page('/webntf', { greetingTimeout: 5_000 } satisfies CommonOptions);
const wanted: Wanted = { domain: '', token: 'kim', channels: ['news'] };
page.initSvc();
page.initSvc(wanted);
page.setChannels([...page.channels, 'orders']);
page.close();

async function sending(): Promise<number | undefined> {
  await push.feedback('text', { uuid: 'u' });
  await push.feedback({ progress: 40 }, { ident: 'receiver', fromUUID: now });
  await push.broadcast(['any', 'JSON']);
  await push.echo(null, { sent: 1 });
  const { delivered, error }: Acknowledgement = await push.send({ opcode: 'quit', why: errorCode(new WebsockError('full', '')) });
  return error ? 0 : delivered;
}

function errorCode(error: WebsockError): 'unacknowledged' | 'full' | 'closed' | 'listening' {
  return error.code;
}

// @ts-expect-error: to nobody
push.feedback('text');
// @ts-expect-error: to nobody
push.feedback('text', { from: 'me' });
// @ts-expect-error: no opcode
push.send({ message: 1 });
// @ts-expect-error: nobody but the client sets it
push.uuid = 'u';
// @ts-expect-error: no such option
new Websock('/web', { retries: 3 });
// @ts-expect-error: an option of the relay's
new WebNtf('/webntf', { resend: true });
// @ts-expect-error: nothing like that can be wanted
page.initSvc({ channel: 'news' });
// @ts-expect-error: for the class that extends it
page.onData('forged');
// @ts-expect-error: no such state
const wrong: State = 'open';

export { off, sending, state, uuid, wrong };
