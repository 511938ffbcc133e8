/**
 * What the demo pages have in common: the connection's state at the top, buttons that copy, answers, and words for what is
 * shown. It knows elements by the ids that every demo page has, and nothing of what is sent.
 *
 * Whatever comes from elsewhere is put into the page as text, never as markup.
 */

/** Characters of a message that are shown; what is longer is cut, and says so. */
const SHOWN_LIMIT = 600;

export const query = new URLSearchParams(location.search);
export const element = (id) => document.getElementById(id);

/** Where to connect: the path in `?resource=`, or else the given one. */
export function socketUrl(path) {
  // Set as a path, so that no link to a demo page can make it connect to another host.
  const url = new URL(location.origin);
  url.pathname = query.get('resource') ?? path;
  return url;
}

// -- the connection ----------------------------------------------------------------------------------------------------

const STATE_NAMES = {
  connecting: 'Connecting',
  ready: 'Connected',
  waiting: 'Waiting',
  refused: 'Refused',
  closed: 'Closed',
};

let retryAt = 0;
let countdown;

/** `names`: other words for states than those of every page. */
export function showConnection({ state, detail, retryIn }, names = {}) {
  element('state').dataset.state = state;
  element('state-name').textContent = names[state] ?? STATE_NAMES[state];
  element('state-detail').textContent = state === 'waiting' || state === 'refused' ? detail : '';

  clearInterval(countdown);
  element('state-countdown').textContent = '';
  if (retryIn !== null) {
    retryAt = performance.now() + retryIn;
    countdown = setInterval(showCountdown, 250);
    showCountdown();
  }
}

function showCountdown() {
  const seconds = Math.ceil((retryAt - performance.now()) / 1_000);
  element('state-countdown').textContent = seconds > 0 ? `Again in ${seconds} s` : 'Again now';
}

// -- a resource that isn't there -----------------------------------------------------------------------------------------

/** What an INI file without the section stands for: one with the section has to name these as well. */
const DEFAULT_RESOURCES = '[resources]\n/ = relay\n/web = relay\n/php = relay\n/echo = echo';
/** How long a request may take; ms. */
const LOOK_TIMEOUT = 10_000;

const MISSING = `
  <h2 id="missing-title"></h2>
  <p>Add the last of these rows to the server’s <code>websock.ini</code>, and the others where the file has no <code>[resources]</code> as yet. Then start the server again.</p>
  <div class="command">
    <pre tabindex="0" aria-label="Rows of websock.ini"><code id="missing-row"></code></pre>
    <div class="under">
      <p class="hint">If it is at another path already: <code id="missing-elsewhere"></code></p>
      <button type="button" class="quiet" data-copy="missing-row">Copy</button>
    </div>
  </div>
  <div><button type="button" class="primary" id="look-again">Look again</button></div>`;

/**
 * A page is not told why an upgrade failed. A plain request is: 404 where no resource has that path. Then the page says so in
 * place of everything else, with the row that makes it one of `handler`, which is `what`. Gives whether that is the case.
 */
export async function showIfMissing(resource, handler, what) {
  let status;
  try {
    ({ status } = await fetch(resource, { cache: 'no-store', signal: AbortSignal.timeout(LOOK_TIMEOUT) }));
  } catch {
    // Not reached: then it is tried again as any lost connection is.
    return false;
  }
  if (status !== 404) return false;
  const card = document.createElement('section');
  card.id = 'missing';
  card.className = 'card wide';
  card.setAttribute('aria-labelledby', 'missing-title');
  card.innerHTML = MISSING;
  for (const other of document.querySelectorAll('main > section')) other.hidden = true;
  document.querySelector('main').prepend(card);
  element('missing-title').textContent = `There is no ${what} at ${resource.pathname}`;
  element('missing-row').textContent = `${DEFAULT_RESOURCES}\n${resource.pathname} = ${handler}`;
  element('missing-elsewhere').textContent = `${location.pathname}?resource=/PATH`;
  element('look-again').addEventListener('click', () => location.reload());
  return true;
}

// -- answers, and what is copied ---------------------------------------------------------------------------------------

/** `outcome`: `good`, `bad`, or nothing while it is open. */
export function showAnswer(outcome, headline, sentence = '', body = '') {
  const answer = element('answer');
  answer.dataset.outcome = outcome;
  const line = document.createElement('p');
  const strong = document.createElement('strong');
  strong.textContent = sentence ? `${headline}.` : headline;
  line.append(strong, sentence ? ` ${sentence}` : '');
  answer.replaceChildren(line);
  if (body.trim() !== '') {
    const pre = document.createElement('pre');
    pre.tabIndex = 0;
    pre.textContent = shortened(body);
    answer.append(pre);
  }
}

document.addEventListener('click', async ({ target }) => {
  const button = target.closest('[data-copy]');
  if (!button) return;
  const done = await copy(element(button.dataset.copy));
  button.textContent = done ? 'Copied' : 'Selected';
  element('copied').textContent = done ? 'Copied to the clipboard' : 'Selected; copy it with the keyboard';
  setTimeout(() => {
    button.textContent = 'Copy';
    element('copied').textContent = '';
  }, 1_500);
});

/** A page that is neither from https nor from this machine has no clipboard: then the text is selected, to be copied by hand. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return false;
  }
}

// -- what is heard -----------------------------------------------------------------------------------------------------

/** Puts a message with the time on top of the list of that id, which shows the latest `limit`. */
export function hear(id, message, limit) {
  const item = document.createElement('li');
  const text = document.createElement('span');
  text.textContent = shownMessage(message);
  item.append(timeElement(), text);
  const list = element(id);
  list.prepend(item);
  while (list.children.length > limit) list.lastChild.remove();
}

// -- words -------------------------------------------------------------------------------------------------------------

export function shownMessage(message) {
  return shortened(typeof message === 'string' ? message : JSON.stringify(message) ?? '');
}

export function shortened(text) {
  return text.length <= SHOWN_LIMIT ? text : `${text.slice(0, SHOWN_LIMIT)} … (${text.length} characters)`;
}

export function timeOfDay(exact = false) {
  const now = new Date();
  const two = (number) => String(number).padStart(2, '0');
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  return exact ? `${time}.${String(now.getMilliseconds()).padStart(3, '0')}` : time;
}

export function timeElement(exact) {
  const time = document.createElement('time');
  time.textContent = timeOfDay(exact);
  return time;
}

export function shellWord(text) {
  return /^[\w.:/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A browser may forbid a page to store anything; then nothing is remembered. */
export function remembered(key) {
  try {
    return localStorage.getItem(`websock.${key}`);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    if (value === '') localStorage.removeItem(`websock.${key}`);
    else localStorage.setItem(`websock.${key}`, value);
  } catch {
    // Nothing depends on it.
  }
}
