/** What belongs together. */
export const tags = [
  { name: 'login', description: 'The two steps of a login.' },
  { name: 'factors', description: 'What proves more than a password does.' },
  { name: 'sessions', description: 'Staying signed in, and ending it.' },
  { name: 'devices', description: 'Devices that have signed in before.' },
  { name: 'password', description: 'Getting a password, and another one.' },
  { name: 'account', description: 'The account and its owner.' },
  { name: 'admin', description: 'For backends: users, found, made, helped and erased.' },
  { name: 'keys', description: 'For backends that verify access tokens.' },
  { name: 'health', description: 'For load balancers.' },
  { name: 'webhooks', description: 'For the SMS provider.' },
  { name: 'problems', description: 'What the error codes mean.' },
  { name: 'development', description: 'Never in production.' },
]

/** A list of words is of strings: generators that look for `type` alone make anything at all of it otherwise. */
export function typed<T>(node: T): T {
  if (Array.isArray(node)) return node.map(typed) as T
  if (typeof node !== 'object' || node === null) return node
  const { type, enum: words } = node as { type?: unknown; enum?: unknown }
  const isUntyped = type === undefined && Array.isArray(words) && words.every((it) => typeof it === 'string')
  const members = Object.entries(node).map(([name, value]) => [name, typed(value)] as const)
  return { ...(isUntyped && { type: 'string' }), ...Object.fromEntries(members) } as T
}
