import { dismissed } from './dismissed.ts'
import { make } from './dom.ts'
import { problemBox } from './problem.ts'

type Where = { look?: string; label?: string; place: HTMLElement; ended: AbortSignal }

/** A button that does something at the service, once at a time; what went wrong is shown at `place`. */
export function action(
  text: string,
  { look = 'quiet small', label, place, ended }: Where,
  work: () => Promise<unknown>,
): HTMLButtonElement {
  const onclick = async () => {
    if (button.ariaDisabled === 'true') return
    button.ariaDisabled = 'true'
    place.replaceChildren()
    const free = (): void => {
      button.ariaDisabled = null
    }
    try {
      await work()
      free()
    } catch (error) {
      if (error === dismissed) free()
      else if (!ended.aborted) place.replaceChildren(problemBox(error, ended, free))
    }
  }
  const button = make('button', { type: 'button', class: look, 'aria-label': label, onclick }, text)
  return button
}
