type Value = string | number | boolean | undefined | ((event: Event) => unknown)
type Child = Node | string | null | undefined

let ids = 0

/** An id that no other element of this page has. */
export const freshId = (name: string): string => `${name}-${++ids}`

/** An element: `onclick` and its like listen, `true` sets an attribute without value, `false` and `undefined` set none. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value)
    else if (value === true) element.setAttribute(name, '')
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value))
  }
  element.append(...children.filter((it) => it !== null && it !== undefined))
  return element
}

/** A paragraph. */
export const say = (text: string, look = ''): HTMLElement => make('p', look ? { class: look } : {}, text)

export const button = (text: string, onclick: (event: Event) => unknown, look = ''): HTMLButtonElement =>
  make('button', { type: 'button', class: look || undefined, onclick }, text)

/** A framed part of a view, with a heading that focus can be moved to. */
export function card(level: 'h1' | 'h2', title: string, ...children: Child[]): HTMLElement {
  return make('section', { class: 'card' }, make(level, { tabindex: -1 }, title), ...children)
}

/** The element of index.html with this id. */
export function part(id: 'view' | 'inbox' | 'menu' | 'languages' | 'announcer'): HTMLElement {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`index.html has no #${id}`)
  return found
}

/** Tells people who listen to a screen reader, without moving the focus. */
export const announce = (text: string): void => part('announcer').replaceChildren(text)
