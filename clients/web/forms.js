/**
 * The demo of form locks: one form, which whoever locks it may edit; the others see that somebody does.
 *
 * It knows the page's elements and the three procedures. What goes over the wire is `wamp.js`'s business. "Saving" stays in
 * the page: it asks what a backend would ask, by the control API, and says what that would have been told.
 */

import { element, hear, query, shellWord, showAnswer, showConnection, showIfMissing, socketUrl } from './page.js';
import { WampSession } from './wamp.js';

const FORM = 'demo.form.customer42';
const EVENTS_LIMIT = 30;
/** The longest that a call of the control API may take; ms. */
const CALL_TIMEOUT = 10_000;

const resource = socketUrl('/wamp');

/** It has been connected: then there is WAMP, and a loss is a loss. */
let found = false;
/** Whose the form is: `mine`, `theirs`, `nobody's`, or `unknown` while there is no connection. */
let lock = 'unknown';
/** What shows that it is mine. Kept through a loss of the connection: with a grace period the lock is still there. */
let held = null;

const session = new WampSession(resource, query.get('realm') ?? 'realm1', { joined, changed });

async function joined() {
  found = true;
  enter('nobody');
  await session.subscribe(FORM, told);
  // After a loss: whoever has had the lock asks for it with its token, and has it if it was kept.
  if (held) await acquire();
}

function changed(change) {
  showConnection(change);
  if (change.state === 'ready') return;
  enter('unknown');
  if (change.state === 'waiting' && !found) void lookFor();
}

async function lookFor() {
  if (await showIfMissing(resource, 'wamp', 'WAMP')) session.close();
}

const WORDS = {
  subscribed: 'You are told from now on what becomes of the form',
  locked: 'Somebody is editing the form',
  editing: 'Somebody has begun to edit the form',
  released: 'The form is free',
};

function told({ status }) {
  // A new subscriber is told so whoever it is that edits; who believes it is this page asks for it with the token.
  if (status === 'locked' && held) return;
  tell(WORDS[status] ?? status);
  if (status === 'locked' || status === 'editing') enter('theirs');
  if (status === 'released') enter('nobody');
}

function tell(sentence) {
  element('nothing').hidden = true;
  hear('events', sentence, EVENTS_LIMIT);
}

// -- locking -----------------------------------------------------------------------------------------------------------

async function acquire() {
  try {
    held = await session.call('form-lock', held ? { form: FORM, token: held.token } : { form: FORM });
    enter('mine');
    tell('The form is yours');
  } catch (error) {
    const lost = held !== null;
    held = null;
    if (error.args?.[0]?.status === 'locked') enter('theirs');
    else showAnswer('bad', 'Not locked', error.message);
    if (lost) showAnswer('bad', 'The form has become somebody else’s', 'What you have written is not stored.');
    show();
  }
}

async function release() {
  held = null;
  enter('nobody');
  await session.call('form-release', { form: FORM }).catch((error) => showAnswer('bad', 'Not released', error.message));
}

element('edit').addEventListener('click', () => {
  showAnswer('', '');
  held = null;
  void acquire();
});
element('cancel').addEventListener('click', () => {
  element('form').reset();
  showAnswer('', 'Nothing was stored');
  void release();
});

element('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  if (!held) return;
  const { url, body } = check();
  try {
    const response = await fetch(url, { method: 'POST', body, signal: AbortSignal.timeout(CALL_TIMEOUT) });
    const answer = await response.json();
    if (!response.ok) {
      showAnswer('bad', 'The backend could not ask', `${answer.error}.`);
      return;
    }
    if (!answer.result.held) {
      showAnswer('bad', 'Not stored', 'The lock is not yours any more.');
      held = null;
      enter(answer.result.locked ? 'theirs' : 'nobody');
      return;
    }
    showAnswer('good', 'Stored', `The lock is still yours, with the number ${answer.result.fence}.`);
  } catch (error) {
    showAnswer('bad', 'Not stored', `${error.message}.`);
    return;
  }
  await release();
});

// -- what is shown -----------------------------------------------------------------------------------------------------

function check() {
  return {
    url: `${location.origin}/api/form-lock/check`,
    body: JSON.stringify({ form: FORM, token: held?.token ?? 'TOKEN' }),
  };
}

const SENTENCES = {
  mine: 'Yours: nobody else can edit it.',
  theirs: 'Somebody else is editing it.',
  nobody: 'Nobody is editing it.',
  unknown: '',
};

function enter(next) {
  lock = next;
  show();
}

function show() {
  element('lock').dataset.lock = lock;
  element('lock').textContent = SENTENCES[lock];
  element('editable').disabled = lock !== 'mine';
  element('edit').disabled = lock !== 'nobody';
  element('edit').hidden = lock === 'mine';
  element('save').hidden = lock !== 'mine';
  element('cancel').hidden = lock !== 'mine';
  element('token').textContent = held?.token ?? 'none';
  element('fence').textContent = held?.fence ?? 'none';
  const { url, body } = check();
  element('command').textContent = `curl -d ${shellWord(body)} ${shellWord(url)}`;
}

element('another').href = location.href;

showConnection(session);
show();
session.open();
