// Writes src/client/api.ts, the types of the client, from openapi.yaml; with `--check` it says whether they are fresh.
import { readFileSync, writeFileSync } from 'node:fs'
import openapiTypescript from 'openapi-typescript'

const target = new URL('../src/client/api.ts', import.meta.url)
const types = await openapiTypescript(new URL('../openapi.yaml', import.meta.url))
const text = types.replace(/^\/\*\*.*?\*\/\s*/s, '// Made from openapi.yaml by `npm run client:types`.\n\n')

if (process.argv[2] !== '--check') writeFileSync(target, text)
else if (readFileSync(target, 'utf8') !== text) {
  console.error('src/client/api.ts is not what openapi.yaml says: run `npm run client:types`.')
  process.exitCode = 1
}
