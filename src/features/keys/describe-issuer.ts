import type { Services } from '../../services.ts'
import type { Metadata } from './schemas.ts'

/** What this issuer offers (RFC 8414), and only that. */
export function describeIssuer({ config }: Pick<Services, 'config'>): Metadata {
  const { issuer, publicUrl } = config
  return {
    issuer,
    jwks_uri: `${publicUrl}/.well-known/jwks.json`,
    response_types_supported: [],
    grant_types_supported: [],
    acr_values_supported: ['aal1', 'aal2'],
    introspection_endpoint: `${publicUrl}/token/introspect`,
    introspection_endpoint_auth_methods_supported: ['client_secret_basic'],
    service_documentation: `${publicUrl}/docs`,
  }
}
