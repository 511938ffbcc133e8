/**
 * A demo page in a tab: opened and watched, read, waited for, photographed.
 *
 * Knows what every demo page has, and nothing of what one of them is about.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src *; "
  + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const LIMIT = 15_000;

/** Opens a page of the server. What the page, or the browser about it, complains of is added to `complaints`. */
export async function openTab(context, url, name, complaints) {
  const tab = await context.newPage();
  tab.setDefaultTimeout(LIMIT);
  tab.on('pageerror', (error) => complaints.push(`${name}: ${error.stack}`));
  tab.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(`${name}: ${message.text()}`);
  });
  await tab.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => {
      window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  const response = await tab.goto(url);
  assert.equal(response.status(), 200);
  assert.equal(response.headers()['content-security-policy'], POLICY);
  return tab;
}

/** What the page has tried that its policy forbids. */
export const violations = (tab) => tab.evaluate(() => window.violations);

export const text = (tab, id) => tab.locator(`#${id}`).textContent();
export const shows = (tab, id, wanted) => tab.locator(`#${id}`, { hasText: wanted }).waitFor();
export const state = (tab, wanted) => tab.locator(`#state[data-state="${wanted}"]`).waitFor();

/**
 * Whether the browser says in this line no more than that there is nothing to open: that it was refused, or that the page gave
 * it up before it was.
 */
export const isAboutMissing = (line) =>
  line.includes('404') || line.includes('WebSocket is closed before the connection is established');

/** Photographs the page on a desktop and on phones, light and dark; none of them may have to be scrolled sideways. */
export async function looks(tab, shots, prefix) {
  for (const [name, width, height, colorScheme] of [
    ['desktop', 1280, 900, 'light'], ['desktop-dark', 1280, 900, 'dark'],
    ['phone', 390, 844, 'light'], ['phone-dark', 390, 844, 'dark'], ['narrow', 360, 740, 'light'],
  ]) {
    await tab.emulateMedia({ colorScheme });
    await tab.setViewportSize({ width, height });
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${name}: ${wide} px wide`);
    await tab.screenshot({ path: join(shots, `${prefix}${name}.png`), fullPage: true });
  }
  await tab.emulateMedia({ colorScheme: 'light' });
  await tab.setViewportSize({ width: 1280, height: 900 });
}
