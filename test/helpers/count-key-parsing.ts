import { createRequire, syncBuiltinESMExports } from 'node:module'

/** Every key that was parsed since this was last emptied: by our code, or by a library that was loaded after this file. */
export const parsed: string[] = []

// Libraries keep the function that they find when they are loaded: import this file before whatever loads them.
const crypto = createRequire(import.meta.url)('node:crypto') as typeof import('node:crypto')
for (const name of ['createPublicKey', 'createPrivateKey'] as const) {
  const parse = crypto[name] as (key: unknown) => unknown
  Object.assign(crypto, {
    [name]: (key: unknown) => {
      parsed.push(name)
      return parse(key)
    },
  })
}
syncBuiltinESMExports()
