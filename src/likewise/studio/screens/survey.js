// Waits until the store has been counted, and then shows the report.
import { ask, one } from "./studio.js";

const place = one("#survey");
if (place) {
  const found = await ask("/api/survey");
  if (found.ready) location.reload();
  else place.textContent = found.error;
}
