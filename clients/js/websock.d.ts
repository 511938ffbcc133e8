/** What comes from, and goes to, the relay: a JSON object with an `opcode`. */
export interface Packet {
  opcode: string;
  [member: string]: unknown;
}

/** The greeting. The UUID is new after each reconnect, but where a stream of events goes on: there it stays. */
export interface Ready extends Packet {
  opcode: 'ready';
  uuid: string;
}

/** A message that someone sent to this connection, to everyone, or back to itself; further members travel along. */
export interface Message<Opcode extends string = string> extends Packet {
  opcode: Opcode;
  message: unknown;
}

/** The server has taken a message. */
export interface Acknowledgement extends Packet {
  opcode: 'next';
  /** How many connections it was handed to; 0: nobody of that UUID or ident is connected. Missing from old servers. */
  delivered?: number;
  /** What the message is known by, of a feedback or a broadcast: for `websock why`. Missing from old servers. */
  id?: string;
  /** Where the message had a `wait`: what became of it, for each of those whom it was for. */
  targets?: Fate[];
  /** Why it was taken but not acted on, such as a broadcast where browsers may not. */
  error?: string;
}

/** How far a message has got on its way to one of those whom it was for. What each says stands in docs/api.md. */
export interface Fate {
  uuid?: string;
  /** In place of `uuid`, where nobody has that ident. */
  ident?: string;
  fate?: 'acked' | 'received' | 'written' | 'queued' | 'dropped' | 'offline' | 'unknown';
  why?: string;
  /** Unix time since which it is offline. */
  since?: number;
  /** In an item of its own: how many more there are that are only counted. */
  more?: number;
}

/** The server refuses this connection, and says why. */
export interface Refusal extends Packet {
  opcode: 'close';
  error: string;
}

/** While it listens to events: the server does not have all that was sent while this page was away. */
export interface Gap extends Packet {
  opcode: 'gap';
  reason: string;
}

/**
 * - `connecting`: from the attempt to the greeting
 * - `ready`: greeted; there is a UUID
 * - `waiting`: lost, or never reached; connects again in `retryIn` ms, or, with `null` there, the browser does so by itself
 * - `refused`: as `waiting`, and the server itself said why, in `detail`
 * - `closed`: by `close()`, for good
 */
export type State = 'connecting' | 'ready' | 'waiting' | 'refused' | 'closed';

export interface StateChange {
  state: State;
  /** A sentence for people. */
  detail: string;
  /** Milliseconds until the next attempt, counted from this event; `null` where none is due. */
  retryIn: number | null;
  uuid: string | null;
}

/** The part of the standard interface that is used: the browser's, Node's from version 22 on, and the npm package `ws`. */
export interface WebSocketLike {
  readonly bufferedAmount: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: string, listener: (event: any) => void): void;
}

/** The part of `EventSource` that is used. */
export interface EventSourceLike {
  readonly readyState: number;
  close(): void;
  addEventListener(type: string, listener: (event: any) => void): void;
}

/** The options of every connection, the relay's and that of notifications. */
export interface CommonOptions {
  /** The implementation. Default: the global one. */
  WebSocket?: new (url: string) => WebSocketLike;
  /**
   * Milliseconds from the attempt until the server has let this page in, past which the attempt is given up; 0: no limit.
   * Default: 10000.
   */
  greetingTimeout?: number;
  /**
   * Milliseconds from a message to its acknowledgement, past which the connection is taken for dead; 0: no limit. Not
   * counted while the message is still going out. Default: 30000.
   */
  ackTimeout?: number;
  /** The same for the question that is sent when the page wakes up, whether the connection is still alive. Default: 5000. */
  checkTimeout?: number;
  /**
   * The wait before attempt n is a random time from 0 to `retryBase * 2 ** n` milliseconds, and at most `retryCap`.
   * Defaults: 500 and 30000.
   */
  retryBase?: number;
  retryCap?: number;
  /** Milliseconds that a connection must have been ready for before n starts from 0 again. Default: 5000. */
  stableAfter?: number;
  /**
   * Where to listen to server-sent events when no WebSocket gets through; relative to the WebSocket's URL. `false`: nowhere.
   * Default: `/sse`.
   */
  events?: string | URL | false;
  /** The implementation of such a stream. Default: the global one; without one there are only WebSockets. */
  EventSource?: {
    new (url: string, init: { withCredentials: boolean }): EventSourceLike;
    readonly CLOSED: number;
  };
  /** Whether the page's cookies go to a stream of another origin; the server must name this one in `allowedOrigins`. Default: false. */
  withCredentials?: boolean;
  /**
   * How many attempts in a row must have failed without the WebSocket having been open before events are tried; three times as
   * many once one was. Default: 2.
   */
  fallbackAfter?: number;
  /** Milliseconds between two attempts to get a WebSocket while it listens to events; 0: none. Default: 30000. */
  socketRetry?: number;
}

/** The options of a connection to the relay. */
export interface Options extends CommonOptions {
  /** How many messages may wait to be sent; past it they are rejected with the code `full`. Default: 1000. */
  queueLimit?: number;
  /**
   * Whether a message that was sent but not acknowledged when the connection was lost is sent again after the
   * reconnect, once; it may then arrive twice. Otherwise it is rejected with the code `unacknowledged`. Default: false.
   */
  resend?: boolean;
}

/** What the packets of the known opcodes, and the event `state`, look like. */
export interface Events {
  ready: Ready;
  feedback: Message<'feedback'>;
  broadcast: Message<'broadcast'>;
  echo: Message<'echo'>;
  next: Acknowledgement;
  close: Refusal;
  gap: Gap;
  /** Not a packet but this client's own event. A packet of that opcode goes to `*` alone. */
  state: StateChange;
  /** Every packet, acknowledgements included. */
  '*': Packet;
}

/**
 * Why a message was not acknowledged:
 * - `unacknowledged`: the connection was lost; whether it arrived is not known
 * - `full`: too many were waiting already; it was not sent
 * - `closed`: by `close()`; whether it arrived is not known unless the state was `closed` before
 * - `listening`: no WebSocket gets through, and a stream of events can only listen; it was not sent
 */
export class WebsockError extends Error {
  constructor(code: WebsockError['code'], message: string);
  readonly code: 'unacknowledged' | 'full' | 'closed' | 'listening';
}

/**
 * A connection to a `websock` relay that connects again by itself.
 *
 * A message that can't be sent now waits until it can. Each method that sends gives a promise of the acknowledgement, or
 * of a `WebsockError`. One that nobody waits for is not reported as an unhandled rejection, since the state tells of
 * the same loss. What could never be sent rejects with a `TypeError`, which is.
 */
export class Websock {
  /**
   * Connects at once.
   *
   * @param url `ws:`, `wss:`, `http:` or `https:`, or relative to the page: `/web` on a page from `https` is `wss`.
   *   Default: `/web`.
   * @throws TypeError for a URL or an option that can't be used
   */
  constructor(url?: string | URL, options?: Options);

  readonly url: string;
  readonly state: State;
  /** A sentence for people on why the state is what it is. */
  readonly detail: string;
  /** Milliseconds from the last change of state to the next attempt; `null` where none is due. */
  readonly retryIn: number | null;
  /**
   * Whether it listens to server-sent events, since no WebSocket gets through: what is sent rejects with the code `listening`.
   * A WebSocket takes over by itself when one does.
   */
  readonly listening: boolean;
  /** This connection's UUID; `null` while there is none. */
  readonly uuid: string | null;
  /** The UUID of this connection, or of the next one if there is none now. Rejected only by `close()`. */
  readonly ready: Promise<string>;

  /**
   * Calls the handler with the whole packet of that opcode, each time.
   *
   * A handler that throws is reported and disturbs no other.
   *
   * @returns a function that ends this
   */
  on<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => void): () => void;
  on(opcode: string, handler: (packet: Packet) => void): () => void;

  /** To the one browser with that UUID, or, where `ident` is not empty, to the one connection with that name. */
  feedback(
    message: unknown,
    to: { uuid: string; ident?: string; [member: string]: unknown } | { ident: string; [member: string]: unknown },
  ): Promise<Acknowledgement>;

  /** To every browser but this one. */
  broadcast(message: unknown, extra?: { [member: string]: unknown }): Promise<Acknowledgement>;

  /** Back to this connection, as the event `echo`. */
  echo(message: unknown, extra?: { [member: string]: unknown }): Promise<Acknowledgement>;

  /** Any packet. One that the server does not know is acknowledged and otherwise ignored. */
  send(packet: Packet): Promise<Acknowledgement>;

  /** Ends it for good: no reconnect, no timer left; what still waits is rejected with the code `closed`. */
  close(): void;
}

export default Websock;
