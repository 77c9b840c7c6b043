import type { Factor, FactorList } from '../index.ts'
import { action } from './action.ts'
import { card, make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { choices } from './enrol.ts'
import { redraw } from './go.ts'
import { iconOf } from './icons.ts'
import { noteCard } from './note.ts'
import { leaveNote, proceed } from './proceed.ts'
import { renameForm } from './rename.ts'
import type { View } from './view.ts'
import { momentOf, words } from './words/index.ts'

/** What somebody signs in with: to see, rename, remove, renew, and to set up more. */
export const factorsView =
  ({ factors, available }: FactorList): View =>
  (ended) => {
    const { factors: text } = words()
    const have = factors.map(({ method }) => method)
    const addable = available.filter((method) => method !== 'recovery_code' || !have.includes(method))
    return {
      isWide: true,
      body: [
        card(
          ...(['h1', text.title, say(text.lead, 'soft'), ...noteCard()] as const),
          make('ul', { class: 'plain lines' }, ...factors.map((it) => line(it, ended))),
        ),
        card('h2', text.add, ...choices(addable, { ended, have })),
      ],
    }
  }

function line(factor: Factor, ended: AbortSignal): HTMLElement {
  const { factors: text, methods } = words()
  const { method, backed_up, remaining, destination, created_at, last_used_at } = factor
  const place = make('div')
  const name = factor.name ?? methods[method].name
  const facts = [
    ...(factor.name === null ? [] : [methods[method].name]),
    ...(destination === undefined ? [] : [destination]),
    text.added(momentOf(created_at)),
    ...(method === 'recovery_code' ? [] : [last_used_at === null ? text.unused : text.used(momentOf(last_used_at))]),
  ]
  const badge = remaining !== undefined ? text.left(remaining) : backed_up ? text.synced : null
  return make(
    'li',
    {},
    make(
      ...(['div', { class: 'row' }, iconOf(method), make('strong', {}, name)] as const),
      badge === null ? null : make('span', { class: 'badge' }, badge),
    ),
    say(facts.join(' · '), 'soft'),
    make('div', { class: 'row' }, ...actions(factor, name, place, ended)),
    place,
  )
}

function actions({ id, method }: Factor, name: string, place: HTMLElement, ended: AbortSignal): Node[] {
  const { factors: text } = words()
  const labelled = (verb: string, look = 'quiet small') => ({ look, label: `${verb}: ${name}`, place, ended })
  if (method === 'recovery_code') {
    const renew = async () => proceed(await doorstep.factors.renewRecoveryCodes())
    return [action(text.renew, labelled(text.renew), renew)]
  }
  const remove = async (): Promise<void> => {
    await doorstep.factors.remove(id)
    leaveNote(text.removed(name))
    redraw()
  }
  const rename = async (): Promise<void> => renameForm(place, { name, ended }, (to) => doorstep.factors.rename(id, to))
  return [
    action(text.rename, labelled(text.rename), rename),
    action(text.remove, labelled(text.remove, 'danger small'), remove),
  ]
}
