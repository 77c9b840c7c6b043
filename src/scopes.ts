/** What a client may be allowed: to ask about tokens; of users, to see them (`contact`: their whole number), make, secure and erase them. */
export const scopes = [
  'introspect',
  'users:read',
  'users:contact',
  'users:write',
  'users:security',
  'users:delete',
  'events:read',
  'webhooks:write',
] as const

export type Scope = (typeof scopes)[number]

export const isScope = (word: string): word is Scope => scopes.some((it) => it === word)
