import { de } from './de.ts'
import { en } from './en.ts'
import type { Words } from './facts.ts'

export { type FactorName, type NoticeFacts, type NoticeTopic, noticeTopics, type Words } from './facts.ts'

export const languages = { en, de } as const satisfies Record<string, Words>

export type Language = keyof typeof languages

const isLanguage = (text: string): text is Language => Object.hasOwn(languages, text)

/** The language for a locale (BCP 47): that of its first part; English where nobody has written it yet. */
export function languageOf(locale: string): Language {
  const [language = ''] = locale.toLowerCase().split(/[-_]/)
  return isLanguage(language) ? language : 'en'
}
