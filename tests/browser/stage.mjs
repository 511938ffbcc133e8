/**
 * What every story of a page needs around it: a directory, the server, a browser, a place for screenshots; and that
 * everything is stopped afterwards, however far it got.
 *
 * Knows neither which page a story is of, nor what is expected there: pages, waiting and assertions are the story's own.
 *
 * WEBSOCK_BIN: the server's program. WEBSOCK_SHOTS: directory for screenshots (default: a new one, which stays and is
 * named). CHROMIUM: the browser (/usr/bin/chromium).
 */

import { mkdir, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { after, before } from 'node:test';
import { openTab } from './pages.mjs';
import { startBrowser, startServer, temporaryDirectory } from './processes.mjs';

const LIMIT = { timeout: 60_000 };

export const binary = process.env.WEBSOCK_BIN && resolve(process.env.WEBSOCK_BIN);

/** Whether to skip: false where there is a program to test, else the reason, which ends in what was not done. */
export const skipped = (outcome) => (binary ? false : `WEBSOCK_BIN is not set: ${outcome}`);

/**
 * To be called in a `describe`: sets up before its tests, and stops everything after them. `prepare` is what a story needs
 * beyond that, once server and browser are there. `shots`: false for one that takes no screenshots.
 */
export function setUp(settings, prepare, { program = binary, shots = true } = {}) {
  const others = [];

  const stage = {
    directory: undefined,
    shots: undefined,
    server: undefined,
    browser: undefined,
    /** What pages, or the browser about them, have complained of. */
    complaints: [],

    /** Starts the server, also in place of one that was stopped; with the story's settings unless told others. */
    async serve(options) {
      stage.server = await startServer(program, stage.directory, { settings, ...options });
    },

    /** A browser; who asks for a further one stops it. */
    launch: (options) => startBrowser(process.env.CHROMIUM ?? '/usr/bin/chromium', options),

    /** Something else that has to be stopped, after the browser and before the server. */
    also(other) {
      others.push(other);
      return other;
    },

    /** Opens a path of the server, or a whole URL, in a tab that is watched under that name. */
    open(path, name) {
      const { href } = new URL(path, `http://${stage.server.host}`);
      return openTab(stage.browser.context, href, name, stage.complaints);
    },
  };

  before(async () => {
    stage.directory = await temporaryDirectory();
    if (shots) {
      stage.shots = process.env.WEBSOCK_SHOTS ?? await temporaryDirectory();
      await mkdir(stage.shots, { recursive: true });
    }
    await stage.serve();
    stage.browser = await stage.launch();
    await prepare();
  }, LIMIT);

  after(async () => {
    await stage.browser?.stop();
    for (const other of others) await other.stop();
    await stage.server?.stop();
    if (stage.directory) await rm(stage.directory, { recursive: true, force: true });
  }, LIMIT);

  return stage;
}
