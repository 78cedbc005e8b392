// What pages do beyond links and forms: times in the reader's zone, clocks that run, keys. Every page works without it.
// Nothing here writes markup, sends anything, or decides anything.

const ZONED = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const TICK = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
const SHORT = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}

// The server's clock counts, not the reader's: pages say when they were written.
const written = Date.parse(document.documentElement.dataset.now ?? "");
const ahead = Number.isNaN(written) ? 0 : written - Date.now();
const now = () => Date.now() + ahead;

function zone(root) {
  for (const time of root.querySelectorAll("time.at:not([data-zoned])")) {
    const at = new Date(time.dateTime);
    const today = new Date(now()).toDateString() === at.toDateString();
    if (time.classList.contains("tick")) time.textContent = (today ? SHORT : TICK).format(at);
    else time.textContent = (today && !time.classList.contains("with-date") ? CLOCK : ZONED).format(at);
    time.dataset.zoned = "";
  }
}

function tick() {
  for (const time of document.querySelectorAll("time.ago")) {
    const text = `${span(Math.max(0, Math.floor((now() - Date.parse(time.dateTime)) / 1000)))} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
  for (const place of document.querySelectorAll("[data-until]")) {
    const left = Math.floor((Date.parse(place.dataset.until) - now()) / 1000);
    const text = left <= 0 ? "past its time" : `${span(left)} left`;
    if (place.textContent !== text) place.textContent = text;
    place.classList.toggle("soon", left <= 300);
    const bar = place.parentElement?.querySelector("progress");
    if (bar) bar.value = Math.max(0, left);
  }
}

// Keys

const rows = () => [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);

function move(step) {
  const all = rows();
  if (all.length === 0) return;
  const here = all.findIndex((row) => row === document.activeElement || row.contains(document.activeElement));
  const current = here >= 0 ? here : all.findIndex((row) => row.getAttribute("aria-current"));
  const next = all[Math.min(all.length - 1, Math.max(0, current + step))];
  (next.matches("a, button") ? next : next.querySelector("a, button") ?? next).focus();
}

// Whoever speaks to the browser, or types by mistake, turns them off (WCAG 2.1.4); this browser remembers.
const KEYS = "licet-keys";
const areOn = () => localStorage.getItem(KEYS) !== "off";
const choice = document.getElementById("keys-on");
if (choice) {
  choice.checked = areOn();
  choice.closest("[hidden]")?.removeAttribute("hidden");
  choice.addEventListener("change", () => localStorage.setItem(KEYS, choice.checked ? "on" : "off"));
}

document.addEventListener("keydown", (event) => {
  if (!areOn()) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const keys = document.getElementById("keys");
  if (event.key === "?" && keys) {
    if (!keys.open) keys.showModal();
  } else if (keys?.open) {
    return;
  } else if (event.key === "j" || event.key === "k") {
    move(event.key === "j" ? 1 : -1);
  } else {
    const wanted = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key);
    if (!wanted) return;
    wanted.focus(); // a key brings one to a button; pressing it stays a second act
  }
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  const opens = event.target.closest("[data-opens]");
  const dialog = opens && document.getElementById(opens.dataset.opens);
  if (dialog) {
    event.preventDefault();
    dialog.showModal();
  } else if (event.target.matches("dialog[open]")) {
    event.target.close(); // beside it
  }
  for (const menu of document.querySelectorAll("details.drop[open]")) if (!menu.contains(event.target)) menu.open = false;
});

zone(document);
tick();
setInterval(tick, 1000);
new MutationObserver((changes) => {
  if (changes.some((change) => change.addedNodes.length > 0)) {
    zone(document);
    tick();
  }
}).observe(document.body, { childList: true, subtree: true });
document.addEventListener("htmx:after:swap", () => {
  zone(document); // a part that was morphed into another has no new nodes
  tick();
});
document.addEventListener("htmx:sse:error", (event) => {
  if (event.detail.status === 401) location.reload(); // the session has ended: what stands here is for nobody any more
});
