import type { CommonOptions, State } from './websock.js';

/** What a page says of itself. The server takes names of up to 256 bytes, and up to 1000 channels. */
export interface Wanted {
  /** Keeps sites apart that share a server. Default: empty. */
  domain: string;
  /**
   * What the backend knows the user by, in every page the user has open; empty: not to be reached that way. It is the
   * page's word: what others must not overhear is sent to tokens that they can't guess. Default: empty.
   */
  token: string;
  /** The channels that the page listens to. Default: none. */
  channels: readonly string[];
}

/** Another state: `ready` is when the server has taken what is wanted. */
export interface Change {
  /**
   * As those of the relay's connection, but `refused` is also said when the server refuses what is wanted: then `retryIn`
   * is `null`, `detail` is the server's sentence, and what it had taken before on this connection stays.
   */
  state: State;
  /** A sentence for people. */
  detail: string;
  /** Milliseconds until the next attempt, counted from this event; `null` where none is due. */
  retryIn: number | null;
}

/**
 * Notifications. A class to be extended: its `on…` methods are called, and do nothing unless they are overridden.
 *
 * One of them that throws is reported and disturbs nothing else.
 */
export class WebNtf {
  /**
   * Connects at the end of the turn, when the class that extends this one is complete.
   *
   * @param url as that of `Websock`. Default: `/webntf`.
   * @throws TypeError for a URL or an option that can't be used
   */
  constructor(url?: string | URL, options?: CommonOptions);

  readonly url: string;
  readonly state: State;
  /** A sentence for people on why the state is what it is. */
  readonly detail: string;
  /** Milliseconds from the last change of state to the next attempt; `null` where none is due. */
  readonly retryIn: number | null;

  /** Whether it listens to server-sent events, since no WebSocket gets through. What is wanted stands in their URL then. */
  readonly listening: boolean;

  /** What is wanted, whether or not the server has taken it by now. */
  readonly domain: string;
  readonly token: string;
  readonly channels: string[];

  /**
   * Says what this page wants: what is given is changed, the rest stays as it was. It is said at the end of the turn, or
   * when there is a connection, and again on each later one.
   *
   * @throws TypeError for what is not a `Wanted`; nothing is changed then
   */
  initSvc(wanted?: Partial<Wanted>): void;

  /** Changes the token. Said as `initSvc` says it, once that was called; before, it is kept for it. */
  setToken(token: string): void;

  /** Changes the channels, all of them, in the same way. */
  setChannels(channels: readonly string[]): void;

  /** Ends it for good: no reconnect, no timer left. */
  close(): void;

  /** Connected, the first time and each later one; what is wanted is not said yet and can still be changed. */
  protected onOpen(): void;

  /** The server has taken what is wanted: after each connect and each change. */
  protected onInit(): void;

  /** A notification: whatever JSON value the backend has sent. */
  protected onData(message: unknown): void;

  /** While it listens to events: the server does not have all that was sent while this page was away. */
  protected onGap(reason: string): void;

  /** Another state. Unless it is overridden, a refusal is a warning on the console. */
  protected onState(change: Change): void;
}

/**
 * The value of the page's cookie of that name (case counts), or `null` where there is none that scripts may see (`HttpOnly`).
 *
 * Percent-encoding is undone; a value that isn't properly encoded comes as it is. Of several the first.
 *
 * @param cookies Default: `document.cookie`.
 */
export function cookieValue(name: string, cookies?: string): string | null;

export default WebNtf;
