import type { App } from '../features/app-type.ts'

const uuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i

/** Ids in a path and its query may be written in capitals (RFC 9562 4); from here on they are as they are stored. */
export function registerIdSpelling(app: App): void {
  app.addHook('preValidation', async ({ params, query }) => {
    lowerIds(params)
    lowerIds(query)
  })
}

function lowerIds(values: unknown): void {
  if (typeof values !== 'object' || values === null) return
  for (const [name, value] of Object.entries(values)) {
    if (typeof value === 'string' && uuid.test(value)) Object.assign(values, { [name]: value.toLowerCase() })
  }
}
