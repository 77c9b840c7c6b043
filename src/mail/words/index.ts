import type { Content } from '../message.ts'
import { de } from './de.ts'
import { en } from './en.ts'
import {
  type LinkFacts,
  type LinkTopic,
  linkTopics,
  type NoticeFacts,
  type NoticeTopic,
  noticeTopics,
  type Words,
} from './facts.ts'

export {
  type FactorName,
  type LinkTopic,
  linkTopics,
  type NoticeFacts,
  type NoticeTopic,
  noticeTopics,
  type Words,
} from './facts.ts'

export const languages = { en, de } as const satisfies Record<string, Words>

export type Language = keyof typeof languages

const isLanguage = (text: string): text is Language => Object.hasOwn(languages, text)

/** The language for a locale (BCP 47): that of its first part; English where nobody has written it yet. */
export function languageOf(locale: string): Language {
  const [language = ''] = locale.toLowerCase().split(/[-_]/)
  return isLanguage(language) ? language : 'en'
}

/** A notice: what happened, when and from where, and what to do about it. */
export function noticeOf(words: Words, topic: NoticeTopic, facts: NoticeFacts): Content {
  const { when, where, notMe, unlinked } = words.notice
  const { app, at, network, client, link } = facts
  const [subject, told, announced = notMe] = words.notices[topic](facts)
  const moment = network === null ? when(at) : `${when(at)}\n${where(network, client)}`
  const paragraphs = [told, moment, link === null ? unlinked(app) : announced]
  return { subject: `${subject} – ${app}`, paragraphs, ...(link !== null && { link }) }
}

/** A mail that somebody asked for: why it comes, and the link to go on with. */
export function linkMailOf(words: Words, topic: LinkTopic, { app, link, lifeSeconds }: LinkFacts): Content {
  const [subject, told, advice, announced] = words.links[topic](app)
  if (link === null || announced === undefined) return { subject: `${subject} – ${app}`, paragraphs: [told, advice] }
  return {
    subject: `${subject} – ${app}`,
    paragraphs: [told, advice, `${announced} ${words.lasts(lifeSeconds)}`],
    link,
  }
}

const someDay = new Date(0)
const someFacts: NoticeFacts = {
  ...{ at: someDay, network: null, client: null, factor: 'other', name: null, remaining: 0, isNew: false },
  ...{ erasesAt: someDay, link: 'link', app: 'app' },
}

/**
 * Writes every mail of every language once, at the start of what sends them: better no start than an event that its owner is
 * not told of. Throws an Error that names the language and the mail which is not there, says nothing or cannot be written.
 */
export function checkWords(written: Record<string, Words> = languages): void {
  for (const [language, words] of Object.entries(written)) {
    const check = (name: string, write: () => Content): void => {
      if (!isWritten(write)) throw new Error(`The words of the mail ${name} are missing in the language ${language}`)
    }
    check('code', () => words.code({ app: 'app', code: '000000', lifeSeconds: 600 }))
    for (const topic of noticeTopics) check(topic, () => noticeOf(words, topic, someFacts))
    for (const topic of linkTopics) {
      check(topic, () => linkMailOf(words, topic, { app: 'app', link: 'link', lifeSeconds: 3_600 }))
    }
  }
}

function isWritten(write: () => Content): boolean {
  try {
    const { subject, paragraphs } = write()
    return /^\S.*\S/.test(subject.replace(' – app', '')) && paragraphs.every((it) => it.trim() !== '')
  } catch {
    return false
  }
}
