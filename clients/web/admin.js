/**
 * The live page: shows what the server's feed tells once a second, asks it who is connected and what happened to whom, and
 * sends test messages. `src/app/admin.rs` has what is said over the feed.
 *
 * What the server tells are totals since it was started; rates are made of two of them here, and the plots' past is this
 * page's memory. Whatever comes from elsewhere is put into the page as text, never as markup.
 */

import { Bars, Plot, brief, bytes, duration, number, shortTime } from './admin-plots.js';
import { Connection, parsed } from './connection.js';
import { element, shortened, showAnswer, showConnection } from './page.js';

const FEED = '/admin/feed';
/** What the plots show, in seconds. */
const SPAN = 180;
/** The server tells something every second: it is given up when it has said nothing for so long; ms. */
const SILENCE = 10_000;
/** Clients and endings that are listed at most, and how long after an answer a list is not asked for again; ms. */
const LISTED = 100;
const ENDINGS = 50;
const EVENTS_SHOWN = 100;
const LIST_PAUSE = 2_000;
const TYPING_PAUSE = 250;
/** A turn of the loop that takes so many seconds is felt by everybody. */
const SLOW_TURN = 0.1;

// -- the feed ----------------------------------------------------------------------------------------------------------

/** The server refuses this page: there is nothing to wait for. */
let refused = false;
let hello = null;
let asked = 0;
/** What was asked and not answered yet, by its number; what to do with the answer. */
const open = new Map();

const feed = new Connection(FEED, { events: false }, {
  opened() {},
  received(data) {
    feed.awaitAnswer(SILENCE, 'The server has said nothing');
    const told = parsed(data);
    if (told?.tell === 'hello') begin(told);
    else if (told?.tell === 'snapshot') showSnapshot(told);
    else {
      open.get(told?.number)?.(told);
      open.delete(told?.number);
    }
  },
  lost() {
    for (const resolve of open.values()) resolve({ error: 'the connection was lost before the answer' });
    open.clear();
  },
  changed(change) {
    if (refused) return;
    showConnection(change);
    const stands = change.state === 'ready';
    element('live').toggleAttribute('data-stale', !stands);
    for (const id of ['why-button', 'send']) element(id).disabled = !stands;
    if (change.state === 'waiting') void findOut();
  },
  woken: () => refreshLists(),
});

/** Asks the server; the answer has an `error` where there is none. */
function ask(what, data) {
  if (feed.state !== 'ready') return Promise.resolve({ error: 'not connected' });
  asked += 1;
  const number = asked;
  feed.send(JSON.stringify({ ask: what, number, ...data }));
  return new Promise((resolve) => open.set(number, resolve));
}

function begin(told) {
  if (hello !== null && hello.started !== told.started) before = null;
  hello = told;
  element('about').textContent = `${location.host}, version ${hello.version}`;
  turnBars = new Bars(element('turns'), [...hello.bounds.map(shortTime), 'more'], hello.bounds.findIndex((bound) => bound > SLOW_TURN));
  feed.ready();
  refreshLists({ now: true, anew: true });
}

/** A page is not told why an upgrade failed. A plain request is: 401 and 403 as the page itself would be, or else 426. */
async function findOut() {
  let response;
  try {
    response = await fetch(FEED, { cache: 'no-store', signal: AbortSignal.timeout(SILENCE) });
  } catch {
    // Not reached: it is tried again as any lost connection is.
    return;
  }
  if (feed.state !== 'waiting') return;
  if (response.status === 401 || response.status === 403) {
    const why = (await response.text()).trim();
    feed.close();
    refused = true;
    showConnection({ state: 'refused', detail: why, retryIn: null }, { refused: 'Not allowed' });
    element('again').hidden = false;
  } else if (response.status === 426) {
    element('state-detail').textContent = 'The feed is there and does not open: does a proxy in front pass on upgrades, and the Host?';
  }
}

element('again').addEventListener('click', () => location.reload());

// -- how things are ----------------------------------------------------------------------------------------------------

const plots = element('plots');
const clientsPlot = new Plot(plots, 'Clients', SPAN, brief);
const receivedPlot = new Plot(plots, 'Messages in/s', SPAN, brief);
const sentPlot = new Plot(plots, 'Messages out/s', SPAN, brief);
const heldPlot = new Plot(plots, 'Waiting output', SPAN, bytes);
const turnPlot = new Plot(plots, 'Slowest turns (1 %)', SPAN, shortTime);
let turnBars;

/** The snapshot before this one, of the same server. */
let before = null;
let latest = null;

function showSnapshot(told) {
  latest = told;
  const browsers = sum(told.clients, 'browsers');
  const scripts = sum(told.clients, 'scripts');
  const seconds = before ? told.time - before.time : 0;
  // After a while away there is a rate of that while, and no line through it.
  if (before && seconds > 5) {
    for (const plot of [clientsPlot, receivedPlot, sentPlot, heldPlot, turnPlot]) plot.add(told.time - 1, null);
  }
  clientsPlot.add(told.time, browsers + scripts, `${count(browsers, 'browser')}, ${count(scripts, 'script')}`);
  heldPlot.add(told.time, told.held, `of ${bytes(told.max_memory)}`);
  if (before && seconds > 0) {
    const rate = (of, what) => Math.max(0, told[of][what] - before[of][what]) / seconds;
    receivedPlot.add(told.time, rate('received', 'messages'), `${bytes(rate('received', 'bytes'))}/s`);
    sentPlot.add(told.time, rate('sent', 'messages'), `${bytes(rate('sent', 'bytes'))}/s`);
    const turns = told.turns.counts.map((turns, index) => turns - before.turns.counts[index]);
    turnPlot.add(told.time, slowest(turns), `${brief(turns.at(-1) / seconds)} turns/s`);
  }
  before = told;

  element('about').textContent = `${location.host}, version ${hello.version}, up for ${duration(told.time - hello.started)}`;
  turnBars.show(told.turns.counts.map((turns, index, all) => turns - (all[index - 1] ?? 0)));
  element('turns-hint').textContent = `${number(told.turns.counts.at(-1))} since it was started, ${shortTime(told.turns.sum / Math.max(1, told.turns.counts.at(-1)))} on average. While one lasts, everybody else waits`;
  showPaths(told);
  showTotals(told);
  refreshLists();
}

const sum = (rows, what) => rows.reduce((total, row) => total + row[what], 0);
const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? '' : 's'}`;

/** The time that 99 of 100 turns did not exceed, as far as the bounds tell: the first bound that holds so many. */
function slowest(cumulative) {
  const wanted = cumulative.at(-1) * 0.99;
  const place = cumulative.findIndex((turns) => turns >= wanted);
  return hello.bounds[Math.min(place, hello.bounds.length - 1)];
}

function showPaths({ clients, other, watchers }) {
  element('paths').replaceChildren(...clients.map(({ browsers, scripts, ever }, index) => {
    const { path, handler } = hello.resources[index];
    const row = document.createElement('tr');
    const name = made('td', path);
    name.append(' ', made('span', handler, 'hint'));
    row.append(name, ...[browsers, scripts, ever].map((value) => made('td', number(value), 'number')));
    return row;
  }));
  element('others').textContent = `${count(watchers, 'live page')} such as this one. ${count(other, 'connection')} not upgraded yet, or closed and waiting for the other side.`;
}

/** What codes stand for (RFC 6455, section 7.4.1). */
const CODES = {
  1000: 'normal', 1001: 'going away', 1002: 'protocol error', 1003: 'unsupported data', 1005: 'without a code',
  1006: 'gone without a word', 1007: 'invalid data', 1008: 'against the rules', 1009: 'too big', 1011: 'internal error',
  1012: 'restart', 1013: 'try again later',
};

function showTotals(told) {
  const rows = [
    ['Connections accepted', told.accepted],
    ['Messages in', told.received.messages],
    ['Messages out', told.sent.messages],
    ['Messages handed to clients', told.deliveries],
    ['Messages not handed over: too slow, or gone', told.undelivered],
    ...Object.entries(told.refusals).map(([status, times]) => [`Refused with ${status}`, times]),
    ...Object.entries(told.turned_away).map(([limit, times]) => [`Turned away by ${limit}`, times]),
    ...Object.entries(told.dropped).map(([limit, times]) => [`Dropped by ${limit}`, times]),
    ...['client', 'server'].flatMap((by) => Object.entries(told.closes[by]).map(([code, times]) => {
      const words = CODES[code] ? `${code}, ${CODES[code]}` : code;
      return [`Closed by the ${by}: ${words}`, times];
    })),
    ...(told.log_lines_lost > 0 ? [['Log lines lost', told.log_lines_lost]] : []),
  ];
  element('totals').replaceChildren(...rows.flatMap(([name, value]) => [made('dt', name), made('dd', number(value))]));
}

function made(tag, text, className = '') {
  const node = document.createElement(tag);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

// -- who is connected --------------------------------------------------------------------------------------------------

/** A list that is asked for anew where something has changed, and not more often than is good for a busy server. */
class List {
  #what;
  #show;
  #state;
  #asking = false;
  #askedAt = -Infinity;
  /** What it depended on when it was asked for: while that is so, there is nothing new to ask. */
  #shown = '';

  /** `state`: gives what it is asked with, and what else it depends on. */
  constructor(what, state, show) {
    this.#what = what;
    this.#state = state;
    this.#show = show;
  }

  async refresh({ now = false, anew = false } = {}) {
    if (now) this.#askedAt = -Infinity;
    if (anew) this.#shown = '';
    const [data, ...others] = this.#state();
    const wanted = JSON.stringify([data, others]);
    if (this.#asking || wanted === this.#shown || document.visibilityState === 'hidden') return;
    if (performance.now() - this.#askedAt < LIST_PAUSE || feed.state !== 'ready') return;
    this.#asking = true;
    const answer = await ask(this.#what, data);
    this.#asking = false;
    this.#askedAt = performance.now();
    if (answer.error) return;
    this.#shown = wanted;
    this.#show(answer, data);
    // Another search was typed meanwhile.
    if (JSON.stringify(this.#state()[0]) !== JSON.stringify(data)) void this.refresh({ now: true });
  }
}

const clientList = new List(
  'clients',
  () => [{ search: element('search').value.trim(), limit: LISTED }, latest?.clients],
  (answer, { search }) => showClients(answer, search !== ''),
);
const endingList = new List(
  'endings',
  () => [{ limit: ENDINGS }, latest?.closes, latest?.refusals, latest?.turned_away],
  ({ endings }) => showEndings(endings),
);

function refreshLists(how) {
  void clientList.refresh(how);
  void endingList.refresh(how);
}

let picked = null;
let typing;

element('search').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => void clientList.refresh({ now: true }), TYPING_PAUSE);
});
element('search-form').addEventListener('submit', (event) => event.preventDefault());

function showClients({ total, clients }, searched) {
  const focused = document.activeElement?.closest?.('#clients tr')?.dataset.uuid;
  element('clients-rows').replaceChildren(...clients.map(clientRow));
  if (focused) element('clients-rows').querySelector(`[data-uuid="${CSS.escape(focused)}"] button`)?.focus();
  const found = searched ? 'found' : 'connected';
  element('clients-count').textContent = clients.length < total
    ? `The latest ${number(clients.length)} of ${number(total)} ${found}` : `${number(total)} ${found}`;
  element('clients').hidden = clients.length === 0;
  element('clients-none').hidden = clients.length > 0;
  element('clients-none').textContent = searched ? 'Nobody who is connected has that.' : 'Nobody is connected.';
}

function clientRow(client) {
  const row = document.createElement('tr');
  row.dataset.uuid = client.uuid;
  row.setAttribute('aria-selected', String(client.uuid === picked));
  const button = made('button', client.uuid, 'pick');
  button.type = 'button';
  const names = [client.ident, client.user && `user ${client.user}`].filter(Boolean).join(', ');
  const path = made('td', client.resource);
  path.append(' ', made('span', client.type, 'kind'));
  const since = made('td', duration(latest.time - client.connected), 'late');
  since.title = new Date(client.connected * 1000).toLocaleString();
  const first = made('td', '', 'uuid');
  first.append(button);
  row.append(first, path, since, made('td', client.address, 'late'), made('td', names, 'names'));
  for (const cell of row.children) cell.setAttribute('role', 'cell');
  row.setAttribute('role', 'row');
  row.addEventListener('click', () => pick(client));
  return row;
}

/** Shows what happened to a client, and makes it the one that a test message is for. */
function pick(client) {
  picked = client.uuid;
  for (const row of element('clients-rows').children) row.setAttribute('aria-selected', String(row.dataset.uuid === picked));
  const byIdent = client.type === 'script' && client.ident !== '';
  element('to').value = byIdent ? 'ident' : 'uuid';
  element('whom').value = byIdent ? client.ident : client.uuid;
  showWhom();
  element('why').value = client.uuid;
  void lookUp();
  if (!isInView(element('one'))) element('one').scrollIntoView({ block: 'start' });
}

function isInView(node) {
  const { top } = node.getBoundingClientRect();
  return top >= 0 && top < innerHeight * 0.75;
}

// -- what happened to one of them --------------------------------------------------------------------------------------

element('why-form').addEventListener('submit', (event) => {
  event.preventDefault();
  void lookUp();
});

async function lookUp() {
  const target = element('why').value.trim();
  if (target === '') return;
  const answer = await ask('why', { target, limit: EVENTS_SHOWN });
  if (answer.error) {
    element('why-hint').textContent = `${answer.error[0].toUpperCase()}${answer.error.slice(1)}.`;
    element('events').replaceChildren();
    return;
  }
  const { connected, events, since, earlier } = answer;
  const is = connected === undefined ? 'A message' : connected ? 'Connected' : 'Not connected';
  const remembered = since ? `What has happened is remembered since ${timeOf(since)}.` : 'Nothing is remembered here.';
  const cut = earlier ? ` The latest ${number(events.length)} of ${number(events.length + earlier)} events:` : '';
  element('why-hint').textContent = `${is}. ${remembered}${cut}`;
  element('events').replaceChildren(...events.toReversed().map(eventItem));
}

/** What events are called here, and whether they are bad news. */
const EVENTS = {
  opened: ['Connected'],
  closed: ['Closed'],
  pushed: ['Sent a message'],
  handed: ['Was handed a message'],
  'handed to many': ['Was handed a message, with others'],
  dropped: ['Was not handed a message', true],
  'not connected': ['Not connected when a message came', true],
  acknowledged: ['Confirmed a message'],
  refused: ['Refused', true],
};

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** A page that is left, a server that is stopped, and a script that is done. */
const ORDINARY = /, (1000|1001|no code)\b/;

function eventItem(row) {
  const { event, uuid, id, what, bytes: size, from, fate, clients, address, type, path, ident, origin, status, why } = row;
  const [name, bad] = EVENTS[event] ?? [event];
  const words = [
    status && `status ${status}`, path, type, ident && `ident ${ident}`, address && `from ${address}`, origin && `page of ${origin}`,
    what, size !== undefined && bytes(size), fate, clients !== undefined && count(clients, 'client'), why?.replace(/^closed /, ''),
    from && !UUID.test(from) && `by the ${from}`,
  ].filter(Boolean).map((word) => shortened(String(word)));
  const item = document.createElement('li');
  item.dataset.kind = bad || fate === 'lost' || (event === 'closed' && !ORDINARY.test(why)) ? 'bad' : '';
  const body = document.createElement('div');
  body.append(made('strong', name));
  if (words.length > 0) body.append(': ', words.join(', '));
  for (const [before, target] of [[' ', uuid], [' ', id], [' by ', UUID.test(from) && from]]) {
    if (target && target !== element('why').value) body.append(before, lookUpButton(target));
  }
  item.append(timeAt(row.at), body);
  return item;
}

/** A client or a message that there is more to know about. */
function lookUpButton(target) {
  const button = made('button', target, 'pick');
  button.type = 'button';
  button.addEventListener('click', () => {
    element('why').value = target;
    void lookUp();
    if (!isInView(element('one'))) element('one').scrollIntoView({ block: 'start' });
  });
  return button;
}

const clockTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const timeOf = (seconds) => clockTime.format(new Date(seconds * 1000));

function timeAt(seconds) {
  const time = made('time', timeOf(seconds));
  time.title = new Date(seconds * 1000).toLocaleString();
  return time;
}

function showEndings(endings) {
  element('ends').replaceChildren(...endings.map(eventItem));
  element('ends-none').hidden = endings.length > 0;
  element('ends-none').textContent = hello.recorder ? 'None that is remembered.' : 'Nothing is remembered here: [recorder] size is 0.';
}

// -- test messages -----------------------------------------------------------------------------------------------------

function showWhom() {
  const to = element('to').value;
  element('whom-field').hidden = to === 'everyone';
  element('whom-name').textContent = to === 'ident' ? 'Ident' : 'UUID';
  const browsers = latest ? latest.clients.reduce((total, row, index) =>
    total + (hello.resources[index].handler === 'relay' ? row.browsers : 0), 0) : 0;
  element('send').textContent = to === 'everyone' ? `Send to ${count(browsers, 'browser')}` : 'Send';
}

element('to').addEventListener('change', () => {
  element('whom').value = '';
  showWhom();
});

element('send-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const kind = element('to').value;
  const whom = element('whom').value.trim();
  if (kind !== 'everyone' && whom === '') {
    showAnswer('bad', 'To whom?', 'Pick a client above, or enter one');
    element('whom').focus();
    return;
  }
  const to = kind === 'everyone' ? { everyone: true } : { [kind]: whom };
  const answer = await ask('send', { to, message: messageOf(element('message').value) });
  if (answer.error) showAnswer('bad', 'Not sent', `${answer.error}.`);
  else if (answer.delivered === 0) showAnswer('bad', 'Nobody got it', kind === 'everyone' ? '' : 'There is no such client of the relay.');
  else showAnswer('good', `Handed to ${count(answer.delivered, 'connection')}`);
  // What became of it, as far as it is known by now.
  if (answer.message) element('answer').append(lookUpButton(answer.message));
});

/** An object or a list where it is one, else text. */
function messageOf(text) {
  return parsed(text) ?? text;
}

showConnection(feed);
feed.open();
