import { de } from './de.ts'
import { en, type Words } from './en.ts'

/** Every language that the page speaks. */
export const languages = { en, de } satisfies Record<string, Words>

export type Language = keyof typeof languages

const key = 'doorstep.language'
const isKnown = (name: string | null): name is Language => name !== null && Object.hasOwn(languages, name)

/** The one that was chosen here, or the first of the browser's that is known. */
function usual(): Language {
  const wished = [localStorage.getItem(key), ...navigator.languages.map((it) => it.slice(0, 2).toLowerCase())]
  return wished.find(isKnown) ?? 'en'
}

let chosen: Language = usual()

export const language = (): Language => chosen
export const words = (): Words => languages[chosen]

/** From now on in this language. Whoever calls this draws anew. */
export function speak(next: Language): void {
  chosen = next
  localStorage.setItem(key, next)
}

/** A day and an hour as this language writes them. */
export const momentOf = (time: string): string =>
  new Intl.DateTimeFormat(chosen, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(time))

/** Of today, the hour alone. */
export const timeOf = (time: string): string =>
  new Intl.DateTimeFormat(chosen, { timeStyle: 'short' }).format(new Date(time))
