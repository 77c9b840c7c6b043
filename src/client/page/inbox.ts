import { announce, button, make, part, say } from './dom.ts'
import { base } from './doorstep.ts'
import { fillIn } from './one-time-code.ts'
import { timeOf, words } from './words/index.ts'

/** What the console senders have kept (`GET /dev/sms`, `GET /dev/mail`). An application has nothing of this kind. */
type Message = { kind: 'text' | 'mail'; to: string; subject?: string; body: string; sent_at: string }

const lookEveryMs = 2_000
const shownMessages = 12

/** Those that the service does not have: with a real provider there is nothing to show. */
const gone = new Set<string>()
let messages: Message[] = []

async function read<Kept>(path: string): Promise<Kept[]> {
  if (gone.has(path)) return []
  const reply = await fetch(new URL(path, base))
  if (reply.status === 404) gone.add(path)
  return reply.ok ? (await reply.json()).messages : []
}

/** Shows what was sent, and looks for more while the page is seen. */
export function openInbox(): void {
  const look = async (): Promise<void> => {
    if (document.hidden || gone.size === 2) return
    const texts = await read<{ to: string; body: string; sent_at: string }>('dev/sms')
    const mails = await read<{ to: string; subject: string; text: string; sent_at: string }>('dev/mail')
    const all: Message[] = [
      ...texts.map((it) => ({ ...it, kind: 'text' as const })),
      ...mails.map(({ text: body, ...it }) => ({ ...it, body, kind: 'mail' as const })),
    ].sort((a, b) => b.sent_at.localeCompare(a.sent_at))
    const arrived = all.filter((it) => !messages.some((known) => isSame(it, known)))
    const isFirst = messages.length === 0
    messages = all
    if (part('inbox').hidden || (isFirst && arrived.length > 0)) drawInbox()
    else if (arrived.length > 0) put(arrived)
  }
  const keepLooking = (): void =>
    void look()
      .catch(() => {})
      .then(() => setTimeout(keepLooking, lookEveryMs))
  keepLooking()
}

const isSame = (one: Message, other: Message): boolean =>
  one.kind === other.kind && one.to === other.to && one.sent_at === other.sent_at && one.body === other.body

/** Puts what has arrived above the rest, which stays as it is: somebody's focus may be in it. */
function put(arrived: Message[]): void {
  announce(words().inbox.arrived)
  const host = part('inbox')
  host.querySelector('.message')?.before(...arrived.map(messageOf))
  for (const old of [...host.querySelectorAll('.message')].slice(shownMessages)) old.remove()
}

/** Draws it anew, in the language that is spoken now. */
export function drawInbox(): void {
  const { inbox: text } = words()
  const host = part('inbox')
  host.hidden = gone.size === 2
  host.setAttribute('aria-label', text.title)
  const shown = messages.slice(0, shownMessages).map(messageOf)
  host.replaceChildren(
    ...[make('h2', {}, text.title), say(text.lead, 'soft')],
    ...(shown.length > 0 ? shown : [say(text.empty, 'soft')]),
  )
}

function messageOf({ kind, to, subject, body, sent_at }: Message): HTMLElement {
  const { inbox: text } = words()
  const code = (kind === 'text' ? /#(\d+)$/ : /^(\d{6,10})$/m).exec(body)?.[1]
  const link = /https?:\S+(\/(?:set-password|confirm-email|not-me)#token=\S+)$/m.exec(body)?.[1]
  const told = make('small', { role: 'status' })
  const fill = (found: string) => () => told.replaceChildren(fillIn(found) ? '' : text.nowhere)
  return make(
    'article',
    { class: `message ${kind}-message` },
    make('small', {}, `${text[kind](to)} · ${timeOf(sent_at)}`),
    subject === undefined ? null : make('h3', {}, subject),
    ...paragraphs(body, kind),
    kind === 'text' || code === undefined ? null : make('p', { class: 'code' }, code),
    code === undefined ? null : button(text.fill, fill(code), 'small'),
    told,
    // Here, even where APP_URL names an application of its own.
    link === undefined ? null : make('a', { class: 'button small', href: new URL(`.${link}`, base).href }, text.open),
  )
}

/** A text as it is; of a mail what it says first, and the rest on demand. */
function paragraphs(body: string, kind: Message['kind']): Node[] {
  if (kind === 'text') return [say(body)]
  const [first = '', ...rest] = body.trim().split(/\n\n+/)
  if (rest.length === 0) return [say(first)]
  return [say(first), make('details', {}, make('summary', {}, words().inbox.more), say(rest.join('\n\n')))]
}
