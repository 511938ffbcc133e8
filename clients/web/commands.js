/**
 * The demo of the command server: sends what is typed, shows what comes.
 *
 * It knows the page's elements and the names of the commands. How a connection is kept up is `connection.js`'s business.
 * Whatever comes from elsewhere is put into the page as text, never as markup.
 */

import { Connection } from './connection.js';
import { element, showConnection, showIfMissing, shortened, socketUrl, timeElement } from './page.js';

const LINES_LIMIT = 200;
const READY_MADE = ['hello', 'name', 'age', 'date', 'time', 'temp', 'id', 'users', 'ping', 'help', 'bye'];

const resource = socketUrl('/commands');

// -- the connection ----------------------------------------------------------------------------------------------------

/** It has been connected: then there is a command server, and a loss is a loss. */
let found = false;
let leaving = false;
let connection;

function connect() {
  leaving = false;
  // Who can't ask has no use for a stream of events.
  connection = new Connection(resource, { events: false }, {
    opened() {
      found = true;
      connection.ready();
    },
    received(data) {
      connection.answered();
      show('in', typeof data === 'string' ? data : 'something binary');
      // The server ends the connection then, which is no reason to come back.
      if (leaving && data === 'bye') connection.close();
    },
    lost() {},
    changed(change) {
      showConnection(change);
      const ready = change.state === 'ready';
      for (const button of element('ready-made').children) button.disabled = !ready;
      element('send').disabled = !ready;
      element('again').hidden = change.state !== 'closed';
      if (change.state === 'waiting' && !found) void lookFor();
    },
    // Every command has a time limit, so a connection that is dead is noticed by the next one.
    woken() {},
  });
  showConnection(connection);
  connection.open();
}

async function lookFor() {
  if (await showIfMissing(resource, 'commands', 'command server')) connection.close();
}

element('connect-again').addEventListener('click', connect);

// -- asking ------------------------------------------------------------------------------------------------------------

/** What was typed, the latest last, and where in it the arrow keys are. */
const typed = [];
let at = 0;

function ask(command) {
  if (connection.state !== 'ready') return;
  leaving ||= command === 'bye';
  connection.awaitAnswer(connection.options.ackTimeout, 'The server did not answer');
  connection.send(command);
  show('out', command);
}

element('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  const field = element('command');
  const command = field.value.trim();
  if (command === '' || connection.state !== 'ready') return;
  typed.push(command);
  at = typed.length;
  field.value = '';
  ask(command);
});

element('command').addEventListener('keydown', (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (step === undefined || typed.length === 0) return;
  event.preventDefault();
  at = Math.min(typed.length, Math.max(0, at + step));
  event.target.value = typed[at] ?? '';
});

for (const command of READY_MADE) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'quiet';
  button.textContent = command;
  button.addEventListener('click', () => ask(command));
  element('ready-made').append(button);
}

// -- what is said ------------------------------------------------------------------------------------------------------

/** `way`: `out` for what was asked, `in` for what came. */
function show(way, text) {
  const item = document.createElement('li');
  item.dataset.way = way;
  const words = document.createElement('span');
  words.textContent = shortened(text);
  item.append(timeElement(), words);
  const list = element('terminal');
  list.append(item);
  while (list.children.length > LINES_LIMIT) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

element('clear').addEventListener('click', () => element('terminal').replaceChildren());

const webSocketUrl = new URL(resource);
webSocketUrl.protocol = resource.protocol === 'https:' ? 'wss:' : 'ws:';
element('websocat').textContent = `websocat ${webSocketUrl}`;
connect();
