// Shortcuts, local times, countdowns and following a pull. Every page works without it.
"use strict";

const store = {
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* private window: holds for this page */ } },
};
let keysOn = store.get("triage-keys") !== "off";
let sending = false;
let typed = false;

const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const dialog = one("#help");

function localTimes() {
  const shape = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of all("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = time.textContent;
    time.textContent = shape.format(at);
  }
}

function countDown() {
  let running = false;
  for (const place of all("[data-until]")) {
    const left = Math.ceil((new Date(place.dataset.until) - Date.now()) / 1000);
    place.textContent = left > 0 ? `${left} s left` : "the time to undo is over; work starts";
    if (left > 0) running = true;
  }
  if (running) setTimeout(countDown, 250);
}

function showKeys() {
  document.documentElement.classList.toggle("keys-off", !keysOn);
  const box = one("#keys-on");
  if (box) box.checked = keysOn;
}

function isTyping(target) {
  if (!(target instanceof HTMLElement) || /^(radio|checkbox)$/.test(target.type)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

function press(selector) {
  const found = one(selector);
  if (!found || found.disabled) return false;
  found.focus();
  found.click();
  return true;
}

function open(number) {
  const pop = one(`[data-pop="${number}"]`);
  if (!pop) return false;
  pop.open = true;
  pop.querySelector("select, input, textarea").focus();
  return true;
}

function row(move) {
  const links = all("[data-row] th a");
  if (!links.length) return false;
  const here = links.findIndex((link) => link.closest("[data-row]").contains(document.activeElement));
  const next = here < 0 ? (move > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, here + move));
  links[next].focus();
  links[next].closest("[data-row]").scrollIntoView({ block: "nearest" });
  return true;
}

const memberOf = (target) => (target instanceof HTMLElement ? target.closest("[data-member]") : null);
const ticked = (member, value) => member.querySelector(`input[value="${value}"]`).checked;

function member(move) {
  const found = all("[data-member]");
  if (!found.length) return false;
  const here = found.indexOf(memberOf(document.activeElement));
  const next = here < 0 ? (move > 0 ? 0 : found.length - 1) : Math.min(found.length - 1, Math.max(0, here + move));
  found[next].focus({ preventScroll: true });
  found[next].scrollIntoView({ block: "nearest" });
  return true;
}

function choose(selector) {
  const place = memberOf(document.activeElement);
  const found = place && place.querySelector(selector);
  if (!found || found.disabled) return false;
  if (found.name === "leader") place.querySelector('input[value="cure"]').checked = true;
  found.checked = true;
  summarise();
  if (found.value === "dismiss") place.querySelector("select").focus();
  return true;
}

// says what the button will do; and when the one to confirm is not cured any more, the next one takes its place
function summarise() {
  const members = all("[data-member]");
  if (!members.length) return;
  const cured = members.filter((one) => ticked(one, "cure"));
  const leads = all('input[name="leader"][type="radio"]');
  if (leads.length && cured.length && !cured.some((one) => one.contains(leads.find((lead) => lead.checked) || null))) {
    const next = cured.map((one) => one.querySelector('input[name="leader"]')).find((lead) => !lead.disabled);
    if (next) next.checked = true;
  }
  const lead = cured.length ? leads.find((one) => one.checked && cured.some((place) => place.contains(one))) : null;
  const words = one("#words");
  const other = Boolean(lead && words && lead.value !== words.dataset.words);
  for (const place of all("#words [data-same]")) place.hidden = !lead || other;
  for (const place of all("#words [data-other]")) { place.hidden = !other; place.querySelector("bdi").textContent = lead ? lead.value : ""; }
  const nobody = Boolean(leads.length && cured.length && !lead);
  const goal = leads.length ? "it" : (one('input[name="leader"]') || { value: "" }).value;
  const joining = cured.length - (lead ? 1 : 0);
  const dismissed = members.filter((one) => ticked(one, "dismiss")).length;
  const left = members.length - cured.length - dismissed;
  const parts = [lead && `confirms ${lead.value}`, joining && `joins ${joining} to ${goal}`, dismissed && `dismisses ${dismissed}`, left && `leaves ${left}`];
  one("#sum").textContent = nobody ? "None of those to be cured can be confirmed: something blocks each of them." : `This ${parts.filter(Boolean).join(", ")}.`;
  one("[data-all]").disabled = nobody || left === members.length;
}

function go(key) {
  switch (key) {
    case "c": return choose('input[value="cure"]');
    case "d": return choose('input[value="dismiss"]');
    case "l": return choose('input[value="leave"]');
    case "m": return choose('input[name="leader"]');
    case "g": return press('[data-key="g"]');
    case "1": return press('[data-key="1"]') || Boolean(one("#why-not") && (one("#why-not").scrollIntoView({ block: "nearest" }), true));
    case "2": return press('[data-key="2"]');
    case "3": case "4": return open(key);
    case "u": return press('[data-key="u"]');
    case "j": return member(1) || row(1) || press('[data-key="ArrowRight"]');
    case "k": return member(-1) || row(-1) || press('[data-key="ArrowLeft"]');
    case "ArrowDown": return row(1);
    case "ArrowUp": return row(-1);
    case "ArrowRight": case "ArrowLeft": return press(`[data-key="${key}"]`);
    case "?": if (dialog) dialog.showModal(); return Boolean(dialog);
    default: return false;
  }
}

function decide() {
  const pop = document.activeElement && document.activeElement.closest("details.pop");
  const button = pop ? pop.querySelector("button") : null;
  if (button) { button.click(); return true; }
  return press("[data-all]") || press('[data-key="1"]') || press("[data-save]");
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.isComposing || event.defaultPrevented || sending || (dialog && dialog.open)) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.altKey) {
    if (one("#hint, #group") && decide()) event.preventDefault();
    return;
  }
  if (event.key === "Escape") {
    const pop = document.activeElement && document.activeElement.closest("details.pop[open]");
    const place = memberOf(event.target);
    if (pop) { pop.open = false; pop.querySelector("summary").focus(); } else if (place) place.focus(); else if (isTyping(event.target)) event.target.blur();
    return;
  }
  if (!keysOn || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const scrolls = key.startsWith("Arrow") && event.target instanceof HTMLElement && event.target.closest(".scroll, pre") === event.target;
  if (!scrolls && go(key)) event.preventDefault();
});

document.addEventListener("submit", (event) => {
  if (event.target.method === "dialog") return;
  if (sending) { event.preventDefault(); return; }
  sending = true;
});
window.addEventListener("pageshow", () => { sending = false; });
document.addEventListener("input", (event) => { if (event.target.id !== "keys-on") typed = true; });

document.addEventListener("change", (event) => { if (memberOf(event.target)) summarise(); });
for (const button of all("[data-first]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const place = document.getElementById(button.dataset.first);
    if (place) { place.focus(); place.scrollIntoView({ block: "center" }); }
  });
}
for (const button of all("[data-help]")) {
  button.hidden = false;
  button.addEventListener("click", () => dialog.showModal());
}
const box = one("#keys-on");
if (box) box.addEventListener("change", () => { keysOn = box.checked; store.set("triage-keys", keysOn ? "on" : "off"); showKeys(); });
for (const pop of all("details.pop")) {
  pop.addEventListener("toggle", () => { if (pop.open) for (const other of all("details.pop[open]")) if (other !== pop) other.open = false; });
}
if (document.body.classList.contains("live")) {
  // a page that somebody types in, or reads with something opened by hand, stays as it is
  const again = () => (typed || sending || one("details.pop[open]") || (dialog && dialog.open) ? setTimeout(again, 3000) : location.reload());
  setTimeout(again, 3000);
}
window.addEventListener("pageshow", summarise);
showKeys();
localTimes();
countDown();
