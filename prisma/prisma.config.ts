import { defineConfig } from 'prisma/config'

// `prisma migrate deploy --config prisma/prisma.config.ts` reads the same folder that the service applies by itself.
export default defineConfig({
  schema: 'schema.prisma',
  migrations: { path: 'migrations' },
  datasource: { url: process.env.DATABASE_URL ?? 'postgresql://unset' },
})
