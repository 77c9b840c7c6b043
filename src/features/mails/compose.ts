import { createHash } from 'node:crypto'
import type { Mail } from '../../mail/index.ts'
import { type Content, composeMail, oneLine } from '../../mail/message.ts'
import {
  type FactorName,
  languageOf,
  languages,
  linkMailOf,
  linkTopics,
  type NoticeFacts,
  noticeOf,
  noticeTopics,
  type Words,
} from '../../mail/words/index.ts'
import { methodNames } from '../../methods.ts'
import { widestNetworkOf } from '../../security/client-address.ts'
import { describeUserAgent } from '../../security/user-agent.ts'
import type { Services } from '../../services.ts'
import type { ClaimedMail } from '../../store/mails.ts'
import type { MailedLink } from './make-link.ts'

const longestName = 64

/** What makes a mail program turn a text into a link, or into a number to call. */
const callsOrLinks = /[:/\\@]|www|[.。]\p{L}|(\d[^\p{L}\d]{0,3}){7}/iu

/**
 * A mail as it goes out, in its user's language; null where there is nothing to send: the key of its code is not in
 * SECRET_KEYS, or this build does not know what it is to tell.
 */
export function compose(
  { oneTimeCodes, config }: Pick<Services, 'oneTimeCodes' | 'config'>,
  mail: ClaimedMail,
  link: MailedLink,
): Mail | null {
  const language = languageOf(link.locale)
  const content = contentOf(mail, languages[language], { oneTimeCodes, app: config.sms.appName, link })
  if (content === null) return null
  return { messageId: messageIdOf(mail, config.mail.from), to: mail.address, ...composeMail(content, language) }
}

function contentOf(
  mail: ClaimedMail,
  words: Words,
  { oneTimeCodes, app, link }: Pick<Services, 'oneTimeCodes'> & { app: string; link: MailedLink },
): Content | null {
  if (mail.kind === 'notice') {
    const topic = noticeTopics.find((it) => it === mail.topic)
    return topic === undefined ? null : noticeOf(words, topic, { ...factsOf(mail, app), link: link.url })
  }
  if (mail.kind === 'link') {
    const topic = linkTopics.find((it) => it === link.topic)
    return topic === undefined ? null : linkMailOf(words, topic, { app, link: link.url, lifeSeconds: link.expiresIn })
  }
  const code = oneTimeCodes.again({ challengeId: mail.challenge_id ?? '', method: 'email' }, mail.key_id ?? '')
  return code === null ? null : words.code({ app, code, lifeSeconds: mail.code_expires_in ?? 0 })
}

/**
 * Names and headers are what others have written, perhaps thieves: nothing of them becomes a second line, markup or a link
 * in a mail of ours (SEC-82).
 */
function factsOf({ created_at, data }: ClaimedMail, app: string): Omit<NoticeFacts, 'link'> {
  const { address, user_agent, method, name, remaining, to, erases_at } = data
  return {
    app,
    at: new Date(created_at * 1_000),
    network: address ? widestNetworkOf(address) : null,
    client: describeUserAgent(user_agent),
    factor: factorOf(method),
    name: plainName(name),
    remaining: remaining ?? 0,
    isNew: to === 'new',
    erasesAt: new Date((erases_at ?? created_at) * 1_000),
  }
}

const factorOf = (method: string | null | undefined): FactorName => methodNames.find((it) => it === method) ?? 'other'

function plainName(name: string | null | undefined): string | null {
  const line = oneLine(name ?? '', longestName)
  return line === '' || callsOrLinks.test(line.normalize('NFKC')) ? null : line
}

/** The same at every try of one mail. A hash, since the number of a mail tells how many there are. */
function messageIdOf({ id, created_at, address }: ClaimedMail, from: string): string {
  const [, domain = 'localhost'] = /@([^@\s>]+)>?\s*$/.exec(from) ?? []
  const digest = createHash('sha256').update(`mail:v1|${id}|${created_at}|${address}`).digest('hex')
  return `${digest.slice(0, 32)}@${domain}`
}
