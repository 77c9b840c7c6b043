import { accountRoutes } from './features/accounts/routes.ts'
import { selfServiceRoutes } from './features/accounts/self-service-routes.ts'
import { adminRoutes } from './features/admin/routes.ts'
import type { App } from './features/app-type.ts'
import { developmentRoutes } from './features/development/routes.ts'
import { deviceRoutes } from './features/devices/routes.ts'
import { factorRoutes } from './features/factors/routes.ts'
import { healthRoutes } from './features/health/routes.ts'
import { keyRoutes } from './features/keys/routes.ts'
import { loginRoutes } from './features/login/routes.ts'
import { passwordRoutes } from './features/passwords/routes.ts'
import { problemRoutes } from './features/problems/routes.ts'
import { sessionRoutes } from './features/sessions/routes.ts'
import { smsCodeRoutes } from './features/sms-codes/routes.ts'
import { registerBodyRules } from './http/body.ts'
import { registerCors } from './http/cors.ts'
import { registerGuards } from './http/guards.ts'
import { registerHeaders } from './http/headers.ts'
import { registerIdSpelling } from './http/id-spelling.ts'
import { registerMethods } from './http/methods.ts'
import { registerOpenApi } from './http/openapi.ts'
import { registerProblems } from './http/problems.ts'
import { registerRateLimit } from './http/rate-limit.ts'
import { createRequestLimits } from './http/request-limits.ts'
import { registerRequestLog } from './http/request-log.ts'
import { createServer } from './http/server.ts'
import { registerTimeLimit } from './http/time-limit.ts'
import { registerTokens } from './http/tokens.ts'
import { createTokens } from './security/tokens.ts'
import type { BaseServices } from './services.ts'

/**
 * The whole application, in running order: what stands above protects what stands below. main.ts, the CLI and the
 * tests all call this and nothing else. `isDraining` is true from SIGTERM on.
 */
export async function buildApp(base: BaseServices, isDraining: () => boolean = () => false): Promise<App> {
  const { config, random, log, clock } = base
  const app = createServer({ config, random, log }, isDraining)

  registerProblems(app, base)
  registerRequestLog(app, base)
  await registerHeaders(app, { isDraining, https: config.publicUrl.startsWith('https:') })
  await registerCors(app, config)
  const requestLimits = await createRequestLimits(app, base)
  registerRateLimit(app, { ...base, requestLimits })
  const sign = await registerTokens(app, base)
  const services = { ...base, tokens: createTokens({ config, clock, random, sign }) }
  registerGuards(app, { ...services, requestLimits })
  registerBodyRules(app)
  registerIdSpelling(app)
  const refuseOtherMethods = registerMethods(app)
  await registerOpenApi(app, config)
  registerTimeLimit(app)

  loginRoutes(app, services)
  factorRoutes(app, services)
  await sessionRoutes(app, services)
  deviceRoutes(app, services)
  passwordRoutes(app, services)
  accountRoutes(app, services)
  selfServiceRoutes(app, services)
  await adminRoutes(app, services)
  keyRoutes(app, services)
  healthRoutes(app, { ...services, isDraining })
  problemRoutes(app, services)
  await smsCodeRoutes(app, services)
  developmentRoutes(app, services)
  refuseOtherMethods()

  await app.ready()
  return app
}
