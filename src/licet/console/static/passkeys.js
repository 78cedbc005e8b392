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

function say(form, message) {
  const place = form.querySelector("[role=status]");
  if (place) place.textContent = message;
}

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
