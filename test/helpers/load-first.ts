import { createRequire } from 'node:module'

// Loaded into every test process. typebox is hundreds of ES modules; required, it takes half the time, and the imports
// that follow find it loaded.
const require = createRequire(import.meta.url)
for (const name of ['typebox', 'typebox/value']) require(name)
