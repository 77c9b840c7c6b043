import { createDoorstep, webStorage } from '../index.ts'
import { stepUp } from './step-up.ts'

/** Where the page and the service stand: this one is served by the service itself. */
export const base = new URL('.', location.href)

/**
 * The client of this page. `localStorage` keeps its session over all tabs and reloads: a page that lets no foreign script in
 * (its Content-Security-Policy) may choose that. `memoryStorage()` is the careful choice, and signs out at a reload.
 */
export const doorstep = createDoorstep({
  baseUrl: base.href.replace(/\/$/, ''),
  storage: webStorage(localStorage),
  onStepUp: () => stepUp(),
})
