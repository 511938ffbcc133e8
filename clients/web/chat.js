/**
 * The demo of the chat by client id: registers the page under an id, sends to another, shows what is said.
 *
 * It knows the page's elements and the chat's messages. How a connection is kept up is `connection.js`'s business. Whatever
 * comes from elsewhere is put into the page as text, never as markup.
 */

import { Connection, parsed } from './connection.js';
import {
  element, query, remember, remembered, showConnection, showIfMissing, shownMessage, socketUrl, timeElement,
} from './page.js';

const SHOWN_LIMIT = 200;
/** What the server answers a registration with. */
const WELCOME = 'Initial message received';

const resource = socketUrl('/chat');

// -- who this is -------------------------------------------------------------------------------------------------------

const draw = () => String(100 + Math.floor(Math.random() * 900));

/** Other tabs are other people, so the id is not remembered. */
element('id').value = query.get('id') ?? draw();
element('to').value = query.get('to') ?? draw();
element('name').value = remembered('name') ?? `Visitor ${element('id').value}`;
element('color').value = colorOf(element('id').value);

const id = () => element('id').value.trim();
const to = () => element('to').value.trim();

/** Tabs that are opened one after another should differ. */
function colorOf(text) {
  const hue = [...text].reduce((sum, character) => (sum * 31 + character.charCodeAt(0)) % 360, 137);
  const part = (offset) => {
    const position = (offset + hue / 30) % 12;
    const value = 0.45 - 0.3 * Math.max(-1, Math.min(position - 3, 9 - position, 1));
    return Math.round(255 * value).toString(16).padStart(2, '0');
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

// -- the connection ----------------------------------------------------------------------------------------------------

/** It has been connected: then there is a chat, and a loss is a loss. */
let found = false;
/** The registrations that the server has not answered. */
let asked = 0;

// A stream of events can't register, so there is none to fall back to.
const connection = new Connection(resource, { events: false }, {
  opened() {
    found = true;
    register(connection.options.greetingTimeout);
  },
  received,
  lost() {
    asked = 0;
  },
  changed(change) {
    showConnection(change);
    element('send').disabled = change.state !== 'ready';
    if (change.state !== 'ready') showRegistered('', '');
    if (change.state === 'waiting' && !found) void lookFor();
  },
  woken() {
    register(connection.options.checkTimeout);
  },
});

async function lookFor() {
  if (await showIfMissing(resource, 'chat', 'chat')) connection.close();
}

function register(timeout) {
  asked += 1;
  connection.awaitAnswer(timeout, 'The server did not answer');
  connection.send(JSON.stringify({ type: 'system', id: id(), name: element('name').value }));
}

function received(data) {
  const packet = parsed(data);
  if (packet?.type === 'usermsg') {
    say('theirs', packet.message, packet);
  } else if (packet?.type === 'system' && packet.message === WELCOME) {
    asked = Math.max(0, asked - 1);
    if (asked === 0) connection.answered();
    if (connection.state !== 'ready') connection.ready();
    showRegistered('good', `You are ${id()} here.`);
  } else if (packet?.type === 'system') {
    // An answer to a registration comes in its turn: anything else is about somebody else, or about a message.
    if (asked > 0 && String(packet.message).startsWith('the id ')) {
      asked -= 1;
      connection.refused(packet.message);
      connection.answered();
      showRegistered('bad', `The server refused: ${packet.message}.`);
    }
    say('system', packet.message);
  }
}

function showRegistered(outcome, sentence) {
  element('registered').dataset.outcome = outcome;
  element('registered').textContent = sentence;
}

for (const name of ['id', 'name']) {
  element(name).addEventListener('change', () => {
    if (name === 'name') remember('name', element('name').value.trim());
    showPartner();
    if (connection.state === 'ready' || connection.state === 'refused') register(connection.options.ackTimeout);
  });
}
element('who').addEventListener('submit', (event) => event.preventDefault());

// -- writing -----------------------------------------------------------------------------------------------------------

/** A tab for the other one, which knows whom to answer. */
function showPartner() {
  const url = new URL(location.href);
  url.searchParams.set('id', to() || draw());
  url.searchParams.set('to', id());
  element('partner').href = url.href;
}

element('to').addEventListener('input', showPartner);

element('write').addEventListener('submit', (event) => {
  event.preventDefault();
  const message = element('message').value;
  if (connection.state !== 'ready' || message === '') return;
  if (to() === '') {
    element('write-note').textContent = 'To whom?';
    element('to').focus();
    return;
  }
  const color = element('color').value;
  const name = element('name').value;
  connection.send(JSON.stringify({ type: 'user', to_id: to(), name, message, color }));
  say('ours', message, { name: `to ${to()}`, color });
  element('message').value = '';
  element('message').focus();
  element('write-note').textContent = 'Where nobody goes by the id, nothing happens.';
});

// -- the conversation --------------------------------------------------------------------------------------------------

/** `whose`: `ours`, `theirs`, or `system` for the server's own words. */
function say(whose, message, { name = '', color = '' } = {}) {
  const item = document.createElement('li');
  item.dataset.whose = whose;
  const head = document.createElement('p');
  head.className = 'head';
  if (whose !== 'system') {
    const from = document.createElement('strong');
    from.textContent = shownMessage(name ?? 'somebody');
    head.append(from, ' ');
    // As a mark beside the text and not as its colour, since not every colour can be read on every ground.
    if (typeof color === 'string' && CSS.supports('color', color)) item.style.setProperty('--mark', color);
  }
  head.append(timeElement());
  const text = document.createElement('p');
  text.textContent = shownMessage(message);
  item.append(head, text);
  const list = element('talk');
  list.append(item);
  while (list.children.length > SHOWN_LIMIT) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
  element('nothing').hidden = true;
}

element('clear').addEventListener('click', () => {
  element('talk').replaceChildren();
  element('nothing').hidden = false;
});

showConnection(connection);
showPartner();
connection.open();
