import { make } from './dom.ts'
import { takeNote } from './proceed.ts'

/** A word about what has just been done, if there is one. */
export function noteCard(): HTMLElement[] {
  const note = takeNote()
  return note === null ? [] : [make('p', { class: 'good', role: 'status' }, note)]
}
