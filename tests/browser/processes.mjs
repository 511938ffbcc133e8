/**
 * The processes around the page: the server, PHP's own web server, a browser, a shell command.
 *
 * Each is told where to listen, waited for by what it prints, and stopped by its handle. Knows nothing of the page.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const START_LIMIT = 10_000;
const STOP_LIMIT = 15_000;

export function temporaryDirectory() {
  return mkdtemp(join(tmpdir(), 'websock-browser-'));
}

/**
 * Starts the server on that port of the loopback, 0 for any, with further lines of its INI file. `address`: 0.0.0.0 for one
 * that has no address of its own, which would be on the allow list.
 */
export async function startServer(binary, directory, { port = 0, settings = '', address = '127.0.0.1' } = {}) {
  const ini = join(directory, 'websock.ini');
  await writeFile(ini, `address = ws://${address}:${port}\nconsole = true\n${settings}\n`);
  const server = start(binary, ['-i', ini], { env: { ...process.env, RUST_LOG: 'info' } });
  const [, bound] = await server.prints(/listening on ws:\/\/[\d.]+:(\d+)/);
  return { host: `127.0.0.1:${bound}`, port: Number(bound), prints: server.prints, stop: server.stop };
}

/** PHP's own web server does not say which port it got, so it is given one that was free a moment ago. */
export async function startPhp(directory, environment) {
  const port = await freePort();
  const php = start('php', ['-S', `127.0.0.1:${port}`, '-t', directory], { env: { ...process.env, ...environment } });
  await php.prints(/Development Server .* started/);
  return { origin: `http://127.0.0.1:${port}`, stop: php.stop };
}

/** A browser with a profile of its own, which goes with it; with further `options` of its context, and `args`. */
export async function startBrowser(executablePath, { options = {}, args = [] } = {}) {
  const profile = await temporaryDirectory();
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    timeout: 30_000,
    viewport: { width: 1280, height: 900 },
    ...options,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', ...args,
    ],
  });
  return {
    context,
    async stop() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Runs a line as a user's shell would; rejects with what it printed unless it ends well in time. */
export async function shell(line, { cwd, env = process.env }) {
  const child = start('/bin/sh', ['-c', line], { cwd, env });
  const code = await child.ends(START_LIMIT);
  if (code !== 0) throw new Error(`exit code ${code} of ${line}\n${child.printed()}`);
}

function start(command, words, options) {
  const child = spawn(command, words, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal));
    child.once('error', (error) => resolve(error.message));
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (data) => { text += data; });
  }

  async function ends(limit) {
    const code = await within(limit, ended);
    if (code !== undefined) return code;
    child.kill('SIGKILL');
    await ended;
    return `none, killed after ${limit} ms`;
  }

  return {
    printed: () => text,
    ends,
    async prints(pattern) {
      const line = new Promise((resolve) => {
        const look = () => {
          const match = pattern.exec(text);
          if (match) resolve(match);
        };
        child.stdout.on('data', look);
        child.stderr.on('data', look);
        look();
      });
      const match = await within(START_LIMIT, Promise.race([line, ended.then(() => undefined)]));
      if (match) return match;
      child.kill('SIGKILL');
      throw new Error(`${command} did not print ${pattern} but:\n${text}`);
    },
    async stop() {
      child.kill('SIGTERM');
      return ends(STOP_LIMIT);
    },
  };
}

/** The promise's value, or `undefined` past the limit. */
async function within(limit, promise) {
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, limit); });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}
