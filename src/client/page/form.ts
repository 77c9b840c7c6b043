import { DoorstepError } from '../index.ts'
import { dismissed } from './dismissed.ts'
import { freshId, make } from './dom.ts'
import { problemBox, wordsOfField } from './problem.ts'
import { words } from './words/index.ts'

type Field = { name: string; label: string; hint?: string; [attribute: string]: string | number | boolean | undefined }

/** A labelled field; anything else that is given becomes an attribute of the input. */
export function field({ name, label, hint, class: look = '', ...attributes }: Field): HTMLElement {
  const [id, hintId] = [freshId(name), freshId('hint')]
  const described = hint === undefined ? undefined : hintId
  const input = make('input', {
    ...{ id, name, type: 'text', required: true, 'aria-describedby': described, class: `text ${look}`.trim() },
    ...attributes,
  })
  return make(
    'div',
    { class: 'field' },
    make('label', { for: id }, label),
    input,
    hint === undefined ? null : make('small', { id: hintId }, hint),
  )
}

/** A password, with a switch that shows it. */
export function passwordField(
  name: string,
  label: string,
  autocomplete: 'current-password' | 'new-password',
): HTMLElement {
  const wrapped = field({ name, label, type: 'password', autocomplete, maxlength: 512 })
  const input = wrapped.querySelector('input')
  const onchange = ({ target }: Event) => {
    if (input) input.type = (target as HTMLInputElement).checked ? 'text' : 'password'
  }
  wrapped.append(make('label', { class: 'tick' }, make('input', { type: 'checkbox', onchange }), words().showPassword))
  return wrapped
}

export const tick = (name: string, label: string): HTMLElement =>
  make('label', { class: 'tick' }, make('input', { type: 'checkbox', name }), label)

type Parts = {
  fields: (Node | string)[]
  submit: string
  look?: string
  ended: AbortSignal
  /** What is done with what was filled in; what it throws is shown. */
  send: (values: Values) => Promise<unknown>
}

export type Values = { text: (name: string) => string; isTicked: (name: string) => boolean }

/** A form that is sent once at a time, shows what went wrong where it went wrong, and waits as long as it is told to. */
export function form({ fields, submit, look, ended, send }: Parts): HTMLFormElement {
  const action = make('button', { type: 'submit', class: look }, submit)
  const place = make('div')
  place.hidden = true
  const setBusy = (isBusy: boolean): void => {
    if (isBusy) action.setAttribute('aria-disabled', 'true')
    else action.removeAttribute('aria-disabled')
  }
  const onsubmit = async (event: Event) => {
    event.preventDefault()
    if (action.getAttribute('aria-disabled') === 'true') return
    clear(element, place)
    setBusy(true)
    const filled = new FormData(element)
    try {
      await send({ text: (name) => String(filled.get(name) ?? ''), isTicked: (name) => filled.has(name) })
      setBusy(false)
    } catch (error) {
      if (ended.aborted) return
      if (error === dismissed) return setBusy(false)
      if (!(error instanceof DoorstepError && markFields(element, error))) {
        place.replaceChildren(problemBox(error, ended, () => setBusy(false)))
        place.hidden = false
      } else setBusy(false)
    }
  }
  const element = make('form', { onsubmit }, ...fields, place, action)
  return element
}

function clear(element: HTMLFormElement, place: HTMLElement): void {
  place.replaceChildren()
  place.hidden = true
  for (const note of element.querySelectorAll('.problem.of-field')) note.remove()
  for (const input of element.querySelectorAll('[aria-invalid]')) {
    input.removeAttribute('aria-invalid')
    input.removeAttribute('aria-errormessage')
    describe(input)
  }
}

/** What a field is described by: what it was before and is still there, such as its hint, and `note`. */
function describe(input: Element, note?: string): void {
  const before = input.getAttribute('aria-describedby')?.split(' ') ?? []
  const ids = before.filter((id) => document.getElementById(id)).concat(note ?? [])
  if (ids.length > 0) input.setAttribute('aria-describedby', ids.join(' '))
  else input.removeAttribute('aria-describedby')
}

/** Says at each field what is wrong with it, and goes to the first. False where no field is meant. */
function markFields(element: HTMLFormElement, { errors = [] }: DoorstepError): boolean {
  const meant = errors.flatMap(({ pointer, message }) => {
    const input = element.querySelector<HTMLInputElement>(`input[name="${CSS.escape(pointer.slice(1))}"]`)
    return input ? [{ input, text: wordsOfField(pointer, message) }] : []
  })
  for (const { input, text } of meant) {
    const id = freshId('wrong')
    input.setAttribute('aria-invalid', 'true')
    input.setAttribute('aria-errormessage', id)
    describe(input, id)
    input.after(make('div', { id, class: 'problem of-field' }, text))
  }
  meant[0]?.input.focus()
  return meant.length > 0
}
