import module, { syncBuiltinESMExports } from 'node:module'

// Loaded into every process of a test run, before tap's own part. tap notes which modules a process loads, by hooks that
// Node before 24.13 runs in a thread of their own, where every import waits for it: over half a second of CPU in each
// process. Only `tap --changed` needs that list; what is covered comes from the engine.
const { register } = module
const tapHooks = /\/@tapjs\/processinfo\/.*\/import\.mjs$/
if (typeof register === 'function') {
  module.register = (specifier: string | URL, ...more: unknown[]): void => {
    const by = more.map((options) => String((options as { parentURL?: unknown } | undefined)?.parentURL))
    if (!by.some((parent) => tapHooks.test(parent))) Reflect.apply(register, module, [specifier, ...more])
  }
  syncBuiltinESMExports()
}
