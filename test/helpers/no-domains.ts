import asyncHooks from 'node:async_hooks'
import { syncBuiltinESMExports } from 'node:module'

// Loaded into every test process. tap follows every promise, to tell in which test an error came that nobody caught: a
// sixth of the CPU of the suite. Without that such an error ends the process: the test under way and the file fail, and
// Node prints the error itself.
const { createHook } = asyncHooks
const nothing = { enable: () => nothing, disable: () => nothing }
asyncHooks.createHook = (callbacks) =>
  new Error().stack?.includes('async-hook-domain') ? nothing : createHook(callbacks)
syncBuiltinESMExports()
