import { createRequire } from 'node:module'

// Loaded into every test process. An ES module that is imported goes through the hooks of tap and of tsx, in a thread
// of their own; typebox is hundreds of them. Required, they are loaded past the hooks, in a third of the time, and the
// imports that follow find them loaded.
const require = createRequire(import.meta.url)
for (const name of ['typebox', 'typebox/value']) require(name)
