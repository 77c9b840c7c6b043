import { defineConfig } from 'prisma/config'

// `prisma generate` fetches the migration engine, which it never runs: told of any program in its place, it makes the
// client without a network too. `prisma migrate` does run the engine, and gets it as usual.
if (process.argv.includes('generate')) process.env.PRISMA_SCHEMA_ENGINE_BINARY ||= process.execPath

// `prisma migrate deploy --config prisma/prisma.config.ts` reads the same folder that the service applies by itself.
export default defineConfig({
  schema: 'schema.prisma',
  migrations: { path: 'migrations' },
  datasource: { url: process.env.DATABASE_URL ?? 'postgresql://unset' },
})
