// Passkeys: signing in, adding one, and signing votes. Forms that need one say so by `data-passkey`; nothing here writes markup.

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

class Refused extends Error {}

async function send(path, fields) {
  const reply = await fetch(path, { method: "POST", body: new URLSearchParams(fields), credentials: "same-origin" });
  const said = reply.headers.get("content-type")?.startsWith("application/json") ? await reply.json() : {};
  if (!reply.ok) throw new Refused(said.refused ?? "This did not work: load the page again.");
  return said;
}

async function signIn(form) {
  const asked = await send("/console/passkeys/challenge", {});
  const given = await navigator.credentials.get({
    publicKey: { challenge: bytes(asked.challenge), rpId: asked.rp_id, userVerification: "required", timeout: asked.timeout_ms },
  });
  const done = await send("/console/passkeys/sign-in", {
    challenge: asked.challenge,
    id: given.id,
    client_data: text(given.response.clientDataJSON),
    authenticator_data: text(given.response.authenticatorData),
    signature: text(given.response.signature),
    next: form.elements.next.value,
  });
  location.assign(done.next);
}

async function register(form) {
  const token = { form_token: form.elements.form_token.value };
  const asked = await send("/console/you/passkeys/challenge", token);
  const made = await navigator.credentials.create({
    publicKey: {
      challenge: bytes(asked.challenge),
      rp: { id: asked.rp_id, name: "Licet" },
      user: { id: bytes(asked.user.id), name: asked.user.name, displayName: asked.user.name },
      pubKeyCredParams: asked.algorithms.map((alg) => ({ type: "public-key", alg })),
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
      attestation: "none",
      timeout: asked.timeout_ms,
    },
  });
  const done = await send("/console/you/passkeys", {
    ...token,
    challenge: asked.challenge,
    id: made.id,
    client_data: text(made.response.clientDataJSON),
    attestation: text(made.response.attestationObject),
    name: form.elements.name.value,
  });
  location.assign(done.next);
}

const DOES = { "sign-in": signIn, register };

const said = new Map(); // by the form's id: what is exchanged while somebody looks is told what stood there

function say(form, message) {
  const place = form.querySelector("[role=status]");
  if (place && place.textContent !== message) place.textContent = message;
  if (form.id) said.set(form.id, message);
}

document.addEventListener("htmx:after:swap", () => {
  for (const [id, message] of said) {
    const form = document.getElementById(id);
    if (form && form.dataset.passkey === "vote") say(form, message);
  }
});

function told(error) {
  if (error instanceof Refused) return error.message;
  if (error?.name === "InvalidStateError") return "This device has a passkey of yours already.";
  return "No passkey was used.";
}

async function act(form, does) {
  const button = form.querySelector("button");
  button.disabled = true;
  say(form, "Waiting for your passkey.");
  try {
    await does(form);
  } catch (error) {
    say(form, told(error));
  } finally {
    button.disabled = false;
  }
}

// Votes: the challenge is made here, of what the page shows (docs/ledger-format.md, Signed votes).

const LINE = new TextEncoder();

async function sha256(lines) {
  return crypto.subtle.digest("SHA-256", LINE.encode(lines.join("\n")));
}

const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function chosen(form, submitter) {
  const votes = [];
  for (const place of form.querySelectorAll("[data-votes-on]")) {
    const single = place.matches("input");
    const value = single ? `${submitter?.value}.${place.value}` : place.querySelector("input:checked")?.value;
    const [verdict, binding] = (value ?? "").split(".");
    const { votesOn: request, log, number, needs } = place.dataset;
    if (binding) votes.push({ request, log, number, needs: needs !== undefined, verdict, binding });
  }
  return votes;
}

async function sign(form, votes) {
  const comment = form.elements.comment;
  comment.value = comment.value.trim();
  const said = hex(await sha256([comment.value]));
  const digests = [];
  for (const { log, request, binding, verdict, number } of votes) {
    digests.push(hex(await sha256(["licet-vote-1", log, request, binding, verdict, form.dataset.voter, number, said])));
  }
  const ids = form.dataset.keys.split(" ").filter((id) => id !== "");
  if (ids.length === 0) throw new Refused("You have no passkey that is good here: add one first.");
  const given = await navigator.credentials.get({
    publicKey: {
      challenge: await sha256(["licet-votes-1", ...digests]),
      rpId: form.dataset.rp,
      allowCredentials: ids.map((id) => ({ type: "public-key", id: bytes(id) })),
      userVerification: "required",
    },
  });
  form.elements.assertion.value = JSON.stringify({
    id: given.id,
    client_data: text(given.response.clientDataJSON),
    authenticator_data: text(given.response.authenticatorData),
    signature: text(given.response.signature),
  });
}

const signed = new WeakSet();

async function vote(form, votes, submitter) {
  say(form, "Waiting for your passkey.");
  try {
    await sign(form, votes);
    signed.add(form);
    form.requestSubmit(submitter);
  } catch (error) {
    say(form, told(error));
  }
}

document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (form.dataset.passkey !== "vote" || !window.PublicKeyCredential || signed.delete(form)) return;
    const votes = chosen(form, event.submitter);
    if (!votes.some((one) => one.needs && one.verdict === "approve")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    vote(form, votes, event.submitter);
  },
  true,
);

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const does = DOES[form.dataset.passkey];
    if (!does) continue;
    form.querySelector("button").disabled = false;
    say(form, "");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      act(form, does);
    });
  }
}
