import type { Device, LogoutScope, Session } from '../index.ts'
import { action } from './action.ts'
import { browserName } from './browser-name.ts'
import { card, make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { redraw } from './go.ts'
import { noteCard } from './note.ts'
import { leaveNote } from './proceed.ts'
import { renameForm } from './rename.ts'
import type { View } from './view.ts'
import { momentOf, words } from './words/index.ts'

/** Where somebody is known and signed in, and how that ends. */
export const devicesView =
  (devices: readonly Device[], sessions: readonly Session[]): View =>
  (ended) => {
    const { devices: text } = words()
    const place = make('div')
    const leave = (scope: LogoutScope) => async (): Promise<void> => {
      await doorstep.signOut(scope)
      if (scope !== 'others') return
      leaveNote(text.ended)
      redraw()
    }
    return {
      isWide: true,
      body: [
        card(
          ...(['h1', text.title, say(text.lead, 'soft'), ...noteCard()] as const),
          make('ul', { class: 'plain lines' }, ...devices.map((it) => deviceLine(it, ended))),
        ),
        card(
          ...(['h2', text.sessions] as const),
          make('ul', { class: 'plain lines' }, ...sessions.map((it) => sessionLine(it, ended))),
          make(
            ...(['div', { class: 'row' }, action(text.others, { place, ended }, leave('others'))] as const),
            action(text.all, { look: 'danger small', place, ended }, leave('all')),
          ),
          place,
        ),
      ],
    }
  }

type Used = {
  name?: string | null
  user_agent: string | null
  address: string | null
  last_used_at: string
  current: boolean
}

const nameOf = ({ name, user_agent }: Used): string => name ?? browserName(user_agent) ?? words().devices.unknown

function headOf(used: Used, more: string[] = []): Node[] {
  const { devices: text, factors } = words()
  const facts = [factors.used(momentOf(used.last_used_at)), ...(used.address ? [text.from(used.address)] : []), ...more]
  const badge = used.current ? make('span', { class: 'badge' }, text.current) : null
  return [make('div', { class: 'row' }, make('strong', {}, nameOf(used)), badge), say(facts.join(' · '), 'soft')]
}

function deviceLine(device: Device, ended: AbortSignal): HTMLElement {
  const { devices: text, factors } = words()
  const { id, trusted_until: until } = device
  const place = make('div')
  const name = nameOf(device)
  const labelled = (verb: string, look = 'quiet small') => ({ look, label: `${verb}: ${name}`, place, ended })
  const rename = async (): Promise<void> =>
    renameForm(place, { name, ended }, (to) => doorstep.devices.change(id, { name: to }))
  const untrust = async (): Promise<void> => {
    await doorstep.devices.change(id, { trusted: false })
    redraw()
  }
  const forget = async (): Promise<void> => {
    await doorstep.devices.forget(id)
    leaveNote(text.forgotten)
    redraw()
  }
  const row = make(
    ...(['div', { class: 'row' }, action(factors.rename, labelled(factors.rename), rename)] as const),
    until === null ? null : action(text.untrust, labelled(text.untrust), untrust),
    action(text.forget, labelled(text.forget, 'danger small'), forget),
  )
  return make('li', {}, ...headOf(device, until === null ? [] : [text.trusted(momentOf(until))]), row, place)
}

function sessionLine(session: Session, ended: AbortSignal): HTMLElement {
  const { devices: text } = words()
  const place = make('div')
  const where = { look: 'danger small', label: `${text.end}: ${nameOf(session)}`, place, ended }
  const end = async (): Promise<void> => {
    if (session.current) return doorstep.signOut()
    await doorstep.sessions.end(session.id)
    leaveNote(text.ended)
    redraw()
  }
  return make('li', {}, ...headOf(session), make('div', { class: 'row' }, action(text.end, where, end)), place)
}
