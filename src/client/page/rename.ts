import { field, form } from './form.ts'
import { redraw } from './go.ts'
import { words } from './words/index.ts'

/** Asks for another name, in place. */
export function renameForm(
  place: HTMLElement,
  { name, ended }: { name: string; ended: AbortSignal },
  rename: (name: string) => Promise<unknown>,
): void {
  const asking = form({
    fields: [field({ name: 'name', label: words().factors.newName, value: name, maxlength: 64, autocomplete: 'off' })],
    submit: words().save,
    ended,
    send: async ({ text: of }) => {
      await rename(of('name'))
      redraw()
    },
  })
  place.replaceChildren(asking)
  asking.querySelector('input')?.select()
}
