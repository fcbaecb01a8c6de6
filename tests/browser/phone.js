// Two phones in a page: they register over WebSocket, call each other with
// audio, hold, go on and hang up. Each step is told to the test by /told.
import JsSIP from "jssip";

const param = new URLSearchParams(location.search);
const tell = (what) => fetch("/told", { method: "POST", body: what });
window.addEventListener("error", (e) => tell("error: " + e.message));
window.addEventListener("unhandledrejection", (e) => tell("error: " + e.reason));

const media = { mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } };

function phone(user) {
  const ua = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(param.get("server"))],
    uri: `sip:${user}@${param.get("domain")}`,
    password: `secret-${user}`,
    register_expires: 600,
    session_timers: false,
  });
  const registered = new Promise((ok, no) => {
    ua.on("registered", ok);
    ua.on("registrationFailed", (e) => no(`${user} is not registered: ${e.cause}`));
  });
  ua.start();
  return { ua, registered };
}

const once = (from, event) => new Promise((ok) => from.once(event, ok));

// heard resolves when audio has come in.
async function heard(session) {
  for (let tries = 0; tries < 100; tries++) {
    for (const report of (await session.connection.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.bytesReceived > 0) return;
    }
    await new Promise((ok) => setTimeout(ok, 100));
  }
  throw "no audio comes in";
}

async function main() {
  const alice = phone("alice"), bob = phone("bob");
  await Promise.all([alice.registered, bob.registered]);
  await tell("registered");

  const answered = new Promise((ok) => bob.ua.on("newRTCSession", ({ originator, session }) => {
    if (originator !== "remote") return;
    session.on("confirmed", () => ok(session));
    session.answer(media);
  }));
  const call = alice.ua.call(`sip:bob@${param.get("domain")}`, media);
  call.on("failed", (e) => tell(`error: the call failed: ${e.cause}`));
  await once(call, "confirmed");
  const far = await answered;
  await tell("confirmed");
  await Promise.all([heard(call), heard(far)]);
  await tell("heard");

  const held = once(far, "hold");
  await new Promise((done) => call.hold({}, done));
  await held;
  const resumed = once(far, "unhold");
  await new Promise((done) => call.unhold({}, done));
  await resumed;
  await tell("held");

  const over = once(call, "ended");
  far.terminate();
  await over;
  await tell("ended");

  const failed = new Promise((ok) => alice.ua.call(`sip:nobody@${param.get("domain")}`, { ...media, eventHandlers: { failed: ok } }));
  await tell("refused " + (await failed).message.status_code);
  const gone = once(alice.ua, "unregistered");
  alice.ua.unregister();
  await gone;
  await tell("done");
}

main().catch((e) => tell("error: " + e));
