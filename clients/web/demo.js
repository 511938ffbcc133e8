/**
 * The demo page: shows what this page's connection receives, and gives out commands that reach it.
 *
 * It knows the page's elements and the relay's messages. How a connection is kept up is `websock.js`'s business.
 * Whatever comes from elsewhere is put into the page as text, never as markup.
 */

import {
  element, hear, query, remember, remembered, shellWord, shortened, showAnswer, showConnection, shownMessage,
  socketUrl, timeElement, timeOfDay,
} from './page.js';
import { Websock } from './websock.js';

const DEFAULT_BACKEND = 'http://localhost:8097/backend.php';
/** The longest that the script behind the AJAX call may take; ms. */
const BACKEND_TIMEOUT = 120_000;
const LOG_LIMIT = 200;
const HEARD_LIMIT = 5;

const push = new Websock(socketUrl('/web'));
/** `ws://HOST`, as scripts and commands address this server. */
const server = new URL(push.url).protocol + '//' + location.host;
const isDefaultServer = server === 'ws://localhost:8096';

// -- the connection ----------------------------------------------------------------------------------------------------

function showState(change) {
  const { uuid } = change;
  showConnection(change);
  element('uuid').textContent = uuid ?? '';
  for (const button of document.querySelectorAll('#echo, #call, #send, #copy-uuid, [role="tabpanel"] [data-copy]')) {
    button.disabled = uuid === null || (button.id === 'call' && calling);
  }
  showCommands(uuid);
}

push.on('state', (change) => {
  showState(change);
  log('state', change.state, change.detail);
});
push.on('*', (packet) => log('in', packet.opcode, withoutOpcode(packet)));

/** Sends and says in the log that it did. Gives the acknowledgement, or `null` and tells why. */
async function sendWith(method, message, tell) {
  const sent = push[method](message);
  log('out', method, message);
  try {
    const acknowledgement = await sent;
    if (acknowledgement.error) tell(`The server would not do it: ${acknowledgement.error}`);
    return acknowledgement.error ? null : acknowledgement;
  } catch (error) {
    tell(`No acknowledgement: ${error.message}.`);
    return null;
  }
}

// -- feedback ----------------------------------------------------------------------------------------------------------

let feedbackCount = 0;

push.on('feedback', ({ message }) => {
  feedbackCount += 1;
  const { progress, text } = readFeedback(message);
  if (progress !== null) showProgress(progress);
  element('feedback').textContent = text;
  element('feedback-count').textContent =
    `${feedbackCount} ${feedbackCount === 1 ? 'message' : 'messages'}, the last at ${timeOfDay()}`;
});

/** A message is a text, or an object with `progress` (percent), `text`, or both; of anything else its JSON is shown. */
function readFeedback(message) {
  const known = message !== null && typeof message === 'object';
  const progress = known && Number.isFinite(message.progress) ? Math.min(100, Math.max(0, message.progress)) : null;
  if (known && typeof message.text === 'string') return { progress, text: shortened(message.text) };
  if (progress !== null && Object.keys(message).length === 1) return { progress, text: `${Math.round(progress)} %` };
  return { progress, text: shownMessage(message) };
}

function showProgress(progress) {
  element('progress').value = progress;
  element('percent').textContent = `${Math.round(progress)} %`;
}

// -- the script behind an AJAX call ------------------------------------------------------------------------------------

let calling = false;

element('backend').value = query.get('backend') ?? remembered('backend') ?? DEFAULT_BACKEND;

element('backend').addEventListener('change', ({ target }) => {
  remember('backend', target.value.trim());
});

element('backend-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const url = httpUrl(element('backend').value);
  if (url === null) {
    showAnswer('bad', 'Not a URL', 'It must begin with http:// or https://.');
    element('backend').focus();
    return;
  }
  if (calling || push.uuid === null) return;
  calling = true;
  element('call').disabled = true;
  element('backend-help').hidden = true;
  showAnswer('', 'Running …');
  showProgress(0);
  element('feedback').textContent = 'Waiting for the script’s first report …';
  const before = feedbackCount;
  await callBackend(url);
  if (feedbackCount === before) element('feedback').textContent = 'The script reported nothing.';
  calling = false;
  element('call').disabled = push.uuid === null;
});

async function callBackend(url) {
  const began = performance.now();
  let response;
  let body;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ uuid: push.uuid }),
      signal: AbortSignal.timeout(BACKEND_TIMEOUT),
    });
    body = await response.text();
  } catch (error) {
    if (error.name === 'TimeoutError') {
      showAnswer('bad', 'No answer', `The script did not answer within ${BACKEND_TIMEOUT / 1_000} s.`);
    } else {
      // A browser does not tell a page which of the two it was.
      showAnswer('bad', 'Not reached', `Nothing answers at ${url.origin}, or it does not let this page call it (CORS).`);
      showHelp(url);
    }
    return;
  }
  const took = `${((performance.now() - began) / 1_000).toFixed(1)} s`;
  if (response.ok) {
    showAnswer('good', `Answered after ${took}`, '', indented(body));
  } else {
    showAnswer('bad', `Answered ${response.status} ${response.statusText}`.trim(), '', indented(body));
    if (response.status === 404) showHelp(url);
  }
}

function showHelp(url) {
  // The script connects to the default server unless told otherwise.
  const environment = isDefaultServer ? '' : `WEBSOCK_URL=${shellWord(`${server}/php`)} `;
  element('backend-command').textContent = `${environment}php -S ${shellWord(url.host)} -t clients/php/examples`;
  element('backend-help').hidden = !isLocal(url.hostname);
}

// -- commands ----------------------------------------------------------------------------------------------------------

function showCommands(uuid) {
  const to = uuid ?? 'UUID';
  const address = isDefaultServer ? '' : `--address ${shellWord(server)} `;
  element('command-shell').textContent = `websock send ${address}--uuid ${to} 'Hello'`;
  element('command-php').textContent =
    `php -r 'require "clients/php/autoload.php"; (new Websock\\Client("${server}/php", uuid: "${to}"))->feedback("Hello from PHP");'`;
  element('command-js').textContent = [
    `import("${location.origin}/websock.js").then(async ({ Websock }) => {`,
    `  const push = new Websock("${push.url}");`,
    `  await push.feedback("Hello from JavaScript", { uuid: "${to}" });`,
    '  push.close();',
    '});',
  ].join('\n');
}

const tabs = [...document.querySelectorAll('[role="tab"]')];

function selectTab(chosen) {
  for (const tab of tabs) {
    const selected = tab === chosen;
    tab.setAttribute('aria-selected', String(selected));
    tab.tabIndex = selected ? 0 : -1;
    element(tab.getAttribute('aria-controls')).hidden = !selected;
  }
}

tabs.forEach((tab, index) => {
  tab.addEventListener('click', () => selectTab(tab));
  tab.addEventListener('keydown', (event) => {
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = tabs.at(to % tabs.length);
    selectTab(next);
    next.focus();
  });
});

// -- broadcasts --------------------------------------------------------------------------------------------------------

element('another').href = location.href;

element('broadcast-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = element('broadcast');
  const text = field.value;
  field.value = '';
  const note = (sentence) => { element('broadcast-note').textContent = sentence; };
  const acknowledgement = await sendWith('broadcast', text, note);
  if (acknowledgement === null) {
    field.value ||= text;
    return;
  }
  const { delivered } = acknowledgement;
  if (delivered === undefined) note('Sent.');
  else if (delivered === 0) note('Nobody else is connected.');
  else note(`Handed to ${delivered} other ${delivered === 1 ? 'page' : 'pages'}.`);
});

push.on('broadcast', ({ message }) => hear('broadcasts', message, HEARD_LIMIT));

// -- echo --------------------------------------------------------------------------------------------------------------

/** One echo alone may wait for the browser to paint the pressed button; the median of a few shows the way itself. */
const ECHOES = 5;
let trips = [];
let echoSent = null;

element('echo').addEventListener('click', () => {
  trips = [];
  sendEcho();
});

function sendEcho() {
  echoSent = { id: crypto.getRandomValues(new Uint32Array(1))[0], at: performance.now() };
  void sendWith('echo', echoSent.id, (sentence) => { element('trip-note').textContent = sentence; });
}

push.on('echo', ({ message }) => {
  if (message !== echoSent?.id) return;
  trips.push(performance.now() - echoSent.at);
  echoSent = null;
  if (trips.length < ECHOES) {
    sendEcho();
    return;
  }
  trips.sort((one, other) => one - other);
  element('trip').textContent = milliseconds(trips[(ECHOES - 1) / 2]);
  element('trip-note').textContent = `Median of ${ECHOES}: ${milliseconds(trips[0])} to ${milliseconds(trips.at(-1))}`;
});

function milliseconds(duration) {
  return `${duration.toFixed(duration < 10 ? 1 : 0)} ms`;
}

// -- the log -----------------------------------------------------------------------------------------------------------

const WAYS = { in: '←', out: '→', state: '·' };
const WAY_NAMES = { in: 'received', out: 'sent', state: 'state' };

function log(way, opcode, body) {
  const item = document.createElement('li');
  item.dataset.way = way;
  item.dataset.opcode = opcode;
  const arrow = part('way', WAYS[way]);
  arrow.title = WAY_NAMES[way];
  item.append(timeElement(true), arrow, part('opcode', opcode), part('body', shownMessage(body)));
  const list = element('log');
  list.prepend(item);
  while (list.children.length > LOG_LIMIT) list.lastChild.remove();
}

function part(name, text) {
  const span = document.createElement('span');
  span.className = name;
  span.textContent = text;
  return span;
}

element('clear').addEventListener('click', () => element('log').replaceChildren());
element('show-next').addEventListener('change', ({ target }) => {
  element('log').classList.toggle('hide-next', !target.checked);
});

// -- words -------------------------------------------------------------------------------------------------------------

function withoutOpcode({ opcode, ...members }) {
  return members;
}

/** A JSON answer that does not fit a line or two, in readable lines; anything else as it came. */
function indented(body) {
  if (body.length < 160) return body.trim();
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

function httpUrl(text) {
  try {
    const url = new URL(text.trim());
    return url.protocol === 'http:' || url.protocol === 'https:' ? url : null;
  } catch {
    return null;
  }
}

function isLocal(hostname) {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
}

showState(push);
log('state', push.state, push.detail);
