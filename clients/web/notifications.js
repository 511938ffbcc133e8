/**
 * The demo of the notification service: says what this page listens to, shows what arrives, gives out the command that sends.
 *
 * It knows the page's elements and the service's actions. How a page subscribes, and is subscribed again after a
 * reconnect, is `webntf.js`'s business. Whatever comes from elsewhere is put into the page as text, never as markup.
 */

import {
  element, hear, remember, remembered, shellWord, showAnswer, showConnection, showIfMissing, socketUrl,
} from './page.js';
import { WebNtf } from './webntf.js';

const RECEIVED_LIMIT = 50;
/** The longest that a call of the control API may take; ms. */
const CALL_TIMEOUT = 10_000;

const resource = socketUrl('/webntf');

// -- what arrives ------------------------------------------------------------------------------------------------------

let received = 0;
/** It has been connected: then there is a service, and a loss is a loss. */
let found = false;

class Notifications extends WebNtf {
  onOpen() {
    found = true;
  }

  onInit() {
    const { channels, token, domain } = this;
    const parts = [...channels, ...(token ? ['the token'] : [])];
    const list = new Intl.ListFormat('en').format(parts) || 'nothing';
    showTaken('good', `Subscribed to ${list}${domain ? ` in the domain ${domain}` : ''}.`);
  }

  onData(message) {
    received += 1;
    hear('received', message, RECEIVED_LIMIT);
    showCount();
  }

  onState(change) {
    showConnection(change);
    if (change.state === 'refused') showTaken('bad', `The server refused: ${change.detail}.`);
    else if (change.state !== 'ready') showTaken('', '');
    if (change.state === 'waiting' && !found) void this.lookFor();
  }

  async lookFor() {
    if (await showIfMissing(resource, 'webntf', 'notification service')) this.close();
  }
}

const notifications = new Notifications(resource);

function showTaken(outcome, sentence) {
  element('taken').dataset.outcome = outcome;
  element('taken').textContent = sentence;
}

function showCount() {
  element('count').textContent = received > 0 ? String(received) : '';
  element('nothing').hidden = received > 0;
}

element('clear').addEventListener('click', () => {
  received = 0;
  element('received').replaceChildren();
  showCount();
});

// -- what is wanted ----------------------------------------------------------------------------------------------------

const channels = [...document.querySelectorAll('[name="channel"]')];

element('domain').value = remembered('domain') ?? location.hostname;
element('token').value = remembered('token') ?? newToken();
const ticked = remembered('channels')?.split(',');
for (const box of channels) if (ticked) box.checked = ticked.includes(box.value);

/** The form as it stands. */
function say() {
  const wanted = {
    domain: element('domain').value.trim(),
    token: element('token').value.trim(),
    channels: channels.filter((box) => box.checked).map((box) => box.value),
  };
  remember('domain', wanted.domain);
  remember('token', wanted.token);
  remember('channels', wanted.channels.join(','));
  notifications.initSvc(wanted);
  // What stands there is of before, until the server has answered.
  element('taken').dataset.outcome = '';
  showCommand();
}

element('wanted').addEventListener('change', say);
element('wanted').addEventListener('submit', (event) => {
  event.preventDefault();
  say();
});
element('new-token').addEventListener('click', () => {
  element('token').value = newToken();
  say();
});

/** 80 random bits: not to be guessed, and short enough for a phone. */
function newToken() {
  return [...crypto.getRandomValues(new Uint8Array(10))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

// -- sending -----------------------------------------------------------------------------------------------------------

/** The server has turned out to want a key, which this page must not know. */
let needsKey = false;

function call() {
  const target = element('target').value;
  return {
    url: `${location.origin}/api/webntf/${target ? 'send.to.channel' : 'send.to.token'}`,
    body: JSON.stringify({
      domain: notifications.domain,
      target: target || notifications.token,
      message: element('message').value,
    }, null, 2),
  };
}

function showCommand() {
  const { url, body } = call();
  const key = needsKey ? "-H 'Authorization: Bearer KEY' " : '';
  element('command').textContent = `curl ${key}-d ${shellWord(body)} ${shellWord(url)}`;
  element('command-hint').textContent = needsKey
    ? 'The same by curl. In the place of KEY one from [api] keys.'
    : 'The same by curl, on a machine whose address the server allows.';
}

element('target').addEventListener('change', showCommand);
element('message').addEventListener('input', showCommand);

element('send-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { url, body } = call();
  let response;
  let answer;
  try {
    response = await fetch(url, { method: 'POST', body, signal: AbortSignal.timeout(CALL_TIMEOUT) });
    answer = await response.json();
  } catch (error) {
    showAnswer('bad', 'Not sent', `${error.message}.`);
    return;
  }
  if (response.ok) {
    const pages = answer.result;
    showAnswer(pages > 0 ? 'good' : '', pages > 0 ? `Handed to ${pages} ${pages === 1 ? 'page' : 'pages'}` : 'Nobody listens there');
  } else {
    needsKey ||= response.status === 401;
    showCommand();
    showAnswer('bad', 'The server would not do it', `${answer.error}.`);
  }
});

showConnection(notifications);
say();
