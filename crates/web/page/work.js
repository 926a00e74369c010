// Rounds of work: one at a time, whose errors are shown, and which the user can stop.

import { fallen, restart } from "./ask.js";
import { busy, complain, say } from "./view.js";

// Counts computations: an answer to an earlier one is dropped.
export let round = 0;

// Runs work of the engine. Its errors are shown, and work of an earlier round ends silently.
export async function during(work) {
  const mine = ++round;
  const current = () => mine === round;
  complain(null);
  busy(true);
  const before = fallen;
  // Work that a lost GPU has interrupted begins again on the host executor.
  const again = (error) => {
    if (fallen === before || !current()) throw error;
    complain(fallen);
    return work(current);
  };
  try {
    await work(current).catch(again);
  } catch (error) {
    if (current()) {
      complain(error.message);
      say("");
    }
  } finally {
    if (current()) busy(false);
  }
}

export function stop() {
  round++;
  restart("stopped");
  busy(false);
  say("stopped");
}
