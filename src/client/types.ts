import type { components, operations } from './api.ts'
import type { AnswerOf, BodyOf } from './requests.ts'

// The words of the service's answers, as they stand in openapi.yaml: the client renames nothing.

type Schemas = components['schemas']
type Ok<Name extends keyof operations> = AnswerOf<operations[Name]>
type Body<Name extends keyof operations> = BodyOf<operations[Name]>

export type ProblemCode = Schemas['Problem']['code']

/** Signed in. The client has kept the tokens already; what is left to look at is told once. */
export type Authenticated = Schemas['Authenticated']
/** Something more has to be proven: `challenge` says what, `methods` what would do as well. */
export type TwoFactorRequired = Schemas['TwoFactorRequired']
/** A second factor has to be set up first: `factors.add(…, answer)`. */
export type EnrolmentRequired = Schemas['EnrolmentRequired']
export type RecoveryCodesIssued = Schemas['RecoveryCodesIssued']
/** The password is stored, but the login could not go on: sign in with it. */
export type PasswordSet = Schemas['PasswordSet']

export type Challenge = TwoFactorRequired['challenge']
export type Method = EnrolmentRequired['methods'][number]

export type LoginAnswer = Ok<'startLogin'>
export type FinishAnswer = Ok<'finishLogin'>
export type StepUpAnswer = Ok<'stepUp'>
export type SetPasswordAnswer = Ok<'setPassword'>
export type ChallengeStatus = Ok<'readChallenge'>
export type MailSent = Ok<'register'>
export type EmailChange = Ok<'changeEmail'>
export type Me = Ok<'readMe'>
export type FactorList = Ok<'listFactors'>
export type Factor = FactorList['factors'][number]
export type Device = Ok<'listDevices'>['devices'][number]
export type Session = Ok<'listSessions'>['sessions'][number]
export type AccountExport = Ok<'exportMe'>
export type Deletion = Ok<'deleteMe'>
export type AccountSecured = Ok<'secureAccount'>

/** Without what the client adds by itself. */
type Mine<Given> = Omit<Given, 'device_token'>

export type Credentials = Mine<Body<'startLogin'>>
export type PasskeyStart = Mine<Body<'startPasskeyLogin'>>
export type Proof = Body<'finishLogin'>
export type StepUpRequest = Body<'stepUp'>
export type MailRequest = Mine<Body<'register'>>
export type NewPassword = Mine<Body<'setPassword'>>
export type PasswordChange = Body<'changePassword'>
/** Recovery codes are not set up: `factors.renewRecoveryCodes`. */
export type NewFactor = Body<'enrolFactor'> & { method: Exclude<Body<'enrolFactor'>['method'], 'recovery_code'> }
export type LocaleChange = Body<'changeMe'>
export type DeviceChange = Body<'changeDevice'>
export type LogoutScope = NonNullable<Body<'logout'>['scope']>

/** Anything that carries a pending token: an answer, or what an application has kept of it. */
export type Pending = { pending_token: string }
